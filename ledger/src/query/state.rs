//! How the ledger itself stands.

use std::collections::BTreeMap;

use nats::Broker;
use serde::Serialize;
use store::{Columns, Db};
use utoipa::ToSchema;

use crate::{error::Error, extent::Extent, lease, position, source::Source};

/// How far the ledger is behind, for who looks at a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerHint)]
pub(crate) struct Hint {
    /// Messages of all streams that are not written yet.
    behind: i64,
}

/// Everything about the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ledger)]
pub(crate) struct State {
    streams: Vec<Stream>,
    rebuilding: bool,
    /// What rows that are gone had counted: kind, then id, then state.
    totals: BTreeMap<String, BTreeMap<String, BTreeMap<String, i64>>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LedgerStream)]
struct Stream {
    stream: &'static str,
    /// The last message that was written.
    sequence: i64,
    /// The last message there is.
    last: i64,
    lag: i64,
    /// Messages that the stream gave up before they were read.
    missed: i64,
    /// Rows up to here are sealed into totals.
    sealed: i64,
}

/// How far behind the ledger is.
pub(crate) async fn hint(db: &Db, broker: &Broker) -> Result<Hint, Error> {
    Ok(Hint { behind: streams(db, broker).await?.iter().map(|stream| stream.lag).sum() })
}

/// How the ledger stands.
pub(crate) async fn of(db: &Db, broker: &Broker) -> Result<State, Error> {
    let mut totals: BTreeMap<String, BTreeMap<String, BTreeMap<String, i64>>> = BTreeMap::new();
    for row in &sqlx::query("select kind, id, state, number from ledger_totals").fetch_all(&db.pool).await? {
        let columns = Columns { row, table: "ledger_totals", prefix: "" };
        let by_state = totals.entry(columns.text("kind")?).or_default().entry(columns.text("id")?).or_default();
        by_state.insert(columns.text("state")?, columns.number("number")?);
    }
    let rebuilding = lease::is_rebuild_asked(db).await?;
    Ok(State { streams: streams(db, broker).await?, rebuilding, totals })
}

async fn streams(db: &Db, broker: &Broker) -> Result<Vec<Stream>, Error> {
    let positions = position::load(db).await?;
    let sealed = position::sealed(db).await?;
    let mut streams = Vec::with_capacity(Source::ALL.len());
    for source in Source::ALL {
        let extent = Extent::ask(broker, source.stream()).await?;
        let position = positions.get(&source).copied().unwrap_or_default();
        let sequence = if position.made == extent.made { position.sequence } else { 0 };
        let sealed = sealed.get(&source).filter(|sealed| sealed.made == extent.made);
        streams.push(Stream {
            stream: source.stream(),
            sequence,
            last: extent.last,
            lag: (extent.last - sequence.max(extent.first - 1)).max(0),
            missed: position.missed,
            sealed: sealed.map_or(0, |sealed| sealed.sequence),
        });
    }
    Ok(streams)
}
