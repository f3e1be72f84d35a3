//! An endpoint in this process: its rules as they are now, its room, and its breaker.

use std::{
    collections::HashSet,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use nats::Message;
use prometheus_client::metrics::gauge::Gauge;
use schemas::endpoint::EndpointStatus;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

use super::{breaker::Breaker, turn::Lane};
use crate::endpoint::Live;

/// No push that finds no room is put off for longer.
const BOOKED_AHEAD: i64 = 300_000;

/// The rules of an endpoint in one of its versions.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) live: Arc<Live>,
    /// Room for requests at once, of live traffic, history and timers together.
    pub(super) slots: Arc<Semaphore>,
    pub(super) limiter: Option<DefaultDirectRateLimiter>,
}

impl Rules {
    pub(super) fn of(live: Arc<Live>) -> Self {
        let endpoint = &live.endpoint;
        let slots = Arc::new(Semaphore::new(if endpoint.ordered { 1 } else { endpoint.concurrency.max(1).into() }));
        // A tenth of a second's requests may come at once: as near to even as timers are exact.
        let limiter = endpoint.rate_per_second.and_then(NonZeroU32::new).map(|rate| {
            let burst = NonZeroU32::new(rate.get() / 10).unwrap_or(NonZeroU32::MIN);
            RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        });
        Self { slots, limiter, live }
    }

    pub(super) fn is_active(&self) -> bool {
        self.live.endpoint.status == EndpointStatus::Active
    }

    /// How many events may be handed out at once.
    pub(super) fn room(&self) -> u16 {
        let endpoint = &self.live.endpoint;
        if endpoint.ordered { 1 } else { endpoint.concurrency.max(1) }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.live.endpoint.timeout_seconds.max(1).into())
    }
}

/// An endpoint. Its rules are none once it is deleted.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: String,
    rules: watch::Sender<Option<Arc<Rules>>>,
    breaker: watch::Sender<Breaker>,
    /// Whether the breaker changed here and the consumer does not say so yet.
    unwritten: AtomicBool,
    /// Whether a receiver here said that it is gone, since it was active.
    pub(super) gone: AtomicBool,
    /// Asks the reader to look at the consumer, where other processes keep what they know of the breaker.
    pub(super) look: Notify,
    /// Live events in hand: history waits for what they leave free.
    pub(super) live_held: AtomicUsize,
    /// The events in hand, by their place and when they were stored there. A broker that was away for long hands them
    /// out again.
    in_hand: Mutex<HashSet<(u64, i64)>>,
    /// Timers that wait for room.
    pub(super) waiting: AtomicUsize,
    /// How long a request took the last time, milliseconds.
    latency: AtomicI64,
    /// Until when the room is given away to timers that found none, milliseconds since the epoch.
    booked: AtomicI64,
    open: Gauge,
}

impl Target {
    pub(super) fn new(live: Arc<Live>, open: Gauge) -> Self {
        Self {
            id: live.endpoint.id.clone(),
            rules: watch::Sender::new(Some(Arc::new(Rules::of(live)))),
            breaker: watch::Sender::default(),
            unwritten: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            look: Notify::new(),
            live_held: AtomicUsize::new(0),
            in_hand: Mutex::default(),
            waiting: AtomicUsize::new(0),
            latency: AtomicI64::new(1),
            booked: AtomicI64::new(0),
            open,
        }
    }

    /// Takes an event in hand; none where it is there already.
    pub(super) fn hold(self: &Arc<Self>, event: &Message, lane: Lane) -> Option<Held> {
        let place = (event.sequence, event.stored_at);
        if !self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
            return None;
        }
        let live = lane == Lane::Live;
        if live {
            self.live_held.fetch_add(1, Ordering::Relaxed);
        }
        Some(Held { target: self.clone(), place, live })
    }

    /// The rules as they are now; none once it is deleted.
    pub(super) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.borrow().clone()
    }

    pub(super) fn watch_rules(&self) -> watch::Receiver<Option<Arc<Rules>>> {
        self.rules.subscribe()
    }

    /// A new version, or none when it is deleted.
    pub(super) fn change(&self, live: Option<Arc<Live>>) {
        if live.as_ref().is_some_and(|live| live.endpoint.status == EndpointStatus::Active) {
            self.gone.store(false, Ordering::Relaxed);
        }
        self.rules.send_replace(live.map(|live| Arc::new(Rules::of(live))));
    }

    pub(super) fn breaker(&self) -> Breaker {
        *self.breaker.borrow()
    }

    pub(super) fn watch_breaker(&self) -> watch::Receiver<Breaker> {
        self.breaker.subscribe()
    }

    /// A request ended here.
    pub(super) fn count(&self, next: impl FnOnce(Breaker) -> Breaker) {
        let turned = self.set_breaker(|own| {
            let after = next(own);
            if own.turns(after) {
                self.unwritten.store(true, Ordering::Release);
            }
            after
        });
        if turned {
            self.look.notify_one();
        }
    }

    /// Whether there is a change to be written to the consumer; asked once for each.
    pub(super) fn take_unwritten(&self) -> bool {
        self.unwritten.swap(false, Ordering::AcqRel)
    }

    /// It could not be written.
    pub(super) fn keep_unwritten(&self) {
        self.unwritten.store(true, Ordering::Release);
    }

    /// What the consumer said, which is what all processes go by. It was asked when the breaker was so.
    pub(super) fn adopt(&self, asked: Breaker, stored: Option<Breaker>) {
        self.set_breaker(|own| own.adopting(asked, stored));
    }

    /// Sets the breaker, and says so where that opens or closes it. Tells whether it turned.
    fn set_breaker(&self, next: impl FnOnce(Breaker) -> Breaker) -> bool {
        let mut turned = false;
        self.breaker.send_if_modified(|breaker| {
            let before = std::mem::replace(breaker, next(*breaker));
            turned = before.turns(*breaker);
            match (before, *breaker) {
                (Breaker::Closed { .. }, Breaker::Open { until, .. }) => {
                    self.open.inc();
                    warn!(endpoint = self.id, until, "endpoint.failing: it is left alone, and its events wait");
                }
                (Breaker::Open { .. }, Breaker::Closed { .. }) => {
                    self.open.dec();
                    info!(endpoint = self.id, "endpoint.back");
                }
                _ => {}
            }
            before != *breaker
        });
        turned
    }

    pub(super) fn took(&self, latency: Duration) {
        self.latency.store(i64::try_from(latency.as_millis()).unwrap_or(1).max(1), Ordering::Relaxed);
    }

    /// When a timer that finds no room may come again: behind those that were sent away before it.
    pub(super) fn book(&self, rules: &Rules, now: i64) -> i64 {
        let by_rate = rules.live.endpoint.rate_per_second.map_or(0, |rate| 1_000 / i64::from(rate.max(1)));
        let apart = (self.latency.load(Ordering::Relaxed) / i64::from(rules.room())).max(by_rate).max(1);
        let next = |booked: i64| Some((booked + apart).clamp(now + 1_000, now + BOOKED_AHEAD));
        let booked = self.booked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let (Ok(booked) | Err(booked)) = booked;
        (booked + apart).clamp(now + 1_000, now + BOOKED_AHEAD)
    }
}

/// An event in hand.
#[derive(Debug)]
pub(super) struct Held {
    target: Arc<Target>,
    place: (u64, i64),
    live: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.target.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
        if self.live {
            self.target.live_held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.breaker().is_open() {
            self.open.dec();
        }
    }
}
