//! Atomic batches: all messages are stored in order with one fsync, or none is.
//! The protocol is the server's ADR-50.

use std::time::Duration;

use async_nats::{Client, HeaderValue, Request, header};

use super::{PublishError, Stored, ack};
use crate::{error::Code, message::Outgoing};

/// Stores messages in the order given. A batch that holds what is stored already is refused as a whole, so it is
/// split until what is new is stored and what is not is known.
pub(super) async fn store(
    client: &Client,
    messages: &[&Outgoing],
    limit: Duration,
) -> Vec<Result<Stored, PublishError>> {
    match messages {
        [] => return Vec::new(),
        [only] => return vec![ack::publish(client, only, limit).await],
        _ => {}
    }
    match commit(client, messages, limit).await {
        Ok(last) => {
            let first = last + 1 - messages.len() as u64;
            (first..=last).map(|sequence| Ok(Stored::New { sequence })).collect()
        }
        Err(PublishError::Refused { code, .. }) if splits(code) => {
            let (left, right) = messages.split_at(messages.len() / 2);
            let mut outcomes = Box::pin(store(client, left, limit)).await;
            if outcomes.iter().all(Result::is_ok) {
                outcomes.extend(Box::pin(store(client, right, limit)).await);
            } else {
                // What follows must not overtake what failed.
                outcomes.extend(right.iter().map(|_| Err(PublishError::Unconfirmed)));
            }
            outcomes
        }
        Err(error) => messages.iter().map(|_| Err(error.clone())).collect(),
    }
}

fn splits(code: Code) -> bool {
    matches!(
        code,
        Code::BatchDuplicate
            | Code::WrongLastSequence
            | Code::BatchTooLarge
            | Code::BatchDisabled
            | Code::DuplicateInFlight
            | Code::SubjectInFlight
    )
}

/// Sends a batch and gives the sequence of its last message.
async fn commit(client: &Client, messages: &[&Outgoing], limit: Duration) -> Result<u64, PublishError> {
    let id = HeaderValue::from(format!("{:032x}", rand::random::<u128>()));
    let Some((last, before)) = messages.split_last() else { return Err(PublishError::Unconfirmed) };
    for (index, message) in before.iter().enumerate() {
        let headers = member(message, &id, index + 1);
        let sent = client.publish_with_headers(message.subject.clone(), headers, message.payload.clone()).await;
        sent.map_err(|error| match error.kind() {
            async_nats::PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
            _ => PublishError::Unconfirmed,
        })?;
    }
    let mut headers = member(last, &id, messages.len());
    headers.insert(header::NATS_BATCH_COMMIT, "1");
    let request = Request::new().headers(headers).payload(last.payload.clone()).timeout(Some(limit));
    let answer =
        client.send_request(last.subject.clone(), request).await.map_err(|error| PublishError::of_request(&error))?;
    match ack::read(&answer.payload)? {
        Stored::New { sequence } => Ok(sequence),
        Stored::Duplicate { .. } => {
            Err(PublishError::of(Code::BatchDuplicate, "a message is stored already".to_owned()))
        }
    }
}

fn member(message: &Outgoing, batch: &HeaderValue, index: usize) -> async_nats::HeaderMap {
    let mut headers = message.header_map();
    headers.insert(header::NATS_BATCH_ID, batch.clone());
    headers.insert(header::NATS_BATCH_SEQUENCE, HeaderValue::from(index));
    headers
}
