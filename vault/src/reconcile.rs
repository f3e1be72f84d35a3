//! Compares all rows with what the buckets hold, and writes only what differs.
//!
//! The buckets are read before the rows, and rows are never deleted: so a key without a row has none for ever, and
//! a change made meanwhile is newer than what was read. An incomplete reading of a bucket costs writes, not routes.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use nats::{Bucket, Reader, Start};
use schemas::{
    cause::Chain,
    route::{ConnectionState, Route},
    token::key_segment,
};
use serde::{Serialize, de::DeserializeOwned};
use tracing::{debug, info, warn};
use utoipa::ToSchema;

use crate::{
    Vault,
    connection::Connection,
    error::Error,
    link::Link,
    outbox::backoff,
    projection,
    rows::{connections, links},
};

/// Rows read at once.
const PAGE: i64 = 500;
/// Keys written at once.
const IN_FLIGHT: usize = 16;
/// How long the next value of a bucket may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the buckets hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Report {
    /// Connections.
    pub(crate) connections: u64,
    /// Active routes.
    pub(crate) routes: u64,
    /// Keys that were taken out because nothing active stood behind them.
    pub(crate) removed: u64,
    /// Rows that hold what nothing may write. Their keys are left as they are.
    pub(crate) impossible: u64,
}

impl Report {
    /// The row, or none where it is impossible: one such row must not keep all others from being compared.
    fn possible<T>(&mut self, row: Result<T, Error>) -> Option<T> {
        row.inspect_err(|error| {
            self.impossible += 1;
            warn!(error = %Chain(error), "routes.impossible_row: mend or delete it, then run `gw routes rebuild`");
        })
        .ok()
    }
}

/// A link that cannot be read keeps its route.
fn keep(routes: &mut HashMap<String, Held<Route>>, link: &str) {
    let end = format!(".{}", key_segment(link));
    routes.retain(|key, _| !key.ends_with(&end));
}

/// Reconciles once, however long the broker or the database takes to answer.
pub(crate) async fn at_start(vault: &Vault) {
    let mut failures = 0;
    loop {
        match run(vault, Strangers::Keep).await {
            Ok(Report { connections, routes, removed, impossible }) => {
                info!(connections, routes, removed, impossible, failures, "routes.reconciled");
                return;
            }
            Err(error) => {
                failures += 1;
                match failures {
                    1 => warn!(error = %Chain(&error), "routes.not_reconciled"),
                    _ => debug!(error = %Chain(&error), failures, "routes.not_reconciled"),
                }
                tokio::time::sleep(backoff(failures)).await;
            }
        }
    }
}

/// What to do with keys that no row stands behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strangers {
    /// Take them out.
    Purge,
    /// Say that they are there. Rows are written first and never deleted, so such a key comes from another database,
    /// or from a row that a backup did not have: somebody has to know which of the two is right.
    Keep,
}

/// Makes the buckets hold what the rows say.
pub(crate) async fn run(vault: &Vault, strangers: Strangers) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut states = held::<ConnectionState>(vault, &vault.connections).await?;
    let mut routes = held::<Route>(vault, &vault.routes).await?;

    let mut last = String::new();
    loop {
        let page = connections::after(&vault.records.db.pool, &last, PAGE).await?;
        let Some((end, _)) = page.last() else { break };
        last.clone_from(end);
        report.connections += page.len() as u64;
        let work = page.into_iter().filter_map(|(id, row)| {
            let held = states.remove(&projection::connection_key(&id));
            report.possible(row).map(|row| Ok(settle_connection(vault, row, held)))
        });
        let work: Vec<_> = work.collect();
        stream::iter(work).try_for_each_concurrent(IN_FLIGHT, |work| work).await?;
    }

    let mut last = String::new();
    loop {
        let page = links::after(&vault.records.db.pool, &last, PAGE).await?;
        let Some((end, _)) = page.last() else { break };
        last.clone_from(end);
        let work = page.into_iter().filter_map(|(id, row)| {
            let Some((link, connection)) = report.possible(row) else {
                keep(&mut routes, &id);
                return None;
            };
            let route = link.route(&connection);
            let held = routes.remove(&route.key());
            Some(settle_link(vault, link, route, held))
        });
        let work: Vec<_> = work.collect();
        let mut settled = stream::iter(work).buffer_unordered(IN_FLIGHT);
        while let Some(settled) = settled.next().await {
            match settled? {
                Settled::Routed => report.routes += 1,
                Settled::Removed => report.removed += 1,
                Settled::Nothing => {}
            }
        }
    }

    let left = states.len() + routes.len();
    if strangers == Strangers::Keep {
        if left > 0 {
            warn!(
                left,
                "routes.strangers: the broker holds routes that the database knows nothing of: is DATABASE_URL the one \
                 that all gateways share? `gw routes rebuild` removes what the database does not hold"
            );
        }
        return Ok(report);
    }
    for (bucket, keys) in
        [(&vault.connections, states.into_keys().collect::<Vec<_>>()), (&vault.routes, routes.into_keys().collect())]
    {
        for key in keys {
            bucket.purge(&key).await?;
            report.removed += 1;
        }
    }
    Ok(report)
}

