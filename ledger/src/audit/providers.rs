//! Stored = pending + parked + dead + routed + filtered + expired, for each provider.

use std::collections::{BTreeMap, BTreeSet};

use nats::{Reader, Start, topology::GW_PARKED};
use schemas::{header, provider, subject};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _};
use store::Columns;
use utoipa::ToSchema;

use super::{Between, Moment, young::Young};
use crate::{batch, error::Error, source::Source};

/// How long the next parked delivery may take.
const NEXT: std::time::Duration = std::time::Duration::from_secs(5);
/// More than this are compared by their number alone.
const COMPARED: u64 = 50_000;

/// The terms of a provider.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditProvider)]
pub(crate) struct Provider {
    provider: String,
    /// As the stream counts, and what it has given up.
    stored: i64,
    /// The router is not done with them.
    pending: i64,
    /// As `GW_PARKED` holds them.
    parked: i64,
    dead: i64,
    routed: i64,
    filtered: i64,
    expired: i64,
    /// The router is done with them, and nothing came of them.
    lost: i64,
    pub(super) error: i64,
}

/// Rows of a state, and how many of them the stream no longer holds.
type Counts = BTreeMap<(String, String), (i64, i64)>;

pub(super) async fn add_up(moment: &Moment<'_>) -> Result<Vec<Provider>, Error> {
    let young = Young::of(moment, Source::Webhooks).await?;
    let counts = counts(moment, young).await?;
    let lost = lost(moment, young).await?;
    let mut names: BTreeSet<String> = provider::ALL.iter().map(|provider| provider.id.to_owned()).collect();
    names.extend(counts.keys().map(|(name, _)| name.clone()));
    names.extend(moment.ids("provider"));
    let mut providers = Vec::new();
    for name in names {
        let provider = one(moment, young, &counts, lost.get(&name).copied().unwrap_or_default(), name).await?;
        if provider.stored != 0 || provider.error != 0 {
            providers.push(provider);
        }
    }
    Ok(providers)
}

async fn one(moment: &Moment<'_>, young: Young, counts: &Counts, lost: i64, name: String) -> Result<Provider, Error> {
    let rows = |state: &str| counts.get(&(name.clone(), state.to_owned())).map_or(0, |(rows, _)| *rows);
    let both = |state: &str| rows(state) + moment.total("provider", &name, state);
    let gone: i64 = counts.iter().filter(|((of, _), _)| *of == name).map(|(_, (_, gone))| gone).sum();
    let total = moment.total_of("provider", &name);
    let filters = [false, true].map(|history| subject::webhooks_of(history, &name));
    let stream = Between::count(moment, Source::Webhooks, &filters, young.from, moment.at).await?;
    let mut provider = Provider {
        pending: rows("pending") - lost,
        parked: parked(moment, &name, rows("parked")).await? + moment.total("provider", &name, "parked"),
        dead: both("dead"),
        routed: both("routed") + both("released"),
        filtered: both("filtered"),
        expired: both("expired"),
        lost,
        provider: name,
        ..Provider::default()
    };
    let Provider { pending, parked, dead, routed, filtered, expired, .. } = provider;
    let found = pending + parked + dead + routed + filtered + expired;
    provider.stored = stream.near(found - gone - total) + gone + total;
    provider.error = provider.stored - found;
    Ok(provider)
}

async fn counts(moment: &Moment<'_>, young: Young) -> Result<Counts, Error> {
    let sql = format!(
        "select provider, state, count(*) as number, cast(sum(case when {} then 1 else 0 end) as bigint) as gone
         from deliveries where state <> 'unknown' and sequence <= $1 group by provider, state",
        Young::gone(2)
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(moment.at);
    let query = query.bind(young.sealed).bind(young.made_at).bind(young.from).bind(young.aged);
    let mut counts = Counts::new();
    for row in &query.fetch_all(&moment.inner.deps.db.pool).await? {
        let columns = Columns { row, table: "deliveries", prefix: "" };
        let key = (columns.text("provider")?, columns.text("state")?);
        counts.insert(key, (columns.number("number")?, columns.number("gone")?));
    }
    Ok(counts)
}

/// Deliveries at or below the router's floor with neither event nor outcome, as far back as outcomes are held.
async fn lost(moment: &Moment<'_>, young: Young) -> Result<BTreeMap<String, i64>, Error> {
    let told = moment.told(Source::Outcomes).await?;
    let sql = format!(
        "select provider, count(*) as number from deliveries where state = 'pending' and sequence <= $1
             and ((history = 0 and sequence <= $2) or (history = 1 and sequence <= $3)) and stored_at >= $8 and not {}
         group by provider",
        Young::gone(4)
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(moment.at).bind(moment.floors.live).bind(moment.floors.history);
    let query = query.bind(young.sealed).bind(young.made_at).bind(young.from).bind(young.aged).bind(told);
    let mut lost = BTreeMap::new();
    for row in &query.fetch_all(&moment.inner.deps.db.pool).await? {
        let columns = Columns { row, table: "deliveries", prefix: "" };
        lost.insert(columns.text("provider")?, columns.number("number")?);
    }
    Ok(lost)
}

/// How many of the deliveries that the rows call parked `GW_PARKED` holds: so many rows, without those that it misses.
async fn parked(moment: &Moment<'_>, name: &str, rows: i64) -> Result<i64, Error> {
    if rows == 0 {
        return Ok(0);
    }
    let (broker, filter) = (&moment.inner.deps.broker, [subject::parked_of(name)]);
    let held = nats::count(broker, GW_PARKED, &filter, 1).await?;
    if held > COMPARED && i64::try_from(held) == Ok(rows) {
        return Ok(rows);
    }
    let mut missed = called_parked(moment, name).await?;
    let mut reader = Reader::open(broker, GW_PARKED, &filter, Start::First, true).await?;
    for _ in 0..reader.waiting() {
        let Some(message) = reader.next_waiting(NEXT).await? else { break };
        if let Some(delivery) = message.header(header::DELIVERY) {
            missed.remove(&batch::text(delivery));
        }
    }
    if !missed.is_empty() {
        // What was released meanwhile is parked no more.
        let still = called_parked(moment, name).await?;
        missed.retain(|delivery| still.contains(delivery));
    }
    Ok(rows - i64::try_from(missed.len()).unwrap_or(i64::MAX).min(rows))
}

/// The deliveries that the rows call parked.
async fn called_parked(moment: &Moment<'_>, name: &str) -> Result<BTreeSet<String>, Error> {
    let query =
        sqlx::query("select delivery_id from deliveries where state = 'parked' and provider = $1 and sequence <= $2");
    let rows = query.bind(name.to_owned()).bind(moment.at).fetch_all(&moment.inner.deps.db.pool).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
