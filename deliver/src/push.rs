//! Pushing events to endpoints.
//!
//! `roster` runs a `reader` an endpoint: its durable consumer of `GW_EVENT`, one task an event in hand. `turn` says when
//! a push may be made, `settle` makes it and does what follows, which `decide` says and `record` writes. `due` takes up
//! what waited in `GW_RETRY`; `closing` ends it where an endpoint is disabled or deleted. `before` knows what was settled
//! by a process that ended. `reach` says where requests may go.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nats::{Mode, Publisher, durable::Pauses, topology};
use schemas::cause::Chain;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{Deps, endpoint::Endpoints};

mod about;
mod before;
mod breaker;
mod cancelled;
mod client;
mod closing;
mod decide;
mod due;
mod metrics;
mod reach;
mod reader;
mod record;
mod request;
mod roster;
mod settle;
mod sign;
mod target;
mod turn;
mod work;

use cancelled::Cancelled;
pub(crate) use client::Client;
pub(crate) use metrics::Metrics;
pub use reach::{BadReach, Reach, Refusal};
use target::Target;

/// Consumers that are looked at or made at once.
const OPENING: usize = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// What all pushes share.
#[derive(Debug)]
struct Engine {
    deps: Deps,
    endpoints: Endpoints,
    client: Client,
    metrics: Metrics,
    /// Stores who may probe.
    claims: Publisher,
    targets: RwLock<HashMap<String, Arc<Target>>>,
    cancelled: Cancelled,
    /// Whether the endpoints are known.
    known: AtomicBool,
    knows: Notify,
    opening: Semaphore,
    stop: CancellationToken,
}

/// Pushes until told to stop; what is in hand is finished first.
pub(crate) async fn run(deps: Deps, endpoints: Endpoints, client: Client, metrics: Metrics, stop: CancellationToken) {
    let directory = endpoints.watch();
    let (claims, group) = Publisher::new(&deps.broker, Mode::Pipeline);
    let engine = Arc::new(Engine {
        deps,
        endpoints,
        client,
        metrics,
        claims,
        targets: RwLock::default(),
        cancelled: Cancelled::default(),
        known: AtomicBool::new(false),
        knows: Notify::new(),
        opening: Semaphore::new(OPENING),
        stop,
    });
    let grouping = engine.stop.clone().run_until_cancelled_owned(group);
    let mending = async {
        if engine.stop.run_until_cancelled(engine.knows.notified()).await.is_some() {
            roster::mend(&engine).await;
        }
    };
    let following = roster::follow(engine.clone(), directory);
    tokio::join!(following, due::run(engine.clone()), engine.hear(), mending, grouping);
}

impl Engine {
    fn target(&self, id: &str) -> Option<Arc<Target>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<Target>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn add(&self, target: Arc<Target>) {
        self.targets.write().unwrap_or_else(PoisonError::into_inner).insert(target.id.clone(), target);
    }

    fn remove(&self, id: &str) {
        self.targets.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The endpoints were read for the first time, or again.
    fn learned(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            self.knows.notify_one();
        }
    }

    /// Hears when another process pauses a consumer, and has its endpoint's breaker looked at.
    async fn hear(&self) {
        while !self.stop.is_cancelled() {
            let mut pauses = match Pauses::of(&self.deps.broker, topology::GW_EVENT).await {
                Ok(pauses) => pauses,
                Err(error) => {
                    warn!(error = %Chain(&error), "breakers.unheard");
                    let _stopped = self.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none();
                    continue;
                }
            };
            while let Some(Some(name)) = self.stop.run_until_cancelled(pauses.next()).await {
                if let Some(target) = self.target(name.strip_suffix(topology::HISTORY).unwrap_or(&name)) {
                    target.look.notify_one();
                }
            }
        }
    }
}
