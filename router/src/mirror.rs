//! Keeps the table of links as the bucket has it, and knows when it cannot.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use nats::{Error, Message, Reader, Start, topology};
use schemas::{
    cause::Chain,
    route::{ROUTES, Route},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Inner, table::Table};

/// How often the broker is asked whether the table is as far as the bucket.
const CONFIRM: Duration = Duration::from_secs(1);
/// How often the table is looked at while it is behind.
const CATCH_UP: Duration = Duration::from_millis(5);
/// Routing stops when that could not be confirmed for this long.
const STALE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
/// Away for longer than this, everything is read anew.
const AWAY: Duration = Duration::from_secs(1800);
/// A reader that says nothing for this long is looked at.
const SILENCE: Duration = Duration::from_secs(10);

/// The links, and how far they are known.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    table: RwLock<Table>,
    /// Sequence in the bucket's stream up to which the table is complete.
    revision: AtomicU64,
    /// When the bucket that was read was made: another of its name may take its place.
    made: AtomicI64,
    /// Rung when another took its place.
    other: Notify,
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

    /// Whether the table gets this far before long. What is written meanwhile is not waited for: while links are made
    /// all the time, the bucket is always a little ahead.
    async fn reach(&self, sequence: u64) -> bool {
        let reached = async {
            while self.revision() < sequence {
                tokio::time::sleep(CATCH_UP).await;
            }
        };
        tokio::time::timeout(CONFIRM, reached).await.is_ok()
    }

    /// Whether a bucket made then and with this last sequence is another than the one that was read up to there.
    fn replaced(&self, applied: u64, made: i64, last_sequence: u64) -> bool {
        applied > 0 && (self.made.load(Ordering::Acquire) != made || last_sequence < applied)
    }

    /// Begins anew. Nothing is routed until the links are loaded again.
    fn forget(&self) {
        self.loaded.store(false, Ordering::Release);
        *self.write() = Table::default();
        self.revision.store(0, Ordering::Release);
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
                Err(error) => {
                    // Of the link only this is known: it is not as it was.
                    self.write().remove(key);
                    warn!(key, %error, "routes.unreadable");
                }
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
            warn!(error = %Chain(&error), "routes.lost");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(inner: &Inner, said: &mut bool) -> Result<(), Error> {
    let routes = &inner.routes;
    let stream = format!("KV_{ROUTES}");
    let (begun, mut changes) = (Instant::now(), inner.deps.broker.changes());
    // What is stored after this is either read below or as yet unknown to anybody.
    let info = topology::stream_info(&inner.deps.broker, &stream).await?;
    let reached = info.state.last_sequence;
    if routes.replaced(routes.revision(), topology::made(&info), reached) {
        warn!("routes.replaced: this is not the bucket that was read, or an older state of it");
        routes.forget();
    }
    // A removal is kept for a day at most: who was away for long may have missed one.
    if routes.confirmed().is_some_and(|confirmed| confirmed.elapsed() > AWAY) {
        routes.forget();
    }
    routes.made.store(topology::made(&info), Ordering::Release);
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
            inner.metrics.fresh.set(1);
            info!(routes = routes.len(), seconds = begun.elapsed().as_secs_f64(), "routes.loaded");
            routes.wake.notify_one();
        }
        *said = false;
        let message = tokio::select! {
            () = routes.other.notified() => return Err(Error::Read { stream, source: "it is another bucket now".into() }),
            message = reader.next_within(SILENCE) => message?,
            // Who was away looks at the bucket anew: it may be another, or have removed what it would not tell of.
            _ = changes.changed() => return Err(Error::Disconnected { what: stream }),
        };
        let Some(message) = message else {
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
        // Read before the broker is asked: an answer below it is of another bucket.
        let applied = routes.revision();
        if loaded && inner.deps.broker.is_connected() {
            let asked = Instant::now();
            match topology::stream_info(&inner.deps.broker, &stream).await {
                Ok(info) => {
                    let replaced = routes.replaced(applied, topology::made(&info), info.state.last_sequence);
                    if replaced {
                        routes.other.notify_one();
                    } else if routes.reach(info.state.last_sequence).await {
                        *routes.confirmed() = Some(asked);
                    }
                }
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
