//! What became of every delivery, in rows, and whether it adds up.
//!
//! `tail` reads the streams, `batch` folds what they tell into rows (`facts`), `write` writes a batch and how far the
//! streams were read in one transaction. One process does that at a time (`lease`, `writer`). Rows come from the
//! streams alone: `rebuild` makes them anew. `maintain` does what time asks for: `apply` an endpoint's new wishes,
//! `expire` what the streams gave up, `prune` into totals. `query` and `http` answer, `audit` adds up.

mod apply;
mod audit;
mod batch;
mod error;
mod expire;
mod extent;
mod facts;
mod http;
mod insert;
mod lease;
mod lost;
mod maintain;
mod metrics;
mod position;
mod prune;
mod query;
mod rebuild;
mod rows;
mod source;
mod tail;
mod wishes;
mod write;
mod writer;

use std::{sync::Arc, time::Duration};

use nats::Broker;
use prometheus_client::registry::Registry;
use schemas::ambient::{Clock, Random};
use store::Db;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use metrics::Metrics;

/// What the service needs of the rest.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The database, migrated.
    pub db: Db,
    /// The connection. The ledger only reads.
    pub broker: Broker,
    /// The time.
    pub clock: Clock,
    /// Names this run of the process.
    pub random: Random,
    /// How long rows are kept before they become totals.
    pub retention: Duration,
}

/// The ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    deps: Deps,
    metrics: Metrics,
    /// This run of this process.
    owner: String,
    /// Milliseconds.
    retention: i64,
}

impl Ledger {
    /// The ledger with its metrics registered.
    #[must_use]
    pub fn new(deps: Deps, registry: &mut Registry) -> Self {
        let owner = deps.random.id("ledger-");
        let retention = i64::try_from(deps.retention.as_millis()).unwrap_or(i64::MAX);
        Self(Arc::new(Inner { deps, metrics: Metrics::new(registry), owner, retention }))
    }

    /// Follows the streams until told to stop, and adds up now and then.
    pub async fn run(&self, stop: CancellationToken) {
        let writing = writer::run(&self.0, stop.clone());
        let auditing = stop.run_until_cancelled(audit::watch(&self.0));
        tokio::join!(writing, auditing);
    }
}

/// The API's routes. Whoever merges them puts a [`schemas::caller::Caller`] into every request.
pub fn api(ledger: &Ledger) -> OpenApiRouter {
    http::routes(ledger.clone())
}
