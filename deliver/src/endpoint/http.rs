//! The API of endpoints. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json,
    extract::{FromRef, RawQuery, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use nats::{Broker, topology};
use schemas::{
    caller::Caller,
    endpoint::EndpointStatus,
    problem::{Problem, Refusal},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Ids, PageParams, RequestError, json, json_or_nothing, parameters};

use super::{Endpoints, breaker, fields::Rotation, form, records::Records, shown::Shown, wanted::Wanted};
use crate::{Deps, error::Error};

/// The routes of endpoints.
pub(crate) fn api(endpoints: Endpoints, deps: Deps) -> OpenApiRouter {
    let records = Records { endpoints, random: deps.random, sealer: deps.sealer, reach: deps.reach };
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change, remove))
        .routes(routes!(rotate))
        .with_state(Api { records, broker: deps.broker })
}

#[derive(Clone)]
struct Api {
    records: Records,
    broker: Broker,
}

impl FromRef<Api> for Records {
    fn from_ref(api: &Api) -> Self {
        api.records.clone()
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Endpoints)]
struct Page {
    endpoints: Vec<Shown>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointDeleted)]
struct Removed {
    /// `deleted`.
    status: &'static str,
    endpoint_id: String,
}

/// Makes an endpoint; its signing secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/endpoints",
    tag = "endpoints",
    request_body = form::New,
    responses(
        (status = 201, description = "Made", body = Shown),
        (status = 409, description = "The organisation has as many as it may", body = Problem, content_type = "application/problem+json"),
        Refusal
    )
)]
async fn create(
    State(Api { records, broker }): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Shown>), Error> {
    let last =
        async || topology::stream_info(&broker, topology::GW_EVENT).await.map(|events| events.state.last_sequence);
    let made = records.create(&caller, &json(body)?, last).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// The endpoints, a page at a time.
#[utoipa::path(
    get,
    path = "/endpoints",
    tag = "endpoints",
    params(
        ("orgId" = Option<String>, Query, description = "One organisation only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("status" = inline(Option<EndpointStatus>), Query, description = "One status only"),
        PageParams
    ),
    responses((status = 200, description = "The endpoints", body = Page), Refusal)
)]
async fn list(
    State(Api { records, broker }): State<Api>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Page>, Error> {
    let wanted = Wanted::read(&parameters(query)?).map_err(RequestError::Query)?;
    let (endpoints, next_cursor) = records.list(&caller, wanted).await?;
    Ok(Json(Page { endpoints: breaker::told(&broker, endpoints).await, next_cursor }))
}

/// One endpoint.
#[utoipa::path(get, path = "/endpoints/{id}", tag = "endpoints", params(("id" = String, Path, description = "The endpoint, `ep_…`")), responses((status = 200, description = "The endpoint", body = Shown), Refusal))]
async fn show(
    State(Api { records, broker }): State<Api>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
) -> Result<Json<Shown>, Error> {
    let shown = records.show(&caller, &id).await?;
    breaker::told(&broker, vec![shown]).await.pop().map(Json).ok_or(Error::NotFound)
}

/// Changes an endpoint: what the body does not name stays, and null is the default again.
#[utoipa::path(patch, path = "/endpoints/{id}", tag = "endpoints", params(("id" = String, Path, description = "The endpoint, `ep_…`")), request_body = form::Change, responses((status = 200, description = "Changed", body = Shown), Refusal))]
async fn change(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Shown>, Error> {
    Ok(Json(records.change(&caller, &id, &json(body)?).await?))
}

/// Deletes an endpoint; what it has still to get is dropped.
#[utoipa::path(delete, path = "/endpoints/{id}", tag = "endpoints", params(("id" = String, Path, description = "The endpoint, `ep_…`")), responses((status = 200, description = "Deleted", body = Removed), Refusal))]
async fn remove(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
) -> Result<Json<Removed>, Error> {
    records.delete(&caller, &id).await?;
    Ok(Json(Removed { status: "deleted", endpoint_id: id }))
}

/// Gives an endpoint a new signing secret; the one before signs as well for a while.
#[utoipa::path(post, path = "/endpoints/{id}/secret/rotate", tag = "endpoints", params(("id" = String, Path, description = "The endpoint, `ep_…`")), request_body = Option<form::Rotation>, responses((status = 200, description = "Rotated; the secret is in this answer and nowhere else", body = Shown), Refusal))]
async fn rotate(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Shown>, Error> {
    let rotation = Rotation::read(&json_or_nothing(body)?).map_err(Error::Invalid)?;
    Ok(Json(records.rotate(&caller, &id, &rotation).await?))
}
