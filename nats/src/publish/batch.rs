//! Atomic batches: all messages are stored in order with one fsync, or none is.
//! The protocol is the server's ADR-50.

use std::time::Duration;

use async_nats::{Client, HeaderMap, HeaderValue, Request, header};
use bytes::Bytes;

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

/// One message of a batch, with all its headers but those of the batch.
pub(crate) struct Member {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Member {
    pub(crate) fn of(message: &Outgoing) -> Self {
        Self { subject: message.subject.clone(), headers: message.header_map(), payload: message.payload.clone() }
    }
}

async fn commit(client: &Client, messages: &[&Outgoing], limit: Duration) -> Result<u64, PublishError> {
    commit_members(client, messages.iter().map(|message| Member::of(message)), limit).await
}

/// Sends a batch and gives the sequence of its last message.
pub(crate) async fn commit_members(
    client: &Client,
    members: impl ExactSizeIterator<Item = Member>,
    limit: Duration,
) -> Result<u64, PublishError> {
    let id = HeaderValue::from(format!("{:032x}", rand::random::<u128>()));
    let count = members.len();
    for (index, Member { subject, mut headers, payload }) in members.enumerate() {
        headers.insert(header::NATS_BATCH_ID, id.clone());
        headers.insert(header::NATS_BATCH_SEQUENCE, HeaderValue::from(index + 1));
        if index + 1 < count {
            let sent = client.publish_with_headers(subject, headers, payload).await;
            sent.map_err(|error| match error.kind() {
                async_nats::PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
                _ => PublishError::Unconfirmed,
            })?;
            continue;
        }
        headers.insert(header::NATS_BATCH_COMMIT, "1");
        let request = Request::new().headers(headers).payload(payload).timeout(Some(limit));
        let answer = client.send_request(subject, request).await.map_err(|error| PublishError::of_request(&error))?;
        return match ack::read(&answer.payload)? {
            Stored::New { sequence } => Ok(sequence),
            Stored::Duplicate { .. } => {
                Err(PublishError::of(Code::BatchDuplicate, "a message is stored already".to_owned()))
            }
        };
    }
    Err(PublishError::Unconfirmed)
}
