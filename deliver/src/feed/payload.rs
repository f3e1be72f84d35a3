//! `GET /events/{id}/payload`: what the provider sent, also where an event only names it.

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, header},
    response::Response,
};
use nats::{Message, topology::GW_EVENT};
use schemas::{caller::Caller, header as names, problem::Refusal, subject};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Feed;
use crate::Error;

/// The longest that an event's id can be.
const ID: usize = 64;

/// The part of an event's body that is wanted.
#[derive(Deserialize)]
struct Embedded {
    payload: Option<Box<RawValue>>,
}

/// The provider's payload of an event, byte for byte.
///
/// The only way over HTTP to a payload that the event does not hold but names by `payloadRef`.
#[utoipa::path(
    get,
    path = "/events/{id}/payload",
    tag = "events",
    params(("id" = String, Path, description = "The event: the `webhook-id` of its request, the `ce-id` of its message")),
    responses((status = 200, description = "The provider's JSON", content_type = "application/json", body = serde_json::Value), Refusal)
)]
pub(super) async fn payload(
    State(feed): State<Feed>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Path(id) = id.map_err(|_| Error::NotFound)?;
    let event = feed.event(&caller, &id).await?.ok_or(Error::NotFound)?;
    let payload = feed.payload(&event).await?.ok_or(Error::NotFound)?;
    let mut response = Response::new(Body::from(payload));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Feed {
    /// The event of this id, if the caller may see it.
    async fn event(&self, caller: &Caller, id: &str) -> Result<Option<Message>, Error> {
        if id.is_empty() || id.len() > ID || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
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
        if let Some(name) = event.header(names::PAYLOAD_REF).map(names::decode) {
            return Ok(self.payloads.get(&name).await?);
        }
        let embedded = serde_json::from_slice(&event.payload).ok().and_then(|Embedded { payload }| payload);
        Ok(embedded.map(|payload| Bytes::from(payload.get().to_owned())))
    }
}
