//! The JSON body of every HTTP error: RFC 9457 problem details with a stable code.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoResponses, ToSchema};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for programs (`code`) and for people (`title`, `detail`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// A few words, the same for every occurrence of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, `unknown_provider`.
    pub code: String,
    /// What to do about it, where that is not plain from the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Members that belong to the code, `errors` with what is wrong of each field among them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Problem {
    /// A problem without detail.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str) -> Self {
        let (kind, title, code) = ("about:blank".to_owned(), title.to_owned(), code.to_owned());
        Self { kind, title, status, code, detail: None, extra: Map::new() }
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// All fields that were wrong, `{"field": ["what is wrong"]}`.
    #[must_use]
    pub fn errors(self, errors: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let mut fields = Map::new();
        for (field, error) in errors {
            let Value::Array(list) = fields.entry(field).or_insert_with(|| Value::Array(Vec::new())) else { continue };
            list.push(error.into());
        }
        self.with("errors", fields)
    }
}

/// How any request of the API may be refused: the part of its description that all routes share.
#[derive(Debug, IntoResponses)]
pub enum Refusal {
    /// Something of the request is wrong; `errors` says what, field by field.
    #[response(status = 400, content_type = "application/problem+json")]
    Wrong(#[to_schema] Problem),
    /// The key is missing or unknown.
    #[response(status = 401, content_type = "application/problem+json")]
    NoKey(#[to_schema] Problem),
    /// The key may not do this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// There is no such thing, or not for this caller.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// Ours to mend; it is in the log.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(#[to_schema] Problem),
    /// The database or the broker does not answer; try again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}
