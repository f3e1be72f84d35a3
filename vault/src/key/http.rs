//! The API of keys: an admin's alone.

use axum::{
    Extension, Json,
    extract::{RawQuery, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use schemas::{
    caller::{Caller, Scope},
    problem::Refusal,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Ids, PageParams, RequestError, json, parameters};

use super::{Form, NewKey, Shown};
use crate::{error::Error, http::page, records::Records};

/// The routes of keys.
pub(crate) fn routes(records: Records) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(make, list)).routes(routes!(revoke)).with_state(records)
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Keys)]
struct Listed {
    keys: Vec<Shown>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyRevoked)]
struct Revoked {
    /// `revoked`.
    status: &'static str,
    key_id: String,
}

/// Makes a key; it is in this answer and nowhere else.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = Form, responses((status = 201, description = "Made", body = Shown), Refusal))]
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

/// The keys that are not revoked, a page at a time.
#[utoipa::path(get, path = "/keys", tag = "keys", params(PageParams), responses((status = 200, description = "The keys", body = Listed), Refusal))]
async fn list(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Listed>, Error> {
    admin(&caller)?;
    let (_, paging) = page(&parameters(query)?, &[]).map_err(RequestError::Query)?;
    let (keys, next_cursor) = records.keys(&caller, &paging).await?;
    Ok(Json(Listed { keys: keys.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Revokes a key.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = String, Path, description = "The key, `key_…`")), responses((status = 200, description = "Revoked", body = Revoked), Refusal))]
async fn revoke(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
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
