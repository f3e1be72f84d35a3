//! The whole life of a delivery.

use nats::{Broker, topology::GW_WEBHOOK};
use schemas::{caller::Caller, instant};
use serde::Serialize;
use store::{Columns, Db};
use utoipa::ToSchema;

use super::state;
use crate::error::Error;

mod pushes;
mod stored;
mod waiting;

use pushes::{Next, Push};
use stored::{Found, Received, Stored};

/// Everything known of a delivery, as far as the caller may see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeliveryTrace)]
pub(crate) struct Trace {
    provider: String,
    delivery_id: String,
    status: String,
    received: Received,
    stored: Option<Stored>,
    /// What each organisation got of it.
    events: Vec<Event>,
    /// The organisations whose filters admitted nothing, and their links.
    filtered: Vec<Filtered>,
    /// What the router said of it, in order.
    outcomes: Vec<Outcome>,
    /// The dead letters that came of it.
    letters: Vec<Letter>,
    /// The push that is due next.
    next: Option<Next>,
    /// How far the ledger is behind the streams.
    ledger: state::Hint,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceEvent)]
struct Event {
    event_id: String,
    org_id: String,
    connection_id: Option<String>,
    /// The links that admitted it, 16 at most.
    link_ids: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
    sequence: i64,
    stored_at: String,
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    pushes: Vec<Push>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceFiltered)]
struct Filtered {
    org_id: String,
    link_ids: Vec<String>,
    decided_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceOutcome)]
struct Outcome {
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    decided_at: String,
    route_revision: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceLetter)]
struct Letter {
    id: i64,
    stage: String,
    reason: String,
    detail: Option<String>,
    endpoint_id: Option<String>,
    event_id: Option<String>,
    at: String,
}

/// The life of a delivery. What the ledger has not reached yet is read from the stream.
pub(crate) async fn of(
    db: &Db,
    broker: &Broker,
    caller: &Caller,
    provider: &str,
    delivery: &str,
) -> Result<Trace, Error> {
    let events = events(db, broker, caller, provider, delivery).await?;
    let filtered = filtered(db, caller, provider, delivery).await?;
    let Found { mut status, received, stored, bound, known } =
        stored::find(db, broker, caller, provider, delivery, !events.is_empty()).await?;
    let nothing = events.is_empty() && filtered.is_empty();
    // Who is narrowed finds what is bound to its organisation, or came to something there.
    let found = bound || caller.org.is_none() && (known || stored.is_some());
    if nothing && !found {
        return Err(Error::NotFound);
    }
    let sequence = stored.as_ref().filter(|_| bound).map(|stored| stored.sequence);
    let outcomes = outcomes(db, caller, provider, delivery, &filtered, sequence).await?;
    // What became of a bound delivery, it became for its organisation.
    if caller.org.is_some() && !bound {
        status = match (events.is_empty(), filtered.is_empty()) {
            (true, true) => status,
            (true, false) => "filtered".to_owned(),
            (false, _) if outcomes.iter().any(|outcome| outcome.outcome == "released") => "released".to_owned(),
            (false, _) => "routed".to_owned(),
        };
    }
    let letters = letters(db, caller, provider, delivery, &events, sequence).await?;
    Ok(Trace {
        provider: provider.to_owned(),
        delivery_id: delivery.to_owned(),
        status,
        received,
        stored,
        next: pushes::next(&events),
        outcomes,
        events,
        filtered,
        letters,
        ledger: state::hint(db, broker).await?,
    })
}

async fn events(
    db: &Db,
    broker: &Broker,
    caller: &Caller,
    provider: &str,
    delivery: &str,
) -> Result<Vec<Event>, Error> {
    let query = sqlx::query("select * from events where delivery_id = $1 and provider = $2 order by sequence");
    let rows = query.bind(delivery.to_owned()).bind(provider.to_owned()).fetch_all(&db.pool).await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        let row = crate::apply::event(row)?;
        if !caller.sees(&row.org) {
            continue;
        }
        events.push(Event {
            pushes: pushes::of(db, broker, &row.id).await?,
            event_id: row.id,
            org_id: row.org,
            connection_id: row.connection,
            link_ids: row.links.and_then(|links| serde_json::from_str(&links).ok()).unwrap_or_default(),
            kind: row.kind,
            sequence: row.sequence,
            stored_at: instant::rfc3339(row.stored_at),
            origin: row.origin,
            replay: row.replay,
        });
    }
    Ok(events)
}

