//! The API of the ledger. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::StatusCode,
};
use schemas::{
    caller::Caller,
    fields::{Fault, Fields},
    instant::Moment,
    problem::Refusal,
    provider::ProviderId,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{RequestError, parameters};

use crate::{
    Ledger,
    audit::{self, Report},
    error::Error,
    lease,
    query::{
        list::{self, Page},
        params::{Params, Status},
        state,
        trace::{self, Trace},
    },
};

/// All routes.
pub(crate) fn routes(ledger: Ledger) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(page))
        .routes(routes!(show))
        .routes(routes!(status))
        .routes(routes!(rebuild))
        .routes(routes!(add_up))
        .with_state(ledger)
}

/// A page of deliveries, the newest first.
#[utoipa::path(
    get,
    path = "/deliveries",
    tag = "deliveries",
    params(
        ("orgId" = Option<String>, Query, description = "One organisation only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("provider" = inline(Option<ProviderId>), Query, description = "One provider only"),
        ("type" = Option<String>, Query, description = "One type only, the provider's or the normalised one", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("status" = inline(Option<Status>), Query, description = "One state only"),
        ("endpointId" = Option<String>, Query, description = "What was pushed to one endpoint only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("since" = inline(Option<Moment>), Query, description = "Stored at or after this time"),
        ("until" = inline(Option<Moment>), Query, description = "Stored before this time, not before `since`"),
        ("limit" = Option<i64>, Query, description = "Deliveries of a page, 50 unless said otherwise", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before")
    ),
    responses((status = 200, description = "The deliveries", body = Page), Refusal)
)]
async fn page(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Page>, Error> {
    let deps = &ledger.0.deps;
    let query = parameters(query)?;
    let mut fields = Fields::of_query(&query).map_err(RequestError::Query)?;
    let params = Params::read(&mut fields, deps.clock.now());
    fields.faults.none_or(Some(())).map_err(RequestError::Query)?;
    if params.org.as_ref().is_some_and(|org| !caller.sees(org)) {
        return Err(Error::NotFound);
    }
    Ok(Json(list::page(&deps.db, &caller, &params).await?))
}

/// The whole life of a delivery.
#[utoipa::path(
    get,
    path = "/deliveries/{provider}/{delivery}",
    tag = "deliveries",
    params(
        ("provider" = ProviderId, Path, description = "The provider's id"),
        ("delivery" = String, Path, description = "The delivery's id at its provider")
    ),
    responses((status = 200, description = "What became of it", body = Trace), Refusal)
)]
async fn show(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Trace>, Error> {
    let Path((provider, delivery)) = path.map_err(|_| Error::NotFound)?;
    // What could not have been stored is not there.
    let known = schemas::provider::find(&provider).is_some();
    if !known || delivery.chars().any(char::is_control) {
        return Err(Error::NotFound);
    }
    let deps = &ledger.0.deps;
    Ok(Json(trace::of(&deps.db, &deps.broker, &caller, &provider, &delivery).await?))
}

/// How far the ledger has read, and what it counted of rows that are gone.
#[utoipa::path(get, path = "/ledger", tag = "ledger", responses((status = 200, description = "How it stands", body = state::State), Refusal))]
async fn status(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<state::State>, Error> {
    everyone(&caller)?;
    Ok(Json(state::of(&ledger.0.deps.db, &ledger.0.deps.broker).await?))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Rebuilding)]
struct Asked {
    /// `rebuilding`.
    status: &'static str,
}

/// Makes the ledger's rows anew from the streams.
#[utoipa::path(post, path = "/ledger/rebuild", tag = "ledger", responses((status = 202, description = "It begins", body = Asked), Refusal))]
async fn rebuild(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<Asked>), Error> {
    everyone(&caller)?;
    let deps = &ledger.0.deps;
    lease::ask_rebuild(&deps.db, deps.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, Json(Asked { status: "rebuilding" })))
}

/// Adds up what was stored, routed and pushed: `error` is 0 unless something was lost or is there twice.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "ledger",
    params(("at" = Option<i64>, Query, description = "Up to this delivery of `GW_WEBHOOK`, and the events and outcomes stored by then; the last without it", minimum = 1)),
    responses((status = 200, description = "The terms and what does not add up", body = Report), Refusal)
)]
async fn add_up(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Report>, Error> {
    everyone(&caller)?;
    let query = parameters(query)?;
    let mut fields = Fields::of_query(&query).map_err(RequestError::Query)?;
    fields.only(&["at"]);
    let at = fields.optional("at").and_then(|text| {
        let sequence = text.parse::<i64>().ok().filter(|sequence| *sequence > 0);
        sequence.or_else(|| fields.fault("at", Fault::MustBe("a sequence of GW_WEBHOOK")))
    });
    fields.faults.none_or(Some(())).map_err(RequestError::Query)?;
    Ok(Json(audit::run(&ledger.0, at).await?))
}

/// Only for a caller who sees every organisation.
fn everyone(caller: &Caller) -> Result<(), Error> {
    if caller.org.is_none() { Ok(()) } else { Err(Error::Narrowed) }
}
