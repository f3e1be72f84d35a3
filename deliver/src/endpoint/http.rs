//! The API of endpoints. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json, Router,
    extract::{FromRef, RawQuery, State, rejection::BytesRejection},
    http::StatusCode,
    routing::{get, post},
};
use bytes::Bytes;
use nats::{Broker, topology};
use schemas::caller::Caller;
use serde::Serialize;

use super::{Endpoints, fields::Rotation, page::Wanted, records::Records, shown::Shown};
use crate::{
    Deps,
    error::Error,
    request::{Id, json, json_or_nothing, parameters},
};

/// The routes of endpoints.
pub(crate) fn api(endpoints: Endpoints, deps: Deps) -> Router {
    let records = Records { endpoints, random: deps.random, sealer: deps.sealer, reach: deps.reach };
    Router::new()
        .route("/endpoints", post(create).get(list))
        .route("/endpoints/{id}", get(show).patch(change).delete(remove))
        .route("/endpoints/{id}/secret/rotate", post(rotate))
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    endpoints: Vec<Shown>,
    /// The cursor of the next page; null on the last.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Removed {
    status: &'static str,
    endpoint_id: String,
}

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

async fn list(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Page>, Error> {
    let wanted = Wanted::read(&parameters(query)).map_err(Error::InvalidQuery)?;
    let (endpoints, next) = records.list(&caller, wanted).await?;
    Ok(Json(Page { endpoints, next_cursor: next.map(|cursor| cursor.text()) }))
}

async fn show(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
) -> Result<Json<Shown>, Error> {
    Ok(Json(records.show(&caller, &id).await?))
}

async fn change(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Shown>, Error> {
    Ok(Json(records.change(&caller, &id, &json(body)?).await?))
}

async fn remove(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
) -> Result<Json<Removed>, Error> {
    records.delete(&caller, &id).await?;
    Ok(Json(Removed { status: "deleted", endpoint_id: id }))
}

async fn rotate(
    State(records): State<Records>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Shown>, Error> {
    let rotation = Rotation::read(&json_or_nothing(body)?).map_err(Error::Invalid)?;
    Ok(Json(records.rotate(&caller, &id, &rotation).await?))
}
