//! Delivery to owners to events.
//!
//! `route` is the way of a delivery; `table` knows the links, fed by `mirror`; `translate` makes the event of an
//! organisation; `park` keeps what nobody claims and releases it when somebody does. `reroute` takes stored
//! deliveries the same way again, and `redrive` dead letters.

use std::sync::Arc;

use nats::{
    Broker, Payloads, Publisher,
    consume::{self, Consumer, DeadLetters, Slots},
    topology,
};
use prometheus_client::registry::Registry;
use schemas::ambient::Clock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

mod complaint;
mod metrics;
mod mirror;
mod outcome;
mod park;
mod redrive;
mod reroute;
mod route;
pub mod table;
mod translate;

use complaint::Complaint;
use metrics::Metrics;
use mirror::Routes;

/// Deliveries held at once.
const SLOTS: usize = 2_000;
/// Large bodies in memory at once.
const LARGE: usize = 4;

/// What the router needs of the rest.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The connection.
    pub broker: Broker,
    /// Stores events.
    pub events: Publisher,
    /// Stores what nobody claims.
    pub parked: Publisher,
    /// Stores outcomes.
    pub outcomes: Publisher,
    /// Stores dead letters.
    pub dead: Publisher,
    /// The time.
    pub clock: Clock,
    /// Whether a consumer that somebody deleted may be made anew.
    pub recreate_consumers: bool,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Router(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: Deps,
    payloads: Payloads,
    routes: Routes,
    metrics: Metrics,
    /// Room for large bodies.
    large: Semaphore,
    retries: Complaint,
}

impl Router {
    /// The service with its metrics registered.
    pub fn new(deps: Deps, registry: &mut Registry) -> Self {
        let payloads = Payloads::new(&deps.broker);
        let routes = Routes::default();
        let metrics = Metrics::new(registry);
        Self(Arc::new(Inner {
            deps,
            payloads,
            routes,
            metrics,
            retries: Complaint::default(),
            large: Semaphore::new(LARGE),
        }))
    }

    /// Why deliveries are not routed now, if they are not.
    #[must_use]
    pub fn unready(&self) -> Option<&'static str> {
        self.0.routes.unready()
    }

    /// How many links are known.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.0.routes.len()
    }

    /// Routes until told to stop; what is in hand is finished first.
    pub async fn run(&self, stop: CancellationToken) {
        let inner = &self.0;
        let live = Slots::live(SLOTS);
        let history = live.behind();
        let mirror = mirror::run(inner.clone(), stop.clone());
        let freshness = mirror::confirm(inner.clone(), stop.clone());
        let release = park::run(inner.clone(), stop.clone());
        let live = consume::run(inner.consumer(topology::ROUTER, live), inner.clone(), stop.clone());
        let history = consume::run(inner.consumer(topology::ROUTER_HISTORY, history), inner.clone(), stop.clone());
        let replays = reroute::run(inner.clone(), stop.clone());
        let letters = redrive::run(inner.clone(), stop);
        tokio::join!(mirror, freshness, release, live, history, replays, letters);
    }
}

impl Inner {
    /// A consumer of the router's tasks.
    fn worker(&self, name: &'static str, slots: usize) -> Consumer {
        Consumer {
            stream: topology::GW_JOB,
            dead: DeadLetters::new(self.deps.dead.clone(), "job"),
            ..self.consumer(name, Slots::live(slots))
        }
    }

    fn consumer(&self, name: &'static str, slots: Slots) -> Consumer {
        Consumer {
            broker: self.deps.broker.clone(),
            stream: topology::GW_WEBHOOK,
            name,
            slots,
            dead: DeadLetters::new(self.deps.dead.clone(), "router"),
            redelivered: self.metrics.redelivered.clone(),
            recreate: self.deps.recreate_consumers,
        }
    }
}
