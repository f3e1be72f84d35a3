//! The whole life of a delivery.

use nats::{Broker, Message, topology::GW_WEBHOOK};
use schemas::{Delivery, caller::Caller, instant, subject};
use serde::Serialize;
use sqlx::any::AnyRow;
use store::{Columns, Db};
use utoipa::ToSchema;

use super::state;
use crate::{error::Error, facts::Facts};

mod pushes;
mod waiting;

use pushes::{Next, Push};

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

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceReceived)]
struct Received {
    at: Option<String>,
    event: Option<String>,
    account: Option<String>,
    origin: Option<String>,
    connection_id: Option<String>,
    /// Which secret matched: `current` or `previous`.
    signature_key: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TraceStored)]
struct Stored {
    stream: &'static str,
    sequence: i64,
    at: String,
    history: bool,
    bytes: Option<i64>,
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
    let row = newest(db, provider, delivery).await?;
    let (mut status, mut received, mut stored) = match &row {
        Some(row) => read(row)?,
        None => ("unknown".to_owned(), Received::default(), None),
    };
    let mut own = caller.org.is_none() || !events.is_empty() || !filtered.is_empty();
    if stored.is_none()
        && let Some(message) = in_stream(broker, provider, delivery).await?
    {
        own |= message.header(schemas::header::ORG).map(schemas::header::decode).is_some_and(|org| caller.sees(&org));
        (received, stored) = of_message(&message);
        status = if events.is_empty() { "pending" } else { "routed" }.to_owned();
    }
    if !own || (stored.is_none() && events.is_empty() && filtered.is_empty() && row.is_none()) {
        return Err(Error::NotFound);
    }
    let outcomes = outcomes(db, caller, provider, delivery, &filtered).await?;
    if caller.org.is_some() {
        status = match (events.is_empty(), filtered.is_empty()) {
            (true, true) => status,
            (true, false) => "filtered".to_owned(),
            (false, _) if outcomes.iter().any(|outcome| outcome.outcome == "released") => "released".to_owned(),
            (false, _) => "routed".to_owned(),
        };
    }
    let letters = letters(db, caller, provider, delivery, &events).await?;
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

/// The delivery's row; the newest, should the id have been stored again after its retention.
async fn newest(db: &Db, provider: &str, delivery: &str) -> Result<Option<AnyRow>, Error> {
    let query = sqlx::query(
        "select * from deliveries where delivery_id = $1 and provider = $2 order by facts % 2 desc, sequence desc limit 1",
    );
    Ok(query.bind(delivery.to_owned()).bind(provider.to_owned()).fetch_optional(&db.pool).await?)
}

fn read(row: &AnyRow) -> Result<(String, Received, Option<Stored>), Error> {
    let columns = Columns { row, table: "deliveries", prefix: "" };
    if columns.number("facts")? & Facts::STORED.0 == 0 {
        return Ok((columns.text("state")?, Received::default(), None));
    }
    let received = Received {
        at: columns.optional_number("received_at")?.map(instant::rfc3339),
        event: columns.optional_text("event")?,
        account: columns.optional_text("account")?,
        origin: columns.optional_text("origin")?,
        connection_id: columns.optional_text("connection_id")?,
        signature_key: columns.optional_text("signature_key")?,
        correlation_id: columns.optional_text("correlation")?,
    };
    let stored = Stored {
        stream: GW_WEBHOOK,
        sequence: columns.number("sequence")?,
        at: instant::rfc3339(columns.optional_number("stored_at")?.unwrap_or_default()),
        history: columns.optional_number("history")? == Some(1),
        bytes: columns.optional_number("bytes")?,
    };
    Ok((columns.text("state")?, received, Some(stored)))
}

/// The delivery's message, live or history.
async fn in_stream(broker: &Broker, provider: &str, delivery: &str) -> Result<Option<Message>, Error> {
    for history in [false, true] {
        let filter = subject::webhook_by_id(history, provider, delivery);
        if let Some(message) = nats::next_from(broker, GW_WEBHOOK, 1, &filter).await? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

fn of_message(message: &Message) -> (Received, Option<Stored>) {
    let received = match Delivery::from_headers(&message.header_list()) {
        Ok(delivery) => Received {
            at: Some(instant::rfc3339(delivery.received_at)),
            event: delivery.event,
            account: delivery.account,
            origin: Some(delivery.origin.to_string()),
            connection_id: delivery.bound.map(|bound| bound.connection),
            signature_key: delivery.signature_key,
            correlation_id: delivery.correlation,
        },
        Err(_unreadable) => Received::default(),
    };
    let stored = Stored {
        stream: GW_WEBHOOK,
        sequence: i64::try_from(message.sequence).unwrap_or(i64::MAX),
        at: instant::rfc3339(message.stored_at),
        history: subject::is_history(&message.subject),
        bytes: i64::try_from(message.payload.len()).ok(),
    };
    (received, Some(stored))
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

/// What the router said; who is narrowed to an organisation is told what was said of it.
async fn outcomes(
    db: &Db,
    caller: &Caller,
    provider: &str,
    delivery: &str,
    filtered: &[Filtered],
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
        let own = Columns { row, table: "outcomes", prefix: "" }.number("own")? > 0;
        let outcome: Outcome = read(row)?;
        match outcome.outcome.as_str() {
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

/// The dead letters of a delivery; who is narrowed to an organisation sees those of its events.
async fn letters(
    db: &Db,
    caller: &Caller,
    provider: &str,
    delivery: &str,
    events: &[Event],
) -> Result<Vec<Letter>, Error> {
    let query = sqlx::query("select * from letters where delivery_id = $1 and provider = $2 order by sequence");
    let rows = query.bind(delivery.to_owned()).bind(provider.to_owned()).fetch_all(&db.pool).await?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { row, table: "letters", prefix: "" };
        let event_id = columns.optional_text("event_id")?;
        let own = events.iter().any(|event| Some(&event.event_id) == event_id.as_ref());
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
