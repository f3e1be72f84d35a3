//! The API of connections and links. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json, Router,
    extract::{FromRequestParts, Path, Query, State, rejection::BytesRejection, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
    routing::{delete, get, post},
};
use bytes::Bytes;
use schemas::caller::Caller;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Vault,
    connection::{self, NewConnection},
    error::Error,
    fields::{self, Faults},
    link::{self, NewLink},
    reconcile::{self, Report},
    records::{Adopted, Records},
};

/// The routes that only need the rows.
pub(crate) fn records(records: Records) -> Router {
    Router::new()
        .route("/connections", post(adopt).get(list))
        .route("/connections/{id}", get(show))
        .route("/connections/{id}/resources", post(add_link).get(list_links))
        .route("/connections/{id}/resources/{rid}", delete(remove_link))
        .with_state(records)
}

/// The routes that need the broker as well.
pub(crate) fn routes(vault: Vault) -> Router {
    Router::new().route("/routes/rebuild", post(rebuild)).with_state(vault)
}

/// A list and the name it has in the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Listed<T> {
    Connections(Vec<T>),
    Resources(Vec<T>),
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Outcome {
    Linked {
        resource: link::Shown,
    },
    Removed {
        #[serde(rename = "resourceId")]
        resource_id: String,
    },
    Rebuilt(Report),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Which {
    org_id: Option<String>,
}

async fn adopt(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<connection::Shown>), Error> {
    let new = NewConnection::parse(&json(body)?).map_err(Error::Invalid)?;
    Ok(match records.adopt(&caller, &new).await? {
        Adopted::New(connection) => (StatusCode::CREATED, Json(connection.into())),
        Adopted::Existing(connection) => (StatusCode::OK, Json(connection.into())),
    })
}

async fn list(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Listed<connection::Shown>>, Error> {
    let Query(Which { org_id }) = which.map_err(Error::Query)?;
    if let Some(org) = &org_id {
        fields::check(org).map_err(|fault| Error::Invalid(Faults::one("orgId", fault)))?;
    }
    let connections = records.connections(&caller, org_id.as_deref()).await?;
    Ok(Json(Listed::Connections(connections.into_iter().map(Into::into).collect())))
}

async fn show(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<connection::Shown>, Error> {
    Ok(Json(records.connection(&caller, &id).await?.into()))
}

async fn list_links(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<Listed<link::Shown>>, Error> {
    let links = records.links(&caller, &id).await?;
    Ok(Json(Listed::Resources(links.into_iter().map(Into::into).collect())))
}

async fn add_link(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Outcome>, Error> {
    let (connection, provider) = records.linkable(&caller, &id).await?;
    let new = NewLink::parse(&json(body)?, &connection, provider).map_err(Error::Invalid)?;
    let link = records.link(&connection.id, &new).await?;
    Ok(Json(Outcome::Linked { resource: link.into() }))
}

async fn remove_link(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids((id, resource)): Ids<(String, String)>,
) -> Result<Json<Outcome>, Error> {
    let link = records.unlink(&caller, &id, &resource).await?;
    Ok(Json(Outcome::Removed { resource_id: link.id }))
}

async fn rebuild(State(vault): State<Vault>, Extension(caller): Extension<Caller>) -> Result<Json<Outcome>, Error> {
    if caller.org.is_some() {
        return Err(Error::OtherOrganisation);
    }
    Ok(Json(Outcome::Rebuilt(reconcile::run(&vault, reconcile::Strangers::Purge).await?)))
}

/// The JSON of a body.
pub(crate) fn json(body: Result<Bytes, BytesRejection>) -> Result<Value, Error> {
    serde_json::from_slice(&body.map_err(Error::Body)?).map_err(Error::InvalidJson)
}

/// The ids of a path. What cannot be an id names nothing, and never reaches the database.
pub(crate) struct Ids<T>(pub(crate) T);

impl<S: Send + Sync, T: IsIds + DeserializeOwned + Send> FromRequestParts<S> for Ids<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) if ids.are_ids() => Ok(Self(ids)),
            _ => Err(Error::NotFound),
        }
    }
}

pub(crate) trait IsIds {
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
