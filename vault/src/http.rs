//! The API of connections and links. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json,
    extract::{RawQuery, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use schemas::{
    caller::Caller,
    problem::{Problem, Refusal},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Ids, PageParams, Paging, RequestError, json, parameters};

use crate::{
    Vault,
    connection::{self, NewConnection},
    error::Error,
    fields::{Faults, Fields},
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

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Connections {
    connections: Vec<connection::Shown>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Links)]
struct Resources {
    resources: Vec<link::Shown>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
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

/// The connections of an organisation, or all, a page at a time.
#[utoipa::path(
    get,
    path = "/connections",
    tag = "connections",
    params(
        ("orgId" = Option<String>, Query, description = "One organisation only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        PageParams
    ),
    responses((status = 200, description = "The connections", body = Connections), Refusal)
)]
async fn list(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Connections>, Error> {
    let parameters = parameters(query)?;
    let (org, paging) = page(&parameters, &["orgId"]).map_err(RequestError::Query)?;
    let (connections, next_cursor) = records.connections(&caller, org, &paging).await?;
    Ok(Json(Connections { connections: connections.into_iter().map(Into::into).collect(), next_cursor }))
}

/// One connection.
#[utoipa::path(get, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`")), responses((status = 200, description = "The connection", body = connection::Shown), Refusal))]
async fn show(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
) -> Result<Json<connection::Shown>, Error> {
    Ok(Json(records.connection(&caller, &id).await?.into()))
}

/// The links of a connection, a page at a time.
#[utoipa::path(get, path = "/connections/{id}/resources", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`"), PageParams), responses((status = 200, description = "The links", body = Resources), Refusal))]
async fn list_links(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
    query: RawQuery,
) -> Result<Json<Resources>, Error> {
    let (_, paging) = page(&parameters(query)?, &[]).map_err(RequestError::Query)?;
    let (links, next_cursor) = records.links(&caller, &id, &paging).await?;
    Ok(Json(Resources { resources: links.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Links a resource, or the whole account; a removed link is revived.
#[utoipa::path(post, path = "/connections/{id}/resources", tag = "connections", params(("id" = String, Path, description = "The connection, `con_…`")), request_body = NewLink, responses((status = 200, description = "Linked", body = Outcome), (status = 409, description = "Linked already", body = Problem, content_type = "application/problem+json"), Refusal))]
async fn add_link(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
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

/// The parameters of a list: which page, and of which organisation where that is among those `known` beside.
pub(crate) fn page<'a>(parameters: &'a Value, known: &[&str]) -> Result<(Option<&'a str>, Paging), Faults> {
    let mut fields = Fields::of_query(parameters)?;
    fields.only(&[known, &Paging::PARAMETERS].concat());
    let org = fields.optional("orgId");
    let paging = Paging::read(&mut fields);
    fields.faults.none_or(Some((org, paging)))
}
