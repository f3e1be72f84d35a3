//! Several messages of a stream with one request, and without a consumer.

use std::{ops::RangeInclusive, time::Duration};

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::{holds, stored};
use crate::{
    connect::Broker,
    error::{Code, Error},
    message::{Message, value},
};

/// How long the next message of an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of one answer.
const MAX_BYTES: usize = 4 << 20;

/// The first messages of a range of a stream, at most so many. None only where the stream's leader holds none: that a
/// replica lags is an error.
pub async fn batch(
    broker: &Broker,
    stream: &str,
    range: RangeInclusive<u64>,
    count: usize,
) -> Result<Vec<Message>, Error> {
    let mut messages = batch_of(broker, stream, ">", *range.start(), count).await?;
    messages.retain(|message| range.contains(&message.sequence));
    if messages.is_empty() && holds(broker, stream, &[], range).await? {
        return Err(Error::reading(stream, "a replica lags"));
    }
    Ok(messages)
}

/// Messages of one subject, or of those that match, from a sequence on. A replica that lags may not have the latest.
pub(crate) async fn batch_of(
    broker: &Broker,
    stream: &str,
    subject: &str,
    from: u64,
    count: usize,
) -> Result<Vec<Message>, Error> {
    let request = json!({ "seq": from, "batch": count, "max_bytes": MAX_BYTES, "next_by_subj": subject });
    let what = format!("a read of {stream} {request}");
    // What the connection loses from here on leaves a hole.
    let mut changes = broker.changes();
    let inbox = broker.client.new_inbox();
    let mut answers =
        broker.client.subscribe(inbox.clone()).await.map_err(|error| Error::reading(stream, Box::new(error)))?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    broker
        .client
        .publish_with_reply(subject, inbox, request.to_string().into())
        .await
        .map_err(|error| Error::reading(stream, Box::new(error)))?;
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let answer = tokio::select! {
            biased;
            _ = changes.changed() => return Err(Error::Disconnected { what }),
            answer = timeout(PATIENCE, answers.next()) => answer,
        };
        let Ok(Some(answer)) = answer else { return Err(Error::reading(stream, "the answer has no end")) };
        let status = answer.status.map(|status| status.as_u16());
        match status {
            // There is nothing.
            Some(404) => return Ok(messages),
            Some(status) if status >= 300 => {
                let description = answer.description.unwrap_or_default();
                return Err(Error::Refused { what, code: Code::Other(status.into()), description });
            }
            _ => {}
        }
        // Each says which one was sent before it, and so does the end.
        let before = answer.headers.as_ref().and_then(|headers| value(headers, "Nats-Last-Sequence")?.parse().ok());
        if before.unwrap_or(0) != messages.last().map_or(0, |message| message.sequence) {
            return Err(Error::reading(stream, "a message of the answer is missing"));
        }
        if status == Some(204) {
            return Ok(messages);
        }
        messages.push(stored(&what, answer)?);
    }
}
