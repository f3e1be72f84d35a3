//! Fast-ingest batches: every message is stored by itself, and one acknowledgement tells of all of them. The protocol
//! is the server's ADR-50.

use async_nats::{PublishErrorKind, StatusCode, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{PublishError, ack};
use crate::{connect::Broker, error::ApiError, message::Outgoing};

/// After so many messages the server says how far it is, at most.
const FLOW: usize = 500;
/// What the last tokens of a message's reply subject say of it: that the batch goes on without those that were
/// refused, and whether it begins the batch, continues it, or ends it.
const GO_ON: &str = "ok";
const START: u8 = 0;
const APPEND: u8 = 1;
const COMMIT: u8 = 2;

/// What the server says of a batch.
#[derive(Deserialize)]
struct Answer {
    /// `ack`, `gap` or `err`; none at the end.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The message's number in the batch, where it is about one.
    #[serde(default)]
    seq: u64,
    /// At the end: messages that were taken.
    count: Option<u64>,
    error: Option<ApiError>,
}

/// Messages that were sent and not confirmed yet. Dropped, nobody waits for them any more.
#[derive(Debug)]
pub(super) struct Flight {
    broker: Broker,
    answers: Subscriber,
    count: u64,
}

/// Sends messages as one batch.
pub(super) async fn launch(broker: &Broker, messages: Vec<Outgoing>) -> Result<Flight, PublishError> {
    let client = &broker.client;
    // Its last token is the batch's id.
    let inbox = client.new_inbox();
    let answers = client.subscribe(format!("{inbox}.>")).await.map_err(|_closed| PublishError::Unconfirmed)?;
    let count = messages.len();
    for (index, mut message) in messages.into_iter().enumerate() {
        let operation = match index {
            last if last + 1 == count => COMMIT,
            0 => START,
            _ => APPEND,
        };
        let reply = format!("{inbox}.{FLOW}.{GO_ON}.{}.{operation}.$FI", index + 1);
        let headers = message.take_header_map();
        let sent = client.publish_with_reply_and_headers(message.subject, reply, headers, message.payload).await;
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
            _ => PublishError::Unconfirmed,
        })?;
    }
    Ok(Flight { broker: broker.clone(), answers, count: count as u64 })
}

impl Flight {
    /// Waits until all are stored, or were before.
    pub(super) async fn landed(mut self, limit: Instant) -> Result<(), PublishError> {
        let broker = self.broker.clone();
        let mut lost = std::pin::pin!(broker.lost());
        let mut known_last = 0;
        loop {
            let answer = tokio::select! {
                answer = timeout_at(limit, self.answers.next()) => answer,
                () = &mut lost => return Err(PublishError::Unconfirmed),
            };
            let Ok(Some(answer)) = answer else { return Err(PublishError::Unconfirmed) };
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(PublishError::NoStream);
            }
            let Answer { kind, seq, count, error } =
                serde_json::from_slice(&answer.payload).map_err(|_| PublishError::Unconfirmed)?;
            match (kind.as_deref(), error, count) {
                (_, Some(error), _) => {
                    ack::refused(error)?;
                    if seq == self.count {
                        known_last = 1;
                    }
                }
                (Some("ack"), None, _) => {}
                // The last message is not counted where it was stored before.
                (None, None, Some(taken)) if taken + known_last == self.count => return Ok(()),
                // Some were lost on their way.
                _ => return Err(PublishError::Unconfirmed),
            }
        }
    }
}
