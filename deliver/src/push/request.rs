//! The request of a push: an event written as its endpoint wants it, signed.

use bytes::Bytes;
use nats::Message;
use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use schemas::{endpoint::Format, header};

use super::sign;
use crate::endpoint::Live;

/// Attributes of CloudEvents begin so, on the message and on the request alike.
const ATTRIBUTE: &str = "ce-";
/// In binary mode this attribute is the content type.
const CONTENT_ATTRIBUTE: &str = "ce-datacontenttype";

/// A request before it is sent. Each attempt signs anew, because the time is signed.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Writes an event's request. None where the URL cannot be read, which no row holds.
pub(super) fn write(live: &Live, event: &Message, id: &str, now: i64) -> Option<Request> {
    let mut headers = HeaderMap::new();
    for (name, value) in &live.endpoint.headers {
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), sensitive(value)) {
            headers.insert(name, value);
        }
    }
    // What the endpoint adds never takes the place of what we say.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if live.endpoint.format == Format::Cloudevents {
        let attributes = event.headers().filter(|(name, _)| is_attribute(name));
        for (name, value) in attributes {
            put(&mut headers, name, value);
        }
    }
    if let Some(parent) = event.header(header::TRACEPARENT).filter(|parent| nats::trace::is_valid(parent)) {
        put(&mut headers, header::TRACEPARENT, parent);
    }
    let timestamp = now.div_euclid(1_000);
    put(&mut headers, "webhook-id", id);
    put(&mut headers, "webhook-timestamp", &timestamp.to_string());
    put(&mut headers, "webhook-signature", &sign::signatures(&live.secrets, id, timestamp, &event.payload));
    Some(Request { url: live.endpoint.url.parse().ok()?, headers, body: event.payload.clone() })
}

fn is_attribute(name: &str) -> bool {
    name.get(..ATTRIBUTE.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(ATTRIBUTE))
        && !name.eq_ignore_ascii_case(CONTENT_ATTRIBUTE)
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
