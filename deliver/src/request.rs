//! What every route reads of a request: its body, its query, the id in its path.

use axum::{
    extract::{FromRequestParts, Path, RawQuery, rejection::BytesRejection},
    http::request::Parts,
};
use bytes::Bytes;
use schemas::fields::{Fault, Faults};
use serde_json::{Map, Value};

use crate::error::Error;

/// The JSON of a body.
pub(crate) fn json(body: Result<Bytes, BytesRejection>) -> Result<Value, Error> {
    serde_json::from_slice(&body.map_err(Error::Body)?).map_err(Error::InvalidJson)
}

/// The JSON of a body that may be left out: nothing is an empty object.
pub(crate) fn json_or_nothing(body: Result<Bytes, BytesRejection>) -> Result<Value, Error> {
    let body = body.map_err(Error::Body)?;
    if body.is_empty() { Ok(Value::Object(Map::new())) } else { json(Ok(body)) }
}

/// The parameters of a query as members of an object, so that they are read as fields are. None stands there twice.
pub(crate) fn parameters(RawQuery(query): RawQuery) -> Result<Value, Error> {
    let query = query.unwrap_or_default();
    let mut members = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            let twice = Fault::Says("names a parameter twice".into());
            return Err(Error::InvalidQuery(Faults::one("query", twice)));
        }
    }
    Ok(Value::Object(members))
}

/// The id of a path. What cannot be an id names nothing, and never reaches the database.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) if is_id(&id) => Ok(Self(id)),
            _ => Err(Error::NotFound),
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
