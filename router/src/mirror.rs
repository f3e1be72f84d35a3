//! Keeps the table of links as the bucket has it, and knows when it cannot.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nats::{Error, Message, Reader, Start, topology};
use schemas::route::{ROUTES, Route};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Inner, table::Table};

/// How often the broker is asked whether the table is as far as the bucket.
const CONFIRM: Duration = Duration::from_secs(1);
/// Routing stops when that could not be confirmed for this long.
const STALE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
/// A reader that says nothing for this long is looked at.
const SILENCE: Duration = Duration::from_secs(10);

/// The links, and how far they are known.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    table: RwLock<Table>,
    /// Sequence in the bucket's stream up to which the table is complete.
    revision: AtomicU64,
    loaded: AtomicBool,
    confirmed: Mutex<Option<Instant>>,
    /// Providers with new links, for whom something parked may be released.
    pub(crate) linked: Mutex<BTreeSet<String>>,
    pub(crate) wake: Notify,
}

impl Routes {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn linked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirmed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    pub(crate) fn unready(&self) -> Option<&'static str> {
        if !self.loaded.load(Ordering::Acquire) {
            return Some("routes are loading");
        }
        let fresh = self.confirmed().is_some_and(|confirmed| confirmed.elapsed() < STALE);
        (!fresh).then_some("routes are stale")
    }

    fn apply(&self, message: &Message) {
        let key = message.subject.strip_prefix("$KV.").and_then(|rest| rest.split_once('.')).map_or("", |(_, key)| key);
        if message.payload.is_empty() {
            self.write().remove(key);
        } else {
            match serde_json::from_slice::<Route>(&message.payload) {
                Ok(route) => {
                    let active = self.write().put(&route);
                    if active && self.loaded.load(Ordering::Acquire) {
                        self.linked().insert(route.provider);
                        self.wake.notify_one();
                    }
                }
                Err(error) => warn!(key, %error, "routes.unreadable"),
            }
        }
        self.revision.fetch_max(message.sequence, Ordering::AcqRel);
    }
}

/// Follows the bucket until told to stop.
pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let mut said = false;
    loop {
        let followed = tokio::select! {
            () = stop.cancelled() => return,
            followed = follow(&inner, &mut said) => followed,
        };
        if let Err(error) = followed
            && !std::mem::replace(&mut said, true)
        {
            warn!(error = &error as &dyn std::error::Error, "routes.lost");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(inner: &Inner, said: &mut bool) -> Result<(), Error> {
    let routes = &inner.routes;
    let stream = format!("KV_{ROUTES}");
    let begun = Instant::now();
    // What is stored after this is either read below or as yet unknown to anybody.
    let reached = topology::stream_info(&inner.deps.broker, &stream).await?.state.last_sequence;
    let start = match routes.revision() {
        0 => Start::LastPerSubject,
        revision => Start::Sequence(revision + 1),
    };
    let mut reader = Reader::open(&inner.deps.broker, &stream, &[format!("$KV.{ROUTES}.>")], start, false).await?;
    let mut waiting = reader.waiting();
    loop {
        if waiting == 0 && !routes.loaded.load(Ordering::Acquire) {
            routes.revision.fetch_max(reached, Ordering::AcqRel);
            *routes.confirmed() = Some(Instant::now());
            routes.loaded.store(true, Ordering::Release);
            info!(routes = routes.len(), seconds = begun.elapsed().as_secs_f64(), "routes.loaded");
            routes.wake.notify_one();
        }
        *said = false;
        let Some(message) = reader.next_within(SILENCE).await? else {
            // Nothing came, although the bucket is ahead: this reader does not read any more.
            if routes.unready().is_some() && inner.deps.broker.is_connected() {
                return Err(Error::Read { stream, source: "the reader fell silent".into() });
            }
            continue;
        };
        routes.apply(&message);
        inner.metrics.routes.set(i64::try_from(routes.len()).unwrap_or(i64::MAX));
        waiting = waiting.saturating_sub(1);
    }
}

/// Asks the broker again and again whether the table is as far as the bucket.
pub(crate) async fn confirm(inner: Arc<Inner>, stop: CancellationToken) {
    let stream = format!("KV_{ROUTES}");
    let routes = &inner.routes;
    while !stop.is_cancelled() {
        let loaded = routes.loaded.load(Ordering::Acquire);
        let applied = routes.revision();
        if loaded && inner.deps.broker.is_connected() {
            match topology::stream_info(&inner.deps.broker, &stream).await {
                Ok(info) if info.state.last_sequence <= routes.revision().max(applied) => *routes.confirmed() = Some(Instant::now()),
                Ok(_behind) => {}
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "routes.confirm"),
            }
        }
        inner.metrics.fresh.set(i64::from(routes.unready().is_none()));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CONFIRM) => {}
        }
    }
}
