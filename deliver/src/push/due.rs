//! Pushes whose time has come. One consumer for all endpoints: what finds no room at its endpoint is set again, so
//! that a slow one keeps no other from its turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nats::{
    Message, PublishError, Verdict,
    consume::{self, Consumer, DeadLetters, Dying, Handler, Slots},
    durable, topology,
};
use schemas::{
    attempt::{PushOutcome, Retry},
    cause::Chain,
    endpoint::{self, EndpointStatus},
    header, subject,
};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::{
    Engine,
    about::{About, Source},
    closing::{self, End},
    decide::{Reason, Tries, jitter},
    record::{Stopped, is_untried_repeat},
    settle::Push,
    target::{Rules, Target},
    turn::{Go, Lane, Turn},
};
use crate::endpoint::Known;

/// Timers held at once, in all.
const SLOTS: usize = 8_192;
/// Above so many of them a timer waits only where there is room for it now.
const CROWDED: usize = SLOTS / 2;
/// Timers of one endpoint that wait for its room, for each that may be under way; and how many at most.
const WAITING: (usize, usize) = (4, 64);
/// How often a timer of an endpoint that is paused, or unknown, comes again, milliseconds.
const PAUSED: i64 = 60_000;
/// A due push that was taken so long ago is looked at again before its request.
const LONG: Duration = Duration::from_secs(1);
/// How often what is done is removed.
const SWEEP: Duration = Duration::from_secs(15);
/// How soon an endpoint must be known that the database has.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Deals with due pushes until told to stop.
pub(super) async fn run(engine: Arc<Engine>) {
    let consumer = Consumer {
        broker: engine.deps.broker.clone(),
        stream: topology::GW_RETRY,
        name: topology::RETRY,
        slots: Slots::live(SLOTS),
        dead: DeadLetters::new(engine.deps.dead.clone(), topology::RETRY),
        redelivered: engine.metrics.redelivered.clone(),
        recreate: engine.deps.recreate_consumers,
    };
    let stop = engine.stop.clone();
    let handler = Arc::new(Due { engine, held: AtomicUsize::new(0) });
    tokio::join!(consume::run(consumer, handler.clone(), stop), handler.engine.sweep());
}

struct Due {
    engine: Arc<Engine>,
    /// Timers held now, in all.
    held: AtomicUsize,
}

impl Handler for Due {
    /// Each by itself.
    fn lane(&self, message: &Message) -> u64 {
        message.sequence
    }

    fn ready(&self) -> bool {
        self.engine.known.load(Ordering::Relaxed)
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        let _held = Place::of(&self.held, usize::MAX);
        let crowded = self.held.load(Ordering::Relaxed) > CROWDED;
        for message in messages.iter() {
            verdicts.push(Box::pin(self.engine.due(message, crowded)).await);
        }
        verdicts
    }

    /// With a timer that nobody settled its push ends, and the letter holds the event: the timer only says where it stood.
    async fn dying(&self, message: &Message, _reason: &'static str) -> Result<Dying, PublishError> {
        let Ok(retry) = serde_json::from_slice::<Retry>(&message.payload) else { return Ok(Dying::Bury) };
        let unconfirmed = |Stopped| PublishError::Unconfirmed;
        if self.engine.settled_timer(&retry, message).await.map_err(unconfirmed)? {
            return Ok(Dying::Done);
        }
        // Nothing is recorded of it, so the timer is all there is to keep.
        if is_untried_repeat(&retry) {
            return Ok(Dying::Bury);
        }
        let detail = format!("its timer was handed out {} times and never settled", message.delivered);
        let ended = self.engine.end_retry(&retry, End::Dead(Reason::Exhausted, &detail)).await;
        ended.map(|()| Dying::Done).map_err(unconfirmed)
    }
}

/// A due push in hand.
struct Taken<'a> {
    retry: &'a Retry,
    tries: Tries,
    message: &'a Message,
    begun: Instant,
}

impl Engine {
    async fn due(&self, message: &Message, crowded: bool) -> Verdict {
        let retry = match serde_json::from_slice::<Retry>(&message.payload) {
            Ok(retry) => retry,
            Err(error) => return Verdict::Dead { reason: "unreadable", detail: error.to_string() },
        };
        let begun = Instant::now();
        match self.is_over(&retry, message, message.delivered > 1).await {
            Ok(false) => {}
            over => return verdict(over.map(drop)),
        }
        let refusals = message.header(header::REFUSALS).and_then(|count| count.parse().ok()).unwrap_or_default();
        let tries = Tries { attempt: retry.attempt.saturating_sub(1), refusals };
        let taken = Taken { retry: &retry, tries, message, begun };
        let Some(target) = self.target(&retry.endpoint_id) else {
            return match self.endpoints.known(&retry.endpoint_id).await {
                Ok(Known::Deleted) => verdict(self.end_retry(&retry, End::Dropped).await),
                Ok(Known::Live { .. }) => Verdict::Retry { after: UNKNOWN },
                // Another gateway's, or this one's database is the wrong one: nothing of it ends here.
                Ok(Known::Never) => {
                    let later = self.deps.clock.now() + jitter(PAUSED, &self.deps.random);
                    verdict(self.set_again(&taken, later).await)
                }
                Err(error) => {
                    warn!(error = %Chain(&error), endpoint = retry.endpoint_id, "push.unknown_endpoint");
                    Verdict::Retry { after: UNKNOWN }
                }
            };
        };
        verdict(self.due_for(&target, &taken, crowded).await)
    }

