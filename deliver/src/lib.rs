//! Events on to HTTP endpoints.
//!
//! `endpoint` keeps what organisations want pushed where; `push` does it: a durable consumer of `GW_EVENT` an
//! endpoint, a timer in `GW_RETRY` a failure, a message in `GW_ATTEMPT` a step. `feed` lets readers come instead:
//! server-sent events. `replay` sends again, and `letter` keeps what will not succeed by itself.

use std::sync::Arc;

use nats::{Broker, Publisher};
use prometheus_client::registry::Registry;
use schemas::{
    ambient::{Clock, Random},
    seal::Sealer,
};
use store::Db;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

pub mod endpoint;
mod error;
mod feed;
mod letter;
mod metrics;
pub mod push;
mod replay;

use endpoint::Endpoints;
pub use error::Error;
use feed::Feed;
use metrics::Metrics;

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
    /// Stores commands.
    pub commands: Publisher,
    /// Stores events again, over a connection of its own.
    pub copies: Copies,
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

/// What stores the copies that replays make.
#[derive(Clone, Debug)]
pub struct Copies {
    /// Stores them.
    pub publisher: Publisher,
    /// The connection that they take. Asked over it, the broker has received what was sent before.
    pub broker: Broker,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deliver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: Deps,
    endpoints: Endpoints,
    feed: Feed,
    client: push::Client,
    pushes: push::Metrics,
    metrics: Metrics,
}

impl Deliver {
    /// The service with its metrics registered. Fails where the system gives the HTTP client no TLS.
    pub fn new(deps: Deps, registry: &mut Registry) -> Result<Self, reqwest::Error> {
        let endpoints = Endpoints::new(deps.db.clone(), deps.clock.clone());
        let feed = Feed::new(deps.broker.clone(), deps.clock.clone());
        let client = push::Client::system(deps.reach.clone())?;
        let (pushes, metrics) = (push::Metrics::new(registry), Metrics::new(registry));
        Ok(Self(Arc::new(Inner { deps, endpoints, feed, client, pushes, metrics })))
    }

    /// Pushes until told to stop; what is in hand is finished first.
    pub async fn run(&self, stop: CancellationToken) {
        let Inner { deps, endpoints, feed, client, pushes, metrics } = &*self.0;
        let known = endpoints.watch();
        let keeper = endpoint::Keeper::new(endpoints.clone(), deps.sealer.clone());
        let directory = keeper.run(stop.clone());
        let push = push::run(deps.clone(), endpoints.clone(), client.clone(), pushes.clone(), stop.clone());
        let commands = replay::commands(deps.clone(), stop.clone());
        let redeliver = replay::run(deps.clone(), known, metrics.redelivered.clone(), stop.clone());
        let advisories = letter::advisories(deps.clone(), stop.clone());
        let letters = letter::count(deps.broker.clone(), metrics.letters.clone(), stop.clone());
        tokio::join!(directory, push, commands, redeliver, advisories, letters, feed.run(stop));
    }
}

/// The API's routes. Whoever merges them puts a [`schemas::caller::Caller`] into every request.
pub fn api(deliver: &Deliver) -> OpenApiRouter {
    let Inner { deps, endpoints, feed, .. } = &*deliver.0;
    endpoint::api(endpoints.clone(), deps.clone())
        .merge(replay::api(endpoints.clone(), deps.clone()))
        .merge(letter::api(endpoints.clone(), deps.clone()))
        .merge(feed::api(feed.clone()))
}
