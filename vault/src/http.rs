//! The API of connections and links. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json,
    extract::{FromRequestParts, Path, Query, State, rejection::BytesRejection, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
};
use bytes::Bytes;
use schemas::{
    caller::Caller,
    problem::{Problem, Refusal},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

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
pub(crate) fn records(records: Records) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(adopt, list))
        .routes(routes!(show))
        .routes(routes!(add_link, list_links))
        .routes(routes!(remove_link))
        .with_state(records)
}

/// The routes that need the broker as well.
pub(crate) fn routes(vault: Vault) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(rebuild)).with_state(vault)
}

/// A list and the name it has in the answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Listed<T> {
    Connections(Vec<T>),
    Resources(Vec<T>),
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
#[schema(as = LinkOutcome)]
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

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// One organisation only.
    org_id: Option<String>,
}

/// Connects an account without asking its provider.
#[utoipa::path(post, path = "/connections", tag = "connections", request_body = NewConnection, responses((status = 201, description = "Connected now", body = connection::Shown), (status = 200, description = "Connected before", body = connection::Shown), Refusal))]
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

/// The connections of an organisation, or all.
#[utoipa::path(get, path = "/connections", tag = "connections", params(Which), responses((status = 200, description = "The connections", body = Listed<connection::Shown>), Refusal))]
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

/// One connection.
#[utoipa::path(get, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`")), responses((status = 200, description = "The connection", body = connection::Shown), Refusal))]
async fn show(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<connection::Shown>, Error> {
    Ok(Json(records.connection(&caller, &id).await?.into()))
}

/// The links of a connection.
#[utoipa::path(get, path = "/connections/{id}/resources", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`")), responses((status = 200, description = "The links", body = Listed<link::Shown>), Refusal))]
async fn list_links(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids<String>,
) -> Result<Json<Listed<link::Shown>>, Error> {
    let links = records.links(&caller, &id).await?;
    Ok(Json(Listed::Resources(links.into_iter().map(Into::into).collect())))
}

/// Links a resource, or the whole account; a removed link is revived.
#[utoipa::path(post, path = "/connections/{id}/resources", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`")), request_body = NewLink, responses((status = 200, description = "Linked", body = Outcome), (status = 409, description = "Linked already", body = Problem, content_type = "application/problem+json"), Refusal))]
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

/// Removes a link.
#[utoipa::path(delete, path = "/connections/{id}/resources/{rid}", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`"), ("rid" = String, Path, description = "The link, `lnk_…`")), responses((status = 200, description = "Removed", body = Outcome), Refusal))]
async fn remove_link(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids((id, resource)): Ids<(String, String)>,
) -> Result<Json<Outcome>, Error> {
    let link = records.unlink(&caller, &id, &resource).await?;
    Ok(Json(Outcome::Removed { resource_id: link.id }))
}

/// Makes the broker's routes anew from the database; those that it does not hold are removed.
#[utoipa::path(post, path = "/routes/rebuild", tag = "connections", responses((status = 200, description = "Rebuilt", body = Outcome), Refusal))]
async fn rebuild(State(vault): State<Vault>, Extension(caller): Extension<Caller>) -> Result<Json<Outcome>, Error> {
    if caller.org.is_some() {
        return Err(Error::AdminOnly);
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
