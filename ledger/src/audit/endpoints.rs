//! Admitted = delivered + pending + scheduled + dead + dropped + expired, for each endpoint.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use nats::topology::{self, GW_ATTEMPT, GW_EVENT, GW_RETRY, RETRY};
use schemas::subject;
use serde::Serialize;
use sqlx::Row as _;
use store::Columns;
use utoipa::ToSchema;

use super::Moment;
use crate::{
    Inner,
    error::Error,
    extent::Extent,
    position,
    source::Source,
    wishes::{AllWishes, Asked, Fate, Start, Wishes},
};

/// Consumers asked at once.
const AT_ONCE: usize = 32;

/// The terms of an endpoint.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEndpoint)]
pub(crate) struct Endpoint {
    endpoint_id: String,
    org_id: String,
    /// As its versions admit the events, and what was pushed besides.
    admitted: i64,
    delivered: i64,
    /// Not acknowledged by its consumer.
    pending: i64,
    scheduled: i64,
    dead: i64,
    dropped: i64,
    expired: i64,
    /// Acknowledged by its consumer, and nothing came of them.
    lost: i64,
    /// Scheduled, and without a timer; or, below zero, timers too many. What a replay asked for and was not tried yet
    /// is in no state of its own.
    timers: i64,
    pub(super) error: i64,
}

/// Up to where an endpoint's consumers are done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    live: i64,
    /// None where it has no consumer for history.
    history: Option<i64>,
}

/// The floors of all endpoints.
pub(super) type Floors = BTreeMap<String, Floor>;

/// Whether the ledger has applied what all endpoints wish.
pub(super) async fn applied(inner: &Inner) -> Result<bool, Error> {
    let row = sqlx::query(
        "select count(*) from (select endpoint_id, max(version) as newest from endpoint_versions group by endpoint_id) v
         left join ledger_endpoints l on l.endpoint_id = v.endpoint_id where l.version is null or l.version < v.newest",
    );
    Ok(position::only(&row.fetch_one(&inner.deps.db.pool).await?)? == 0)
}

/// Asks all endpoints' consumers; one that has none is done with nothing.
pub(super) async fn floors(inner: &Inner) -> Result<Floors, Error> {
    let rows = sqlx::query("select id from endpoints where deleted_at is null").fetch_all(&inner.deps.db.pool).await?;
    let ids = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
    let asked = stream::iter(ids).map(async |id| {
        let live = floor(inner, &id).await?.unwrap_or_default();
        let history = floor(inner, &topology::history_of(&id)).await?;
        Ok((id, Floor { live, history }))
    });
    let answers: Vec<Result<(String, Floor), Error>> = asked.buffer_unordered(AT_ONCE).collect().await;
    answers.into_iter().collect()
}

/// Up to where a consumer of events is done, if there is one.
async fn floor(inner: &Inner, consumer: &str) -> Result<Option<i64>, Error> {
    let info = topology::find_consumer(&inner.deps.broker, GW_EVENT, consumer).await?;
    Ok(info.map(|info| i64::try_from(info.ack_floor.stream_sequence).unwrap_or(i64::MAX)))
}

/// Rows by endpoint and state, and those that no version admits.
#[derive(Default)]
struct Counts {
    rows: BTreeMap<(String, String), i64>,
    unadmitted: BTreeMap<String, i64>,
    /// What waits for a timer, whenever its event was stored.
    scheduled: BTreeMap<String, i64>,
    /// What became of events that are older, the attempts may tell no more.
    told: i64,
}

