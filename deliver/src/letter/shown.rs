//! A dead letter as the API shows it.

use data_encoding::BASE64;
use schemas::{header, instant};
use serde::Serialize;
use utoipa::ToSchema;

use super::Letter;

/// What a list says of a letter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetterLine)]
pub(super) struct Line {
    id: u64,
    stage: String,
    reason: String,
    detail: Option<String>,
    stream: String,
    sequence: u64,
    subject: Option<String>,
    org_id: Option<String>,
    endpoint_id: Option<String>,
    provider: Option<String>,
    delivery_id: Option<String>,
    event_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    attempts: Option<u32>,
    died_at: String,
}

/// The whole letter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(super) struct Whole {
    #[serde(flatten)]
    line: Line,
    /// In their order; names may repeat.
    headers: Vec<(String, String)>,
    /// The body, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl From<&Letter> for Line {
    fn from(letter: &Letter) -> Self {
        Self {
            id: letter.message.sequence,
            stage: letter.stage.clone(),
            reason: letter.reason.clone(),
            detail: letter.text(header::DLQ_DETAIL),
            stream: letter.stream.clone(),
            sequence: letter.sequence,
            subject: letter.text(header::DLQ_SUBJECT),
            org_id: letter.org.clone(),
            endpoint_id: letter.endpoint.clone(),
            provider: letter.text(header::PROVIDER),
            delivery_id: letter.text(header::DELIVERY),
            event_id: letter.text("ce-id"),
            kind: letter.text("ce-type").or_else(|| letter.text(header::EVENT)),
            attempts: letter.text(header::ATTEMPT).and_then(|attempts| attempts.parse().ok()),
            died_at: instant::rfc3339(letter.message.stored_at),
        }
    }
}

impl From<&Letter> for Whole {
    fn from(letter: &Letter) -> Self {
        let headers = letter.message.headers().filter(|(name, _)| !nats::is_brokers(name));
        let (body, body_base64) = match std::str::from_utf8(&letter.message.payload) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_binary) => (None, Some(BASE64.encode(&letter.message.payload))),
        };
        let headers = headers.map(|(name, value)| (name.to_owned(), header::decode(value))).collect();
        Self { line: letter.into(), headers, body, body_base64 }
    }
}
