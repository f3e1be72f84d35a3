//! Events on to HTTP endpoints.
//!
//! `endpoint` keeps what organisations want pushed where; `push` does it: a durable consumer of `GW_EVENT` an
//! endpoint, a timer in `GW_RETRY` a failure, a message in `GW_ATTEMPT` a step.

use std::sync::Arc;

use nats::{Broker, Publisher};
use prometheus_client::registry::Registry;
use schemas::{
    ambient::{Clock, Random},
    seal::Sealer,
};
use store::Db;
use tokio_util::sync::CancellationToken;

pub mod endpoint;
mod error;
pub mod push;
mod request;

use endpoint::Endpoints;
pub use error::Error;

/// What the service needs of the rest.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The database, migrated.
    pub db: Db,
    /// The connection.
    pub broker: Broker,
    /// Stores attempts.
    pub attempts: Publisher,
    /// Stores timers.
    pub timers: Publisher,
    /// Stores dead letters.
    pub dead: Publisher,
    /// The time.
    pub clock: Clock,
    /// Makes ids, secrets and jitter.
    pub random: Random,
    /// Seals signing secrets and the values of custom headers.
    pub sealer: Sealer,
    /// Where requests may go.
    pub reach: push::Reach,
    /// Whether consumers that somebody deleted may be made anew.
    pub recreate_consumers: bool,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deliver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: Deps,
    endpoints: Endpoints,
    client: push::Client,
    metrics: push::Metrics,
}

impl Deliver {
    /// The service with its metrics registered. Fails where the system gives the HTTP client no TLS.
    pub fn new(deps: Deps, registry: &mut Registry) -> Result<Self, reqwest::Error> {
        let endpoints = Endpoints::new(deps.db.clone(), deps.clock.clone());
        let client = push::Client::system(deps.reach.clone())?;
        let metrics = push::Metrics::new(registry);
        Ok(Self(Arc::new(Inner { deps, endpoints, client, metrics })))
    }

    /// Pushes until told to stop; what is in hand is finished first.
    pub async fn run(&self, stop: CancellationToken) {
        let keeper = endpoint::Keeper::new(self.0.endpoints.clone(), self.0.deps.sealer.clone());
        let directory = keeper.run(stop.clone());
        let (client, metrics) = (self.0.client.clone(), self.0.metrics.clone());
        let push = push::run(self.0.deps.clone(), self.0.endpoints.clone(), client, metrics, stop);
        tokio::join!(directory, push);
    }
}

/// The API's routes. Whoever merges them puts a [`schemas::caller::Caller`] into every request.
pub fn api(deliver: &Deliver) -> axum::Router {
    endpoint::api(deliver.0.endpoints.clone(), deliver.0.deps.clone())
}
