//! `GET /events/{id}/payload`: what the provider sent, also where an event only names it.

use std::time::Duration;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, header},
    response::Response,
};
use nats::{
    Message,
    topology::{self, GW_ATTEMPT, GW_EVENT},
};
use schemas::{
    attempt::Attempt,
    caller::Caller,
    header as names,
    problem::{Problem, Refusal},
    provider, subject,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Feed, Seat, line::Line};
use crate::Error;

/// The longest that an event's id can be.
const ID: usize = 64;
/// How long a replica may lag behind the one that pushed the event.
const LAG: Duration = Duration::from_millis(250);
/// How long a payload is held for its reader.
const PATIENCE: Duration = Duration::from_secs(60);

/// The part of an event's body that is wanted.
#[derive(Deserialize)]
struct Embedded {
    payload: Option<Box<RawValue>>,
}

/// The provider's payload of an event.
///
/// The only way over HTTP to a payload that the event does not hold but names by `payloadRef`.
#[utoipa::path(
    get,
    path = "/events/{id}/payload",
    tag = "events",
    params(("id" = String, Path, description = "The event: the `webhook-id` of its request, the `ce-id` of its message")),
    responses(
        (status = 200, description = "The provider's JSON", content_type = "application/json", body = serde_json::Value),
        (status = 429, description = "The key reads too many payloads at once", body = Problem, content_type = "application/problem+json"),
        Refusal
    )
)]
pub(super) async fn payload(
    State(feed): State<Feed>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Path(id) = id.map_err(|_| Error::NotFound)?;
    let seat = feed.reads.take(&caller)?;
    if !is_id(&id) {
        return Err(Error::NotFound);
    }
    let payload = match feed.event(&caller, &id).await? {
        Some(event) => feed.payload(&event).await?,
        None => feed.pushed(&caller, &id).await?,
    };
    let payload = payload.ok_or(Error::NotFound)?;
    let length = payload.len();
    // What a reader has begun to read it may end, also at a stop.
    let (line, taken) = Line::open(PATIENCE, CancellationToken::new());
    tokio::spawn(give(payload, line, seat));
    let mut response = Response::new(Line::body(taken));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Gives a payload to its reader; one that is too slow is left with a part of it, and its length tells.
async fn give(payload: Bytes, mut line: Line, _seat: Seat) {
    if line.give(payload).await {
        line.through().await;
    }
    line.close().await;
}

impl Feed {
    /// The event of this id, if the caller may see it.
    async fn event(&self, caller: &Caller, id: &str) -> Result<Option<Message>, Error> {
        let found = self.find(caller, id).await?;
        if found.is_some() || topology::stream_info(&self.broker, GW_EVENT).await?.config.num_replicas < 2 {
            return Ok(found);
        }
        sleep(LAG).await;
        self.find(caller, id).await
    }

    async fn find(&self, caller: &Caller, id: &str) -> Result<Option<Message>, Error> {
        for history in [false, true] {
            let filter = subject::event_by_id(history, caller.org.as_deref(), id);
            if let Some(event) = nats::next_from(&self.broker, GW_EVENT, 1, &filter).await? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Its payload; none where the object is not held any more.
    async fn payload(&self, event: &Message) -> Result<Option<Bytes>, Error> {
        let text = |name| event.header(name).map(names::decode);
        let Some(name) = text(names::PAYLOAD_REF) else {
            let embedded = serde_json::from_slice(&event.payload).ok().and_then(|Embedded { payload }| payload);
            return Ok(embedded.map(|payload| Bytes::from(payload.get().to_owned())));
        };
        self.object(&name, text(names::PROVIDER).as_deref()).await
    }

    /// The payload of an event that the stream does not hold any more, by what its pushes tell: a dead letter that is
    /// sent back outlives its event.
    async fn pushed(&self, caller: &Caller, id: &str) -> Result<Option<Bytes>, Error> {
        let filter = subject::attempts_of(caller.org.as_deref(), id);
        let step = nats::last(&self.broker, GW_ATTEMPT, &filter).await?;
        let step = step.and_then(|step| serde_json::from_slice::<Attempt>(&step.payload).ok());
        match step {
            Some(Attempt { payload_ref: Some(name), provider, .. }) => self.object(&name, Some(&provider)).await,
            _ => Ok(None),
        }
    }

    async fn object(&self, name: &str, provider: Option<&str>) -> Result<Option<Bytes>, Error> {
        Ok(self.payloads.get(name).await?.map(|body| json(provider, body)))
    }
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The JSON of a body as it was received: as the event would hold it.
fn json(provider: Option<&str>, body: Bytes) -> Bytes {
    let start = body.trim_ascii_start();
    let is_json = start.starts_with(b"{") || start.starts_with(b"\xef\xbb\xbf");
    let body = match provider.and_then(provider::find).filter(|_| !is_json) {
        // The object of a form holds the form.
        Some(found) => Bytes::from(found.json(Some(provider::FORM), &body).into_owned()),
        None => body,
    };
    if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_and_a_byte_order_mark_are_taken_off() {
        let json = |body: &'static str| json(Some("github"), Bytes::from(body));
        assert_eq!(json(" {\"a\": 1}"), " {\"a\": 1}");
        assert_eq!(json("\u{feff}{}"), "{}");
        assert_eq!(json("payload=%7B%22a%22%3A1%7D&x=1"), "{\"a\":1}");
        assert_eq!(json("neither"), "neither");
    }
}
