//! Connections and links: which organisation wants what of which account; and the keys of the API.
//!
//! The rows are the truth (`records`, `store`); the broker's buckets are their projection (`projection`). Every
//! change leaves a row in the outbox, which `outbox` brings to the broker; `reconcile` compares all of it at start.
//! `http` is the API, `connection`, `link` and `fields` what it reads and shows, `error` how it refuses. `key` is all
//! about keys.

mod connection;
mod error;
mod fields;
mod http;
pub mod key;
mod link;
mod outbox;
mod projection;
mod reconcile;
mod records;
mod rows;
pub mod seal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use nats::{Broker, Bucket, Publisher};
use schemas::{
    ambient::{Clock, Random},
    route,
};
use store::Db;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use records::Records;

/// What the vault needs from outside.
#[derive(Debug)]
pub struct Deps {
    /// The database, migrated.
    pub db: Db,
    /// The connection to the broker.
    pub broker: Broker,
    /// A publisher to `GW_CONNECTION`, in pipeline mode: that stream takes no batches.
    pub events: Publisher,
    /// Tells the time of changes.
    pub clock: Clock,
    /// Makes ids.
    pub random: Random,
}

/// The vault. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    records: Records,
    broker: Broker,
    routes: Bucket,
    connections: Bucket,
    events: Publisher,
}

impl Vault {
    /// A vault over these.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let Deps { db, broker, events, clock, random } = deps;
        Self {
            records: Records { db, clock, random, poke: Arc::new(Notify::new()) },
            routes: Bucket::new(&broker, route::ROUTES),
            connections: Bucket::new(&broker, route::CONNECTIONS),
            broker,
            events,
        }
    }
}

/// The API's routes. Whoever merges them puts a [`schemas::caller::Caller`] into every request.
pub fn api(vault: Vault) -> OpenApiRouter {
    http::records(vault.records.clone()).merge(key::routes(vault.records.clone())).merge(http::routes(vault))
}

/// Brings the rows to the broker until it is stopped: all of them once, and each change.
pub async fn run(vault: Vault, stop: CancellationToken) {
    let work = async { tokio::join!(reconcile::at_start(&vault), outbox::run(&vault)) };
    // Nothing is lost where it is cut off: what was not confirmed is still in the outbox.
    stop.run_until_cancelled(Box::pin(work)).await;
}
