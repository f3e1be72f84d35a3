//! Brings changes to the broker: at once where this process made them, within two seconds where another did.
//!
//! A change is a mark on a row, not a value: what is projected is the row as it is now. So it may be done twice,
//! in any order and by several processes, and a crash anywhere repeats safely.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use nats::Outgoing;
use schemas::cause::Chain;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::{
    Vault,
    error::Error,
    projection,
    rows::{
        connections, links,
        outbox::{self, Key, Kind, Pending},
    },
};

/// How often other processes' changes are looked for.
const EVERY: Duration = Duration::from_secs(2);
/// Changes dealt with together.
const BATCH: i64 = 100;
/// How many of them at once.
const IN_FLIGHT: usize = 16;
/// How long a message may wait for the broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// Drains the outbox for ever.
pub(crate) async fn run(vault: &Vault) {
    let mut stuck = HashSet::new();
    let mut failures = 0;
    loop {
        match drain(vault, &mut stuck).await {
            Ok(()) => {
                if failures > 0 {
                    info!(failures, "outbox.recovered");
                }
                failures = 0;
                // A change that was committed since is not waited for: its poke is kept.
                let _elapsed = tokio::time::timeout(EVERY, vault.records.poke.notified()).await.is_err();
            }
            Err(error) => {
                failures += 1;
                match failures {
                    1 => warn!(error = %Chain(&error), "outbox.failing"),
                    _ => debug!(error = %Chain(&error), failures, "outbox.failing"),
                }
                tokio::time::sleep(backoff(failures)).await;
            }
        }
    }
}

/// How long to wait after this many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(100 << failures.min(6)).min(Duration::from_secs(5))
}

/// Deals with everything that waits. A row that cannot be read is passed over and stays, so that it holds up nobody.
async fn drain(vault: &Vault, stuck: &mut HashSet<Key>) -> Result<(), Error> {
    let mut skipped = 0;
    loop {
        let changes = outbox::oldest(&vault.records.db.pool, BATCH, skipped).await?;
        let last = (changes.len() as i64) < BATCH;
        let mut done = Vec::with_capacity(changes.len());
        let mut told: BTreeMap<String, Vec<Outgoing>> = BTreeMap::new();
        let mut projected = stream::iter(changes).map(|change| project(vault, change)).buffered(IN_FLIGHT);
        while let Some((change, outcome)) = projected.next().await {
            match outcome {
                Ok(message) => {
                    if let Some((connection, message)) = message {
                        told.entry(connection).or_default().push(message);
                    }
                    done.push(change.key);
                }
                Err(error @ Error::Store(store::Error::Impossible { .. })) => {
                    skipped += 1;
                    if stuck.insert(change.key) {
                        error!(error = %Chain(&error), "outbox.stuck");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        tell(vault, told).await?;
        if !done.is_empty() {
            outbox::delete(&vault.records.db, &done).await?;
        }
        if last {
            return Ok(());
        }
    }
}

/// Projects the row that changed, and makes the message that tells of it, with the connection it is about.
async fn project(vault: &Vault, change: Pending) -> (Pending, Result<Option<(String, Outgoing)>, Error>) {
    let outcome = match change.key.kind {
        Kind::Connection => project_connection(vault, &change).await,
        Kind::Link => project_link(vault, &change).await,
    };
    (change, outcome)
}

async fn project_connection(vault: &Vault, change: &Pending) -> Result<Option<(String, Outgoing)>, Error> {
    let Some(connection) = connections::get(&vault.records.db.pool, &change.key.subject).await? else {
        return Ok(None);
    };
    projection::put_connection(vault, &connection.id, &connection.state()).await?;
    let message = change.what.map(|what| projection::message(change, what, &connection, None)).transpose()?;
    Ok(message.map(|message| (connection.id, message)))
}

async fn project_link(vault: &Vault, change: &Pending) -> Result<Option<(String, Outgoing)>, Error> {
    let Some((link, connection)) = links::get(&vault.records.db.pool, &change.key.subject).await? else {
        return Ok(None);
    };
    projection::put_route(vault, &link.route(&connection)).await?;
    let message = change.what.map(|what| projection::message(change, what, &connection, Some(&link))).transpose()?;
    Ok(message.map(|message| (connection.id, message)))
}

/// Publishes the messages: in their order within a connection, side by side across connections.
async fn tell(vault: &Vault, told: BTreeMap<String, Vec<Outgoing>>) -> Result<(), Error> {
    let connections = stream::iter(told.into_values().map(Ok::<_, Error>));
    connections
        .try_for_each_concurrent(IN_FLIGHT, |messages| async move {
            for message in messages {
                vault.events.publish(message, Instant::now() + PATIENCE).await?;
            }
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_failures_grows_to_five_seconds() {
        assert_eq!(backoff(1), Duration::from_millis(200));
        assert_eq!(backoff(4), Duration::from_millis(1600));
        assert_eq!(backoff(60), Duration::from_secs(5));
    }
}