pub(super) async fn add_up(moment: &Moment<'_>, floors: &Floors) -> Result<Vec<Endpoint>, Error> {
    let all = AllWishes::default().newer(&moment.inner.deps.db).await?.unwrap_or_default();
    let counts = Counts { told: moment.told(Source::Attempts).await?, ..counts(moment).await? };
    let wishes: BTreeMap<&str, &Wishes> = all.all().map(|wishes| (wishes.endpoint.as_str(), wishes)).collect();
    let mut ids: BTreeSet<String> = wishes.keys().map(|id| (*id).to_owned()).collect();
    ids.extend(counts.rows.keys().map(|(id, _)| id.clone()));
    ids.extend(moment.ids("endpoint"));
    let mut endpoints = Vec::new();
    for id in ids {
        let floor = floors.get(&id).copied().unwrap_or_default();
        endpoints.push(one(moment, &counts, wishes.get(id.as_str()).copied(), floor, id).await?);
    }
    Ok(endpoints)
}

async fn one(
    moment: &Moment<'_>,
    counts: &Counts,
    wishes: Option<&Wishes>,
    floor: Floor,
    id: String,
) -> Result<Endpoint, Error> {
    let rows = |state: &str| counts.rows.get(&(id.clone(), state.to_owned())).copied().unwrap_or_default();
    let both = |state: &str| rows(state) + moment.total("endpoint", &id, state);
    let unadmitted = counts.unadmitted.get(&id).copied().unwrap_or_default();
    let wanted = match wishes {
        Some(wishes) => wanted(moment, wishes).await?,
        // Nobody knows what it wished: its attempts do.
        None => counts.rows.iter().filter(|((of, _), _)| *of == id).map(|(_, rows)| rows).sum::<i64>() - unadmitted,
    };
    let admitted = wanted + unadmitted + left(moment, &id).await? + moment.total_of("endpoint", &id);
    let lost = lost(moment, &id, floor, counts.told).await?;
    let waiting = rows("pending") + rows("held");
    let timers = timers(moment, &id, counts.scheduled.get(&id).copied().unwrap_or_default()).await?;
    let mut endpoint = Endpoint {
        org_id: wishes.map(|wishes| wishes.org.clone()).unwrap_or_default(),
        admitted,
        delivered: both("delivered"),
        pending: waiting - lost,
        scheduled: rows("scheduled"),
        dead: both("dead"),
        dropped: both("dropped"),
        expired: both("expired"),
        lost,
        timers,
        endpoint_id: id,
        error: 0,
    };
    let Endpoint { delivered, pending, scheduled, dead, dropped, expired, .. } = endpoint;
    let difference = admitted - (delivered + pending + scheduled + dead + dropped + expired);
    endpoint.error = if difference == 0 { timers } else { difference.abs() + timers.abs() };
    Ok(endpoint)
}

async fn counts(moment: &Moment<'_>) -> Result<Counts, Error> {
    let query = sqlx::query(
        "select endpoint_id, state, count(*) as number, cast(sum(1 - admitted) as bigint) as unadmitted
         from pushes where sequence <= $1 group by endpoint_id, state",
    );
    let mut counts = Counts::default();
    let until = moment.extent(Source::Events)?.last;
    for row in &query.bind(until).fetch_all(&moment.inner.deps.db.pool).await? {
        let columns = Columns { row, table: "pushes", prefix: "" };
        let endpoint = columns.text("endpoint_id")?;
        *counts.unadmitted.entry(endpoint.clone()).or_default() += columns.number("unadmitted")?;
        counts.rows.insert((endpoint, columns.text("state")?), columns.number("number")?);
    }
    let scheduled = "select endpoint_id, count(*) as number from pushes where state = 'scheduled' group by endpoint_id";
    for row in &sqlx::query(scheduled).fetch_all(&moment.inner.deps.db.pool).await? {
        let columns = Columns { row, table: "pushes", prefix: "" };
        counts.scheduled.insert(columns.text("endpoint_id")?, columns.number("number")?);
    }
    Ok(counts)
}

