//! The API of replays.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{RawQuery, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use nats::{
    Outgoing,
    job::{Held, Jobs, Next, Step},
    topology::GW_REPLAY,
};
use schemas::{
    caller::Caller,
    fields::{Fault, Fields},
    problem::Refusal,
    replay::{Replay, Status, Target},
    subject,
};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Ids, RequestError, json, limit, parameters};

use super::{form::Wish, shown::Shown, start::start, wish};
use crate::{Deps, endpoint::Endpoints, error::Error};

const PATIENCE: Duration = Duration::from_secs(10);
/// How often a cancellation is tried against a worker that keeps writing.
const TRIES: usize = 20;
/// Replays that are listed unless asked for otherwise, and at most.
const LIMIT: (i64, i64) = (100, 1_000);

/// What the routes need.
#[derive(Clone)]
struct Replays {
    deps: Deps,
    endpoints: Endpoints,
}

/// The routes.
pub(crate) fn api(endpoints: Endpoints, deps: Deps) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(ask, list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .with_state(Replays { deps, endpoints })
}

#[derive(Serialize, ToSchema)]
#[schema(as = Replays)]
struct Listed {
    replays: Vec<Shown>,
}

/// Begins a replay; asked for twice with one id it runs once.
#[utoipa::path(post, path = "/replays", tag = "replays", request_body = Wish, responses((status = 202, description = "It runs", body = Shown), Refusal))]
async fn ask(
    State(Replays { deps, endpoints }): State<Replays>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Shown>), Error> {
    // The command is stored before its job is made: whoever dies between the two leaves it to another.
    let request = wish::read(&json(body)?, &caller, deps.random.id("rpl_"), deps.clock.now())?;
    wish::endpoints(&request, &endpoints).await?;
    let command = Outgoing {
        subject: subject::REPLAY_REQUESTED.to_owned(),
        id: request.id.clone(),
        payload: serde_json::to_vec(&request).map_err(Error::Encode)?.into(),
        ..Outgoing::default()
    };
    deps.commands.publish(command, Instant::now() + PATIENCE).await?;
    let replay = start(&deps.broker, &deps.clock, request).await?;
    seen(&caller, &replay)?;
    Ok((StatusCode::ACCEPTED, Json(replay.into())))
}

/// The replays, the newest first.
#[utoipa::path(
    get,
    path = "/replays",
    tag = "replays",
    params(
        ("orgId" = Option<String>, Query, description = "One organisation's only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("status" = inline(Option<Status>), Query, description = "One status only"),
        ("limit" = Option<i64>, Query, description = "How many, 100 unless said otherwise", minimum = 1, maximum = 1000)
    ),
    responses((status = 200, description = "The replays", body = Listed), Refusal)
)]
async fn list(
    State(Replays { deps, .. }): State<Replays>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Listed>, Error> {
    let query = parameters(query)?;
    let mut fields = Fields::of_query(&query).map_err(RequestError::Query)?;
    fields.only(&["orgId", "status", "limit"]);
    let org = fields.optional("orgId");
    let status = fields.optional("status").and_then(|text| {
        let known = || Fault::OneOf("running, done, cancelled, failed".to_owned());
        Status::parse(text).or_else(|| fields.fault("status", known()))
    });
    let limit = limit(&mut fields, LIMIT.0, LIMIT.1);
    fields.faults.none_or(Some(())).map_err(RequestError::Query)?;
    if org.is_some_and(|org| !caller.sees(org)) {
        return Err(Error::NotFound);
    }
    let jobs: Vec<Held<Replay>> = Jobs::new(&deps.broker).list().await?;
    let wanted = |replay: &Replay| {
        seen(&caller, replay).is_ok()
            && org.is_none_or(|org| replay.request.org_id.as_deref() == Some(org))
            && status.is_none_or(|status| replay.status == status)
    };
    let mut replays: Vec<Replay> = jobs.into_iter().map(|held| held.state).filter(wanted).collect();
    replays.sort_by_key(|replay| std::cmp::Reverse(replay.started_at));
    replays.truncate(usize::try_from(limit).unwrap_or_default());
    Ok(Json(Listed { replays: replays.into_iter().map(Into::into).collect() }))
}

/// One replay, and how far it is.
#[utoipa::path(get, path = "/replays/{id}", tag = "replays", params(("id" = String, Path, description = "The replay, `rpl_…`")), responses((status = 200, description = "The replay", body = Shown), Refusal))]
async fn show(
    State(Replays { deps, .. }): State<Replays>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
) -> Result<Json<Shown>, Error> {
    let replay = load(&Jobs::new(&deps.broker), &caller, &id).await?.state;
    let held = match replay.request.to {
        Target::Subject if replay.ended() && !replay.request.dry_run => {
            Some(nats::count(&deps.broker, GW_REPLAY, &[subject::replayed_of(&replay.request.id)], 1).await?)
        }
        Target::Subject | Target::Endpoints => None,
    };
    Ok(Json(Shown::from(replay).with_held(held)))
}

/// Ends a replay, and takes away what it had still to do. One that has ended stays as it is.
#[utoipa::path(post, path = "/replays/{id}/cancel", tag = "replays", params(("id" = String, Path, description = "The replay, `rpl_…`")), responses((status = 200, description = "It has ended", body = Shown), Refusal))]
async fn cancel(
    State(Replays { deps, .. }): State<Replays>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
) -> Result<Json<Shown>, Error> {
    let jobs = Jobs::new(&deps.broker);
    for _ in 0..TRIES {
        let mut held = load(&jobs, &caller, &id).await?;
        if held.state.ended() {
            return Ok(Json(held.state.into()));
        }
        let now = deps.clock.now();
        (held.state.status, held.state.updated_at, held.state.ended_at) = (Status::Cancelled, now, Some(now));
        held.state.waits_for = None;
        if let Step::Taken(held) = jobs.step(held, &Next::Nothing).await? {
            jobs.purge(&id).await?;
            return Ok(Json(held.state.into()));
        }
    }
    Err(Error::Busy)
}

async fn load(jobs: &Jobs, caller: &Caller, id: &str) -> Result<Held<Replay>, Error> {
    let held = jobs.load::<Replay>(id).await?.ok_or(Error::NotFound)?;
    seen(caller, &held.state)?;
    Ok(held)
}

/// A replay of every organisation is not shown to a caller of one.
fn seen(caller: &Caller, replay: &Replay) -> Result<(), Error> {
    match (&caller.org, &replay.request.org_id) {
        (None, _) => Ok(()),
        (Some(own), Some(org)) if own == org => Ok(()),
        _ => Err(Error::NotFound),
    }
}