async fn filtered(db: &Db, caller: &Caller, provider: &str, delivery: &str) -> Result<Vec<Filtered>, Error> {
    let query = sqlx::query("select * from filtered where delivery_id = $1 and provider = $2 order by org_id");
    let rows = query.bind(delivery.to_owned()).bind(provider.to_owned()).fetch_all(&db.pool).await?;
    let mut filtered = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { row, table: "filtered", prefix: "" };
        let org_id = columns.text("org_id")?;
        if caller.sees(&org_id) {
            let link_ids = columns.known("links", |text| serde_json::from_str(text).ok())?;
            filtered.push(Filtered { org_id, link_ids, decided_at: instant::rfc3339(columns.number("decided_at")?) });
        }
    }
    Ok(filtered)
}

/// What the router said; who is narrowed to an organisation is told what was said of it, and all that was said of the
/// delivery at this place, which is bound to it.
async fn outcomes(
    db: &Db,
    caller: &Caller,
    provider: &str,
    delivery: &str,
    filtered: &[Filtered],
    bound: Option<i64>,
) -> Result<Vec<Outcome>, Error> {
    let query = sqlx::query(
        "select o.*, (select count(*) from admitted a where a.sequence = o.sequence and a.org_id = $3
             and a.delivery_id = o.delivery_id) as own
         from outcomes o where o.delivery_id = $1 and o.provider = $2 order by o.sequence",
    );
    let query = query.bind(delivery.to_owned()).bind(provider.to_owned()).bind(caller.org.clone().unwrap_or_default());
    let rows = query.fetch_all(&db.pool).await?;
    let read = |row| {
        let columns = Columns { row, table: "outcomes", prefix: "" };
        Ok(Outcome {
            outcome: columns.text("outcome")?,
            reason: columns.optional_text("reason")?,
            decided_at: instant::rfc3339(columns.number("decided_at")?),
            route_revision: columns.number("route_revision")?,
        })
    };
    if caller.org.is_none() {
        return rows.iter().map(read).collect();
    }
    let mut told = Vec::new();
    let mut parked = None;
    for row in &rows {
        let columns = Columns { row, table: "outcomes", prefix: "" };
        let own = columns.number("own")? > 0;
        let outcome: Outcome = read(row)?;
        match outcome.outcome.as_str() {
            _ if bound == Some(columns.number("delivery_sequence")?) => told.push(outcome),
            "filtered" if !filtered.is_empty() => told.push(outcome),
            // That it waited is told to those it waited for.
            "parked" => parked = Some(outcome),
            "released" if own => told.extend(parked.take().into_iter().chain([outcome])),
            "dead" => told.push(outcome),
            _ => {}
        }
    }
    Ok(told)
}

/// The dead letters of a delivery; who is narrowed to an organisation sees those of its events, and those of the
/// delivery at this place, which is bound to it.
async fn letters(
    db: &Db,
    caller: &Caller,
    provider: &str,
    delivery: &str,
    events: &[Event],
    bound: Option<i64>,
) -> Result<Vec<Letter>, Error> {
    let query = sqlx::query("select * from letters where delivery_id = $1 and provider = $2 order by sequence");
    let rows = query.bind(delivery.to_owned()).bind(provider.to_owned()).fetch_all(&db.pool).await?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { row, table: "letters", prefix: "" };
        let event_id = columns.optional_text("event_id")?;
        let place = columns.number("stream_sequence")?;
        let own = events.iter().any(|event| Some(&event.event_id) == event_id.as_ref())
            || (bound == Some(place) && columns.text("stream")? == GW_WEBHOOK);
        if caller.org.is_none() || own {
            letters.push(Letter {
                id: columns.number("sequence")?,
                stage: columns.text("stage")?,
                reason: columns.text("reason")?,
                detail: columns.optional_text("detail")?,
                endpoint_id: columns.optional_text("endpoint_id")?,
                event_id,
                at: instant::rfc3339(columns.number("stored_at")?),
            });
        }
    }
    Ok(letters)
}
