//! Dead letters: the whole message, the reason, and where it came from.

use std::time::Duration;

use schemas::{header, subject};
use tokio::time::Instant;

use crate::{
    message::{Message, Outgoing},
    publish::{PublishError, Publisher},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Where messages go that will not succeed by themselves.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    publisher: Publisher,
    /// Who gave up, a token of the subject: `router`.
    stage: &'static str,
}

impl DeadLetters {
    /// The dead letters of a stage.
    #[must_use]
    pub fn new(publisher: Publisher, stage: &'static str) -> Self {
        Self { publisher, stage }
    }

    /// Stores a copy. Idempotent: a message dies once at a stage.
    pub async fn bury(&self, stream: &str, message: &Message, reason: &str, detail: &str) -> Result<(), PublishError> {
        let id = format!("dlq:{}:{stream}:{}", self.stage, message.sequence);
        let letter = letter(self.stage, id, stream, message, reason, detail);
        self.publisher.publish(letter, Instant::now() + PATIENCE).await.map(drop)
    }
}

/// The dead letter of a message: all of it, why, and where it was.
#[must_use]
pub fn letter(stage: &str, id: String, stream: &str, message: &Message, reason: &str, detail: &str) -> Outgoing {
    let mut headers = message.header_list();
    let mut put = |name: &str, value: &str| headers.push((name.to_owned(), header::encode(value)));
    put(header::DLQ_REASON, reason);
    put(header::DLQ_DETAIL, detail);
    put(header::DLQ_STREAM, stream);
    put(header::DLQ_SEQUENCE, &message.sequence.to_string());
    put(header::DLQ_SUBJECT, &message.subject);
    let (subject, payload) = (subject::dead(stage, reason), message.payload.clone());
    Outgoing { subject, id, headers, payload, ..Outgoing::default() }
}