/// A value as a bucket holds it.
enum Held<T> {
    Value(T),
    /// Written by something else than us, or by another version of us.
    Unreadable,
}

/// What a bucket holds, by key.
async fn held<T: DeserializeOwned>(vault: &Vault, bucket: &Bucket) -> Result<HashMap<String, Held<T>>, Error> {
    // The broker wants a filter with this start, if only one that admits all.
    let all = [">".to_owned()];
    let mut reader = Reader::open(&vault.broker, &bucket.stream(), &all, Start::LastPerSubject, false).await?;
    let mut held = HashMap::new();
    while let Some(message) = reader.next_waiting(PATIENCE).await? {
        // `$KV.<bucket>.<key>`
        if let Some(key) = message.subject.splitn(3, '.').nth(2) {
            match (message.payload.is_empty(), serde_json::from_slice(&message.payload)) {
                (true, _) => held.remove(key),
                (false, Ok(value)) => held.insert(key.to_owned(), Held::Value(value)),
                (false, Err(_)) => held.insert(key.to_owned(), Held::Unreadable),
            };
        }
    }
    Ok(held)
}

async fn settle_connection(vault: &Vault, row: Connection, held: Option<Held<ConnectionState>>) -> Result<(), Error> {
    let mut state = row.state();
    if let Some(Held::Value(held)) = held {
        if held == state {
            return Ok(());
        }
        match ahead(held.version, state.version) {
            Some(version) if !connections::raise(&vault.records.db, &row.id, row.version, version).await? => {
                return Ok(());
            }
            Some(version) => state.version = version,
            None => {}
        }
    }
    projection::put_connection(vault, &row.id, &state).await?;
    Ok(())
}

/// What became of a link's key.
enum Settled {
    Routed,
    Removed,
    Nothing,
}

async fn settle_link(vault: &Vault, link: Link, mut route: Route, held: Option<Held<Route>>) -> Result<Settled, Error> {
    let settled = match (&held, route.active) {
        (_, true) => Settled::Routed,
        (None, false) => return Ok(Settled::Nothing),
        (Some(Held::Value(held)), false) if !held.active => return Ok(Settled::Nothing),
        (Some(_), false) => Settled::Removed,
    };
    if let Some(Held::Value(held)) = held {
        if held == route {
            return Ok(settled);
        }
        match ahead(held.version, route.version) {
            // The row has just changed: its own place in the outbox brings it.
            Some(version) if !links::raise(&vault.records.db, &link.id, link.version, version).await? => {
                return Ok(settled);
            }
            Some(version) => route.version = version,
            None => {}
        }
    }
    projection::put_route(vault, &route).await?;
    Ok(settled)
}

/// The version a row needs where the bucket, although it holds something else, is not older: after the database
/// was restored from a backup, or when a new release puts more into a value.
fn ahead(held: i64, row: i64) -> Option<i64> {
    (held >= row).then(|| held.saturating_add(1))
}
