//! The JSON body of every HTTP error: RFC 9457 problem details with a stable code.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for programs (`code`) and for people (`title`, `detail`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Members that belong to the code.
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
