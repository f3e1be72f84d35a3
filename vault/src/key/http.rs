//! The API of keys: an admin's alone.

use axum::{
    Extension, Json, Router,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    routing::{delete, post},
};
use bytes::Bytes;
use schemas::caller::{Caller, Scope};
use serde::Serialize;

use super::{NewKey, Shown};
use crate::{
    error::Error,
    http::{Ids, json},
    records::Records,
};

/// The routes of keys.
pub(crate) fn routes(records: Records) -> Router {
    Router::new().route("/keys", post(make).get(list)).route("/keys/{id}", delete(revoke)).with_state(records)
}

#[derive(Serialize)]
struct Listed {
    keys: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    status: &'static str,
    key_id: String,
}

async fn make(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Shown>), Error> {
    admin(&caller)?;
    let new = NewKey::parse(&json(body)?).map_err(Error::Invalid)?;
    let (key, secret) = records.make_key(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(Shown { key: Some(secret.expose().to_owned()), ..key.into() })))
}

async fn list(State(records): State<Records>, Extension(caller): Extension<Caller>) -> Result<Json<Listed>, Error> {
    admin(&caller)?;
    Ok(Json(Listed { keys: records.keys(&caller).await?.into_iter().map(Into::into).collect() }))
}

async fn revoke(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<Revoked>, Error> {
    admin(&caller)?;
    records.revoke_key(&caller, &id).await?;
    Ok(Json(Revoked { status: "revoked", key_id: id }))
}

fn admin(caller: &Caller) -> Result<(), Error> {
    match caller.scope {
        Scope::Admin => Ok(()),
        Scope::Read => Err(Error::AdminOnly),
    }
}
