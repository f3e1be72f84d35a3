//! The pushes of an event, and each attempt of them.

use nats::Broker;
use schemas::instant;
use serde::Serialize;
use sqlx::any::AnyRow;
use store::{Columns, Db};
use utoipa::ToSchema;

use super::{
    Event,
    waiting::{self, Timers},
};
use crate::error::Error;

/// Where a push of an event to an endpoint stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TracePush)]
pub(super) struct Push {
    endpoint_id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<String>,
    /// Why it waits: the endpoint is `paused` or `disabled`, or failed so often that its `breaker` is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'static str>,
    attempts: Vec<Attempt>,
    /// Pushes that replays asked for and that were not tried yet.
    repeats: Vec<Repeat>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceRepeat)]
struct Repeat {
    replay: String,
    at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceAttempt)]
struct Attempt {
    /// 0 where no request was made.
    attempt: i64,
    outcome: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
}

/// What is scheduled next.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceNext)]
pub(super) struct Next {
    endpoint_id: String,
    event_id: String,
    at: String,
}

/// The pushes of an event.
pub(super) async fn of(db: &Db, broker: &Broker, event: &str) -> Result<Vec<Push>, Error> {
    let query = sqlx::query("select * from pushes where event_id = $1 order by endpoint_id");
    let rows = query.bind(event.to_owned()).fetch_all(&db.pool).await?;
    let timers = Timers::of(broker, event).await?;
    let mut pushes = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { row, table: "pushes", prefix: "" };
        let endpoint_id = columns.text("endpoint_id")?;
        let status = columns.text("state")?;
        let timers = timers.of_endpoint(&endpoint_id);
        let waits = matches!(status.as_str(), "scheduled" | "held");
        // What was put off stands in its timer; an ordered endpoint has none.
        let timer = timers.iter().find(|timer| timer.replay.is_none()).map(|timer| timer.at.clone());
        let row_says = columns.optional_number("next_at")?.map(instant::rfc3339);
        let waiting = status == "pending" || waits || !timers.is_empty();
        let repeat = |timer: &waiting::Timer| Some(Repeat { replay: timer.replay.clone()?, at: timer.at.clone() });
        pushes.push(Push {
            waits_for: if waiting { waiting::why(db, broker, &endpoint_id).await? } else { None },
            repeats: timers.iter().filter_map(repeat).collect(),
            attempts: attempts(db, event, &endpoint_id).await?,
            endpoint_id,
            next_at: timer.or(row_says).filter(|_| waits),
            reason: columns.optional_text("reason")?,
            status,
        });
    }
    Ok(pushes)
}

async fn attempts(db: &Db, event: &str, endpoint: &str) -> Result<Vec<Attempt>, Error> {
    let query =
        sqlx::query("select * from attempts where event_id = $1 and endpoint_id = $2 order by stored_at, sequence");
    let rows = query.bind(event.to_owned()).bind(endpoint.to_owned()).fetch_all(&db.pool).await?;
    rows.iter().map(attempt).collect()
}

fn attempt(row: &AnyRow) -> Result<Attempt, Error> {
    let columns = Columns { row, table: "attempts", prefix: "" };
    Ok(Attempt {
        attempt: columns.number("attempt")?,
        outcome: columns.text("outcome")?,
        at: instant::rfc3339(columns.number("began_at")?),
        status_code: columns.optional_number("status_code")?,
        error_class: columns.optional_text("error_class")?,
        latency_ms: columns.optional_number("latency_ms")?,
        next_at: columns.optional_number("next_at")?.map(instant::rfc3339),
        reason: columns.optional_text("reason")?,
        replay: columns.optional_text("replay")?,
    })
}

/// The earliest of what is scheduled.
pub(super) fn next(events: &[Event]) -> Option<Next> {
    let all = events.iter().flat_map(|event| event.pushes.iter().map(move |push| (event, push)));
    let times = |push: &Push| push.next_at.iter().chain(push.repeats.iter().map(|repeat| &repeat.at)).min().cloned();
    let (event, push, at) = all
        .filter_map(|(event, push)| Some((event, push, times(push)?)))
        .min_by(|(_, _, one), (_, _, other)| one.cmp(other))?;
    Some(Next { endpoint_id: push.endpoint_id.clone(), event_id: event.event_id.clone(), at })
}
