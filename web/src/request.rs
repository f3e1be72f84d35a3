//! What every route reads of a request: its body, its query, the ids in its path.

use axum::{
    extract::{FromRequestParts, Path, RawQuery, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use schemas::{
    fields::{Fault, Faults, Fields},
    problem::Problem,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is wrong with a request before anybody looked what it is about.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The path names what cannot exist.
    #[error("no such thing")]
    NotFound,
    /// The body could not be received.
    #[error("the body could not be received")]
    Body(#[source] BytesRejection),
    /// The body is not JSON.
    #[error("the body is not JSON")]
    InvalidJson(#[source] serde_json::Error),
    /// Parameters of the query are wrong.
    #[error("parameters are wrong: {0}")]
    Query(Faults),
}

impl RequestError {
    /// The answer to who asked.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::new(404, "not_found", "Not found"),
            Self::Body(rejection) => match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(413, "body_too_large", "The body is too large"),
                _ => Problem::new(400, "unreadable_body", "The body could not be received"),
            },
            Self::InvalidJson(error) => {
                Problem::new(400, "invalid_json", "The body is not JSON").detail(error.to_string())
            }
            Self::Query(faults) => {
                faults.errors_of(Problem::new(400, "invalid_query", "Parameters of the query are wrong"))
            }
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        crate::answer(self.problem())
    }
}

/// The JSON of a body.
pub fn json(body: Result<Bytes, BytesRejection>) -> Result<Value, RequestError> {
    serde_json::from_slice(&body.map_err(RequestError::Body)?).map_err(RequestError::InvalidJson)
}

/// The JSON of a body that may be left out: nothing is an empty object.
pub fn json_or_nothing(body: Result<Bytes, BytesRejection>) -> Result<Value, RequestError> {
    let body = body.map_err(RequestError::Body)?;
    if body.is_empty() { Ok(Value::Object(Map::new())) } else { json(Ok(body)) }
}

/// The parameters of a query as members of an object, so that they are read as fields are. None stands there twice.
pub fn parameters(RawQuery(query): RawQuery) -> Result<Value, RequestError> {
    let query = query.unwrap_or_default();
    let mut members = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            let twice = Fault::Says("names a parameter twice".into());
            return Err(RequestError::Query(Faults::one("query", twice)));
        }
    }
    Ok(Value::Object(members))
}

/// The parameter `limit`: how many a list may have.
pub fn limit(fields: &mut Fields<'_>, unless_said: i64, most: i64) -> i64 {
    match fields.optional("limit").map(str::parse) {
        None => unless_said,
        Some(Ok(limit)) if (1..=most).contains(&limit) => limit,
        Some(_) => fields.fault("limit", Fault::Range(1, most)).unwrap_or(unless_said),
    }
}

/// The ids of a path, one unless said otherwise. What cannot be an id names nothing, and never reaches the database.
#[derive(Debug)]
pub struct Ids<T = String>(pub T);

impl<S: Send + Sync, T: IsIds + DeserializeOwned + Send> FromRequestParts<S> for Ids<T> {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RequestError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) if ids.are_ids() => Ok(Self(ids)),
            _ => Err(RequestError::NotFound),
        }
    }
}

/// What may stand in a path for ids.
pub trait IsIds {
    /// Whether all of them can be ids.
    fn are_ids(&self) -> bool;
}

impl IsIds for String {
    fn are_ids(&self) -> bool {
        self.len() <= 64 && self.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }
}

impl IsIds for (String, String) {
    fn are_ids(&self) -> bool {
        self.0.are_ids() && self.1.are_ids()
    }
}