/// How many of the organisation's events the endpoint's versions admit: the rule, asked again for each kind of event.
async fn wanted(moment: &Moment<'_>, wishes: &Wishes) -> Result<i64, Error> {
    let (from, since) = match wishes.start {
        Start::Sequence(sequence) => (sequence, i64::MIN),
        Start::Time(at) => (0, at),
    };
    let until = moment.extent(Source::Events)?.last;
    let mut edges = wishes.boundaries();
    if let Some(first) = edges.first_mut() {
        // What is older is the first version's.
        *first = i64::MIN;
    }
    edges.push(i64::MAX);
    let mut wanted = 0;
    for edge in edges.windows(2) {
        let rows = sqlx::query(
            "select kind, history, count(*) as number from events where org_id = $1 and sequence >= $2
                 and sequence <= $3 and stored_at >= $4 and stored_at < $5 group by kind, history",
        );
        let rows = rows.bind(wishes.org.clone()).bind(from).bind(until).bind(edge[0].max(since)).bind(edge[1]);
        for row in &rows.fetch_all(&moment.inner.deps.db.pool).await? {
            let columns = Columns { row, table: "events", prefix: "" };
            let (kind, history) = (columns.text("kind")?, columns.number("history")? == 1);
            let asked = Asked { kind: &kind, history, sequence: i64::MAX, stored_at: edge[1] - 1 };
            if wishes.fate(asked) != Fate::No {
                wanted += columns.number("number")?;
            }
        }
    }
    Ok(wanted)
}

/// Pushes that wait longer than their event's row was kept.
async fn left(moment: &Moment<'_>, endpoint: &str) -> Result<i64, Error> {
    let row = sqlx::query(
        "select count(*) from pushes p where p.endpoint_id = $1 and p.sequence <= $2 and p.admitted = 1
             and not exists (select 1 from events e where e.sequence = p.sequence and e.event_id = p.event_id)",
    );
    let row = row.bind(endpoint.to_owned()).bind(moment.sealed(Source::Events));
    Ok(position::only(&row.fetch_one(&moment.inner.deps.db.pool).await?)?)
}

/// Pushes that wait although the consumer of their lane has acknowledged their events, as far back as attempts are
/// held. What the stream gave up is about to be marked as expired.
async fn lost(moment: &Moment<'_>, endpoint: &str, floor: Floor, told: i64) -> Result<i64, Error> {
    let row = sqlx::query(
        "select count(*) from pushes p left join events e on e.sequence = p.sequence and e.event_id = p.event_id
         where p.endpoint_id = $1 and p.state in ('pending', 'held')
             and ((e.history = 0 and p.sequence <= $2) or (e.history = 1 and p.sequence <= $3)
                 or (e.history is null and p.sequence <= $4))
             and p.sequence <= $5 and coalesce(p.stored_at, p.updated_at) >= $6
             and (p.sequence >= $7 or coalesce(p.stored_at, p.updated_at) >= $8)",
    );
    let events = moment.extent(Source::Events)?;
    let Floor { live, history } = floor;
    // Whose event's row is gone may be of either lane.
    let either = history.map_or(live, |history| history.min(live));
    let row = row.bind(endpoint.to_owned()).bind(live).bind(history.unwrap_or_default()).bind(either);
    let row = row.bind(events.last).bind(events.made_at().max(told));
    let row = row.bind(events.first).bind(events.aged(moment.now));
    Ok(position::only(&row.fetch_one(&moment.inner.deps.db.pool).await?)?)
}

/// By how many the timers of an endpoint differ from what is scheduled. What was attempted meanwhile may explain it.
async fn timers(moment: &Moment<'_>, endpoint: &str, scheduled: i64) -> Result<i64, Error> {
    let broker = &moment.inner.deps.broker;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let done = topology::find_consumer(broker, GW_RETRY, RETRY).await?.map_or(0, |info| info.ack_floor.stream_sequence);
    let waiting = number(nats::count(broker, GW_RETRY, &[subject::retries_scheduled_of(endpoint)], 1).await?);
    let due = number(nats::count(broker, GW_RETRY, &[subject::retries_due_of(endpoint)], done + 1).await?);
    let moved = Extent::ask(broker, GW_ATTEMPT).await?.last - moment.extent(Source::Attempts)?.last;
    let (least, most) = (waiting - moved, waiting + due + moved);
    Ok(scheduled - scheduled.clamp(least, most))
}