    /// Whether nothing is left to do: the event has come through, or another process, which may have been handed it,
    /// has settled it.
    async fn is_over(&self, retry: &Retry, message: &Message, shared: bool) -> Result<bool, Stopped> {
        Ok(shared && self.settled_timer(retry, message).await? || self.made_up(retry).await?)
    }

    async fn due_for(&self, target: &Target, taken: &Taken<'_>, crowded: bool) -> Result<(), Stopped> {
        let (now, retry) = (self.deps.clock.now(), taken.retry);
        if let (Some(replay), 1) = (&retry.replay, retry.attempt)
            && self.cancelled.has(&self.deps.broker, replay).await
        {
            return Ok(());
        }
        let Some(rules) = target.rules() else { return self.end_retry(retry, End::Dropped).await };
        match rules.live.endpoint.status {
            EndpointStatus::Disabled => return self.end_retry(retry, closing::disabling(target)).await,
            EndpointStatus::Paused => {
                return self.set_again(taken, now + jitter(PAUSED, &self.deps.random)).await;
            }
            EndpointStatus::Active => {}
        }
        let Some(waiting) = Place::of(&target.waiting, most(&rules, crowded)) else {
            return self.set_again(taken, target.book(&rules, now)).await;
        };
        let lane = if retry.replay.is_some() { Lane::Replay } else { Lane::Timer };
        let turn = self.turn(target, lane).await;
        drop(waiting);
        match turn {
            Turn::Go(go) => self.push_again(target, &go, taken).await,
            Turn::Later(at) => self.set_again(taken, at).await,
            // Its status has changed: it is looked at again. Or the gateway stops: to be handed out again would count, and
            // a timer has no other end than its push's.
            Turn::NotNow => self.set_again(taken, now).await,
        }
    }

    async fn push_again(&self, target: &Target, go: &Go, taken: &Taken<'_>) -> Result<(), Stopped> {
        let (retry, mut tries) = (taken.retry, taken.tries);
        let mut about = About::of_timer(retry);
        let Some(event) = self.event_of(retry).await? else {
            self.unprobe(target, go);
            if is_untried_repeat(retry) {
                debug!(endpoint = retry.endpoint_id, event = retry.event_id, "repeat.expired");
                return Ok(());
            }
            self.recall(&mut about).await?;
            return self.end(&about, PushOutcome::Expired, "expired").await;
        };
        about.learn(&event);
        if !about.is_wanted() && !endpoint::admits(&go.rules.live.endpoint.events, &about.kind) {
            self.unprobe(target, go);
            return self.end(&about, PushOutcome::Dropped, "filter-changed").await;
        }
        // Much may have happened since it was taken; the broker may have been away, and handed it to another process.
        if taken.begun.elapsed() >= LONG && self.is_over(retry, taken.message, true).await? {
            self.unprobe(target, go);
            return Ok(());
        }
        let push = Push { target, about: &about, event: &event, source: Source::of_timer(retry), holds: false };
        self.push(&push, go, &mut tries).await.map(drop)
    }

    /// Gives back the right to probe, which was not used.
    pub(super) fn unprobe(&self, target: &Target, go: &Go) {
        if go.probe {
            target.count(|breaker| breaker.unprobed(self.deps.clock.now()));
        }
    }

    /// Sets the timer again: no attempt was made, and none is recorded.
    async fn set_again(&self, taken: &Taken<'_>, at: i64) -> Result<(), Stopped> {
        let (about, source) = (About::of_timer(taken.retry), Source::of_timer(taken.retry));
        self.schedule(&about, &source, taken.tries, at, taken.message.sequence).await
    }

    /// Removes due messages that are acknowledged: nothing else ends them, because timers must not age.
    async fn sweep(&self) {
        let mut swept = 0;
        while self.stop.run_until_cancelled(sleep(SWEEP)).await.is_some() {
            let broker = &self.deps.broker;
            let Ok(info) = topology::consumer_info(broker, topology::GW_RETRY, topology::RETRY).await else { continue };
            let done = info.ack_floor.stream_sequence;
            if done <= swept {
                continue;
            }
            match durable::purge(broker, topology::GW_RETRY, subject::RETRIES_DUE, Some(done + 1)).await {
                Ok(()) => swept = done,
                Err(error) => warn!(error = %Chain(&error), "timers.not_swept"),
            }
        }
    }
}

fn verdict(done: Result<(), Stopped>) -> Verdict {
    match done {
        Ok(()) => Verdict::Done,
        Err(Stopped) => Verdict::Retry { after: UNKNOWN },
    }
}

/// How many timers of an endpoint may wait for its room: no more than it takes soon.
fn most(rules: &Rules, crowded: bool) -> usize {
    if crowded {
        return rules.slots.available_permits();
    }
    let (each, all) = WAITING;
    let rate = rules.live.endpoint.rate_per_second.and_then(|rate| usize::try_from(rate).ok()).unwrap_or(all);
    (usize::from(rules.room()) * each).min(rate).clamp(1, all)
}

/// A place among so many.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn of(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(taken);
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
