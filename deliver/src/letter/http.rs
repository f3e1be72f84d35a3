//! The API of dead letters.

use std::collections::{BTreeMap, HashSet};

use axum::{
    Extension, Json,
    extract::{RawQuery, State, rejection::BytesRejection},
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use nats::topology::GW_DLQ;
use schemas::{
    caller::Caller,
    fields::{Fault, Faults, Fields},
    instant::Moment,
    problem::Refusal,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Ids, RequestError, json, limit, parameters};

use super::{
    Letter,
    form::Chosen,
    redrive::{self, Sent},
    scan::{self, Page, WHICH, Which},
    shown::{Line, Whole},
};
use crate::{Deps, endpoint::Endpoints, error::Error};

/// Letters of a page unless asked for otherwise, and at most.
const LIMIT: (i64, i64) = (100, 1_000);
/// Letters that one request may name, and that one request deals with.
const IDS: usize = 1_000;
/// Letters dealt with at once.
const AT_ONCE: usize = 16;

/// What the routes need.
#[derive(Clone)]
struct Letters {
    deps: Deps,
    endpoints: Endpoints,
}

/// The routes.
pub(crate) fn api(endpoints: Endpoints, deps: Deps) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(redrive))
        .routes(routes!(drop_them))
        .with_state(Letters { deps, endpoints })
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetters)]
struct Listed {
    dead_letters: Vec<Line>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// What was done with letters.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLettersDone)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<usize>,
    /// Letters that were left as they are, by reason.
    skipped: BTreeMap<&'static str, usize>,
    /// The cursor to go on with; absent when all were dealt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Dead letters, the oldest first.
#[utoipa::path(
    get,
    path = "/dead-letters",
    tag = "dead letters",
    params(
        ("stage" = Option<String>, Query, description = "What gave up", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("reason" = Option<String>, Query, description = "Why", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("endpointId" = Option<String>, Query, description = "One endpoint's only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("orgId" = Option<String>, Query, description = "One organisation's only", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("since" = inline(Option<Moment>), Query, description = "Stored at or after this time"),
        ("until" = inline(Option<Moment>), Query, description = "Stored before this time, not before `since`"),
        ("limit" = Option<i64>, Query, description = "Letters of a page, 100 unless said otherwise", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before", pattern = "^[0-9]{1,19}$")
    ),
    responses((status = 200, description = "The letters", body = Listed), Refusal)
)]
async fn list(
    State(Letters { deps, .. }): State<Letters>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Listed>, Error> {
    let query = parameters(query)?;
    let mut fields = Fields::of_query(&query).map_err(RequestError::Query)?;
    fields.only(&[&WHICH[..], &["limit", "cursor"]].concat());
    let which = Which::read(&mut fields, deps.clock.now());
    let limit = limit(&mut fields, LIMIT.0, LIMIT.1).try_into().unwrap_or_default();
    let cursor = cursor(&mut fields);
    fields.faults.none_or(Some(())).map_err(RequestError::Query)?;
    if which.org.as_ref().is_some_and(|org| !caller.sees(org)) {
        return Err(Error::NotFound);
    }
    let Page { letters, next } = scan::page(&deps.broker, &which, &caller, cursor, limit).await?;
    let next_cursor = next.map(|next| next.to_string());
    Ok(Json(Listed { dead_letters: letters.iter().map(Line::from).collect(), next_cursor }))
}

/// One dead letter with its message.
#[utoipa::path(get, path = "/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path, description = "The letter's number")), responses((status = 200, description = "The letter", body = Whole), Refusal))]
async fn show(
    State(Letters { deps, .. }): State<Letters>,
    Extension(caller): Extension<Caller>,
    Ids(id): Ids,
) -> Result<Json<Whole>, Error> {
    let id = id.parse().map_err(|_not_a_number| Error::NotFound)?;
    Ok(Json(Whole::from(&letter(&deps, &caller, id).await?.ok_or(Error::NotFound)?)))
}

/// Sends letters back to where they died.
#[utoipa::path(post, path = "/dead-letters/redrive", tag = "dead letters", request_body = Chosen, responses((status = 200, description = "What was done", body = Done), Refusal))]
async fn redrive(
    State(Letters { deps, endpoints }): State<Letters>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Error> {
    let (letters, mut done) = chosen(&deps, &caller, &json(body)?).await?;
    let directory = endpoints.watch().borrow().clone();
    let (deps, directory) = (&deps, &directory);
    // Several letters of one push, which a replay may lead to, go one after the other: the later sees the earlier.
    let mut pushes = HashSet::new();
    let (firsts, others): (Vec<Letter>, Vec<Letter>) =
        letters.into_iter().partition(|letter| letter.push().is_none_or(|push| pushes.insert(push)));
    let send = |letter: Letter| async move { redrive::send(deps, directory, &letter).await };
    let mut sent: Vec<Sent> = stream::iter(firsts).map(send).buffered(AT_ONCE).try_collect().await?;
    for letter in others {
        sent.push(send(letter).await?);
    }
    let mut redriven = 0;
    for sent in sent {
        match sent {
            Sent::Back => redriven += 1,
            Sent::Not(why) => *done.skipped.entry(why).or_default() += 1,
        }
    }
    Ok(Json(Done { redriven: Some(redriven), ..done }))
}

/// Removes letters for good.
#[utoipa::path(post, path = "/dead-letters/drop", tag = "dead letters", request_body = Chosen, responses((status = 200, description = "What was done", body = Done), Refusal))]
async fn drop_them(
    State(Letters { deps, .. }): State<Letters>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Done>, Error> {
    let (letters, done) = chosen(&deps, &caller, &json(body)?).await?;
    let broker = &deps.broker;
    let dropped: Vec<()> = stream::iter(letters)
        .map(|letter| async move { nats::delete(broker, GW_DLQ, letter.message.sequence).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Json(Done { dropped: Some(dropped.len()), ..done }))
}

/// The letters that a body names: by their ids, or by what they have in common.
async fn chosen(deps: &Deps, caller: &Caller, body: &Value) -> Result<(Vec<Letter>, Done), Error> {
    let mut fields = Fields::of(body).map_err(Error::Invalid)?;
    fields.only(&[&WHICH[..], &["ids", "all", "cursor"]].concat());
    let which = Which::read(&mut fields, deps.clock.now());
    let (all, cursor, ids) = (fields.flag("all").unwrap_or_default(), cursor(&mut fields), ids(&mut fields));
    let filter = WHICH.iter().any(|name| fields.get(name).is_some()) || all;
    match (fields.get("ids").is_some(), filter) {
        (false, false) => {
            fields.fault::<()>("ids", Fault::Says("are required, or a filter, or \"all\": true".into()));
        }
        (true, true) => {
            fields.fault::<()>("ids", Fault::Says("cannot be given together with a filter".into()));
        }
        _ => {}
    }
    fields.faults.none_or(Some(())).map_err(Error::Invalid)?;
    if which.org.as_ref().is_some_and(|org| !caller.sees(org)) {
        return Err(Error::OtherOrganisation);
    }
    let Some(ids) = ids else {
        let Page { letters, next } = scan::page(&deps.broker, &which, caller, cursor, IDS).await?;
        return Ok((letters, Done { next_cursor: next.map(|next| next.to_string()), ..Done::default() }));
    };
    // A thousand bodies would be too much to hold.
    let bodiless = |letter: Option<Letter>| letter.map(Letter::without_body);
    let found: Vec<Option<Letter>> =
        stream::iter(ids).map(|id| letter(deps, caller, id)).buffered(AT_ONCE).map_ok(bodiless).try_collect().await?;
    let mut done = Done::default();
    let unknown = found.iter().filter(|letter| letter.is_none()).count();
    if unknown > 0 && unknown == found.len() {
        return Err(Error::NoSuch(Faults::one("ids", Fault::Says("name no dead letter".into()))));
    }
    if unknown > 0 {
        done.skipped.insert("unknown", unknown);
    }
    Ok((found.into_iter().flatten().collect(), done))
}

/// A letter that the caller may see.
async fn letter(deps: &Deps, caller: &Caller, id: u64) -> Result<Option<Letter>, Error> {
    // The broker takes 0 for no sequence at all.
    if id == 0 {
        return Ok(None);
    }
    let message = nats::get(&deps.broker, GW_DLQ, id).await?;
    Ok(message.map(Letter::of).filter(|letter| letter.seen_by(caller)))
}

fn cursor(fields: &mut Fields<'_>) -> Option<u64> {
    let text = fields.optional("cursor")?;
    text.parse()
        .ok()
        .filter(|place| *place > 0)
        .or_else(|| fields.fault("cursor", Fault::MustBe("the cursor of an answer")))
}

/// A number, or the text of one.
fn ids(fields: &mut Fields<'_>) -> Option<Vec<u64>> {
    let list = fields.get("ids")?;
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    match list.as_array().map(|list| list.iter().map(number).collect::<Option<Vec<u64>>>()) {
        Some(Some(ids)) if ids.len() > IDS => fields.fault("ids", Fault::TooMany(IDS)),
        Some(Some(mut ids)) => {
            ids.sort_unstable();
            ids.dedup();
            Some(ids)
        }
        _ => fields.fault("ids", Fault::MustBe("a list of numbers")),
    }
}
