//! The API of the ledger. Who calls was settled before: the caller is in the request.

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State, rejection::PathRejection, rejection::QueryRejection},
    http::StatusCode,
    routing::{get, post},
};
use schemas::{
    caller::Caller,
    fields::{Fault, Faults},
};
use serde::Serialize;

use crate::{
    Ledger,
    audit::{self, Report},
    error::Error,
    lease,
    query::{
        list::{self, Page},
        params::Params,
        state,
        trace::{self, Trace},
    },
};

/// All routes.
pub(crate) fn routes(ledger: Ledger) -> Router {
    Router::new()
        .route("/deliveries", get(page))
        .route("/deliveries/{provider}/{delivery}", get(show))
        .route("/ledger", get(status))
        .route("/ledger/rebuild", post(rebuild))
        .route("/audit", get(add_up))
        .with_state(ledger)
}

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

fn pairs(query: Pairs) -> Result<Vec<(String, String)>, Error> {
    let unreadable = |rejection: QueryRejection| Faults::one("query", Fault::Says(rejection.body_text().into()));
    query.map(|Query(pairs)| pairs).map_err(|rejection| Error::Query(unreadable(rejection)))
}

async fn page(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
    query: Pairs,
) -> Result<Json<Page>, Error> {
    let deps = &ledger.0.deps;
    let params = Params::read(&pairs(query)?, deps.clock.now()).map_err(Error::Query)?;
    if params.org.as_ref().is_some_and(|org| !caller.sees(org)) {
        return Err(Error::NotFound);
    }
    Ok(Json(list::page(&deps.db, &caller, &params).await?))
}

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

async fn status(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<state::State>, Error> {
    everyone(&caller)?;
    Ok(Json(state::of(&ledger.0.deps.db, &ledger.0.deps.broker).await?))
}

#[derive(Serialize)]
struct Asked {
    status: &'static str,
}

async fn rebuild(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<Asked>), Error> {
    everyone(&caller)?;
    let deps = &ledger.0.deps;
    lease::ask_rebuild(&deps.db, deps.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, Json(Asked { status: "rebuilding" })))
}

async fn add_up(
    State(ledger): State<Ledger>,
    Extension(caller): Extension<Caller>,
    query: Pairs,
) -> Result<Json<Report>, Error> {
    everyone(&caller)?;
    let mut at = None;
    let mut faults = Faults::default();
    for (name, value) in pairs(query)? {
        match (name.as_str(), value.parse::<i64>()) {
            ("at", Ok(sequence)) if sequence > 0 => at = Some(sequence),
            ("at", _) => faults.add("at", Fault::MustBe("a sequence of GW_WEBHOOK")),
            _ => faults.add("query", Fault::Says("has no parameter but at".into())),
        }
    }
    if !faults.is_empty() {
        return Err(Error::Query(faults));
    }
    Ok(Json(audit::run(&ledger.0, at).await?))
}

/// Only for a caller who sees every organisation.
fn everyone(caller: &Caller) -> Result<(), Error> {
    if caller.org.is_none() { Ok(()) } else { Err(Error::Narrowed) }
}
