//! When a push may be made: the endpoint is active, there is room, its rate allows it, and its breaker is closed or
//! this push is the one that probes.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use governor::clock::{Clock as _, DefaultClock};
use nats::Stored;
use schemas::subject;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};

use super::{
    Engine,
    breaker::Breaker,
    decide::jitter,
    record,
    target::{Rules, Target},
};

/// Whoever lost a probe looks again this often.
const LOOK: Duration = Duration::from_secs(1);
/// A probe that has not ended this long after its timeout has died with its process.
const PROBE_LIFE: Duration = Duration::from_secs(30);
/// How often history asks for room.
const POLL: Duration = Duration::from_millis(20);
/// Timers come this long after a pause at most, milliseconds: not all at once.
const SPREAD: i64 = 10_000;

/// Where a push comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// An event, live.
    Live,
    /// An event of history: live events go first.
    History,
    /// A timer. It does not wait for a breaker: it is set again.
    Timer,
    /// A replay, which comes by timer: live events go first.
    Replay,
}

/// Whether a push may be made.
#[derive(Debug)]
pub(super) enum Turn {
    Go(Go),
    /// The endpoint is not active, or the gateway stops.
    NotNow,
    /// Not before this time, milliseconds since the epoch.
    Later(i64),
}

/// The right to make one request.
#[derive(Debug)]
pub(super) struct Go {
    pub(super) rules: Arc<Rules>,
    /// Whether the breaker goes by how it ends.
    pub(super) probe: bool,
    _slot: OwnedSemaphorePermit,
}

impl Engine {
    /// Waits until a push may be made.
    pub(super) async fn turn(&self, target: &Target, lane: Lane) -> Turn {
        self.stop.run_until_cancelled(self.wait_turn(target, lane)).await.unwrap_or(Turn::NotNow)
    }

    async fn wait_turn(&self, target: &Target, lane: Lane) -> Turn {
        let mut changes = target.watch_rules();
        loop {
            let rules = changes.borrow_and_update().clone();
            let Some(rules) = rules.filter(|rules| rules.is_active()) else { return Turn::NotNow };
            // An ordered endpoint has no breaker: a failing event holds it up already.
            let breaker = |ordered: bool| if ordered { Breaker::default() } else { target.breaker() };
            if let Breaker::Open { until, .. } = breaker(rules.live.endpoint.ordered)
                && self.deps.clock.now() < until
            {
                if matches!(lane, Lane::Timer | Lane::Replay) {
                    return Turn::Later(until + jitter(SPREAD, &self.deps.random) - SPREAD / 2);
                }
                self.sit_out(target, until).await;
                continue;
            }
            let slot = async {
                let slot = room(target, &rules, lane).await;
                within_rate(&rules).await;
                slot
            };
            let Some(Some(slot)) = unless(changes.changed(), slot).await else { continue };
            let go = |probe| Turn::Go(Go { rules: rules.clone(), probe, _slot: slot });
            match breaker(rules.live.endpoint.ordered) {
                Breaker::Closed { .. } => return go(false),
                Breaker::Open { until, .. } if self.deps.clock.now() < until => {}
                Breaker::Open { until, .. } => {
                    if self.claim(target, &rules, until).await {
                        return go(true);
                    }
                    if matches!(lane, Lane::Timer | Lane::Replay) {
                        target.look.notify_one();
                        return Turn::Later(self.deps.clock.now() + jitter(SPREAD, &self.deps.random));
                    }
                    drop(go);
                    self.lost(target).await;
                }
            }
        }
    }

    /// Waits until the pause is over, or something about the endpoint changes.
    async fn sit_out(&self, target: &Target, until: i64) {
        let (mut rules, mut breaker) = (target.watch_rules(), target.watch_breaker());
        let pause = u64::try_from(until - self.deps.clock.now()).unwrap_or_default();
        tokio::select! {
            () = sleep(Duration::from_millis(pause + 1)) => {}
            _ = rules.changed() => {}
            _ = breaker.changed() => {}
        }
    }

    /// Another push probes: waits for what it finds, and looks whether another process knows.
    async fn lost(&self, target: &Target) {
        let mut breaker = target.watch_breaker();
        if timeout(LOOK, breaker.changed()).await.is_err() {
            target.look.notify_one();
        }
    }

    /// Exactly one push gets the right to probe, in all processes together: the one whose claim is stored first.
    async fn claim(&self, target: &Target, rules: &Rules, until: i64) -> bool {
        let life = i64::try_from((rules.timeout() + PROBE_LIFE).as_millis()).unwrap_or(i64::MAX);
        let turn = (self.deps.clock.now() - until) / life;
        let claim = record::token(subject::probe(&format!("{}-{until}-{turn}", target.id)));
        let stored = self.claims.publish(claim, Instant::now() + LOOK).await;
        matches!(stored, Ok(Stored::New { .. }))
    }
}

/// A slot; history takes only what live events leave. None when the rules are gone.
async fn room(target: &Target, rules: &Rules, lane: Lane) -> Option<OwnedSemaphorePermit> {
    if matches!(lane, Lane::Live | Lane::Timer) {
        return rules.slots.clone().acquire_owned().await.ok();
    }
    loop {
        if target.live_held.load(Ordering::Relaxed) < rules.room().into()
            && let Ok(slot) = rules.slots.clone().try_acquire_owned()
        {
            return Some(slot);
        }
        sleep(POLL).await;
    }
}

async fn within_rate(rules: &Rules) {
    let Some(limiter) = &rules.limiter else { return };
    while let Err(not_yet) = limiter.check() {
        sleep(not_yet.wait_time_from(DefaultClock::default().now())).await;
    }
}

/// What the work gives, unless something happens first.
async fn unless<T>(first: impl Future, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        _ = first => None,
        done = work => Some(done),
    }
}
