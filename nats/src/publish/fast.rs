//! Fast-ingest batches: every message is stored by itself, and one acknowledgement tells of all of them. The protocol
//! is the server's ADR-50.

use async_nats::{PublishErrorKind, StatusCode, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Duration, Instant, timeout_at},
};

use super::PublishError;
use crate::{connect::Broker, error::ApiError, message::Outgoing};

/// After so many messages the server says how far it is, at most.
const FLOW: usize = 500;
/// The server is silent for so long only where it lost the batch.
const SILENCE: Duration = Duration::from_secs(5);
/// What the last tokens of a message's reply subject say of it: that the batch goes on without those that were refused
/// (and those that were lost, of which it tells), and whether it begins the batch, continues it, or ends it.
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
    /// At the end, the place of the last message in the stream.
    #[serde(default)]
    seq: u64,
    /// At the end, how many messages were taken.
    count: Option<u64>,
    error: Option<ApiError>,
}

/// Messages that were sent and not confirmed yet. Dropped, nobody waits for them any more.
#[derive(Debug)]
pub(super) struct Flight {
    answers: Subscriber,
    count: u64,
    /// Answers may have been lost with the connection that they were for.
    connection: watch::Receiver<bool>,
}

/// Sends messages as one batch, without their ids: the server would pass over one whose id is just being stored, and
/// count it as stored.
pub(super) async fn launch(broker: &Broker, messages: Vec<Outgoing>) -> Result<Flight, PublishError> {
    let (client, connection) = (&broker.client, broker.changes());
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
    Ok(Flight { answers, count: count as u64, connection })
}

impl Flight {
    /// Waits until all are stored; gives the place of the last.
    pub(super) async fn landed(mut self, limit: Instant) -> Result<u64, PublishError> {
        loop {
            let silent = limit.min(Instant::now() + SILENCE);
            let answer = tokio::select! {
                biased;
                _changed = self.connection.changed() => return Err(PublishError::Unconfirmed),
                answer = timeout_at(silent, self.answers.next()) => answer,
            };
            let Ok(Some(answer)) = answer else { return Err(PublishError::Unconfirmed) };
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(PublishError::NoStream);
            }
            let Answer { kind, seq, count, error } =
                serde_json::from_slice(&answer.payload).map_err(|_| PublishError::Unconfirmed)?;
            match (kind.as_deref(), error, count) {
                (_, Some(error), _) => return Err(PublishError::of(error.code(), error.description)),
                (Some("ack"), None, _) => {}
                (None, None, Some(taken)) if taken == self.count => return Ok(seq),
                // Some were lost on their way.
                _ => return Err(PublishError::Unconfirmed),
            }
        }
    }
}
