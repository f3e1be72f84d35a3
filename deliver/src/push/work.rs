//! One push, from the event to how it ended.
//!
//! Nothing is acknowledged before what became of it is stored; the order of the writes makes a crash at any point
//! repeat at most this one request, with the same `webhook-id`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nats::{Message, durable, topology};
use prometheus_client::metrics::gauge::Gauge;
use schemas::{
    attempt::{Attempt, PushOutcome},
    endpoint::{self, EndpointStatus},
    subject,
};
use tracing::{debug, warn};

use super::{
    Engine,
    client::Ending,
    decide::{self, Kind, Next, Reason, Tries},
    record::{About, Source, Stopped},
    request,
    target::{Rules, Target},
    turn::{Go, Lane, Turn},
};

/// An event handed out this often was in the hands of as many processes that ended before it was settled.
const WORN: u64 = 32;
/// Tries to acknowledge.
const ACKS: usize = 3;

/// What is to be done with the message of a push.
enum Done {
    /// It is settled, and acknowledged.
    Settled,
    /// It goes back: the endpoint is not active, or the gateway stops.
    Back,
}

/// A request that ended.
struct Made {
    ending: Ending,
    latency: Duration,
    at: i64,
}

/// What follows for an event that was pushed.
pub(super) enum After {
    /// It is settled.
    Ended,
    /// It keeps its place until this time, milliseconds since the epoch.
    Hold(i64),
}

impl Engine {
    /// Pushes an event that its consumer handed out, and settles it.
    pub(super) async fn consumed(self: Arc<Self>, target: Arc<Target>, event: Message, lane: Lane) {
        let live = (lane == Lane::Live).then(|| Held::of(target.clone()));
        let broker = &self.deps.broker;
        match nats::keep_alive(broker, &event, self.consume(&target, &event, lane)).await {
            Ok(Done::Settled) => self.acknowledge(&event).await,
            Ok(Done::Back) => nats::give_back(broker, &event).await,
            // What was not stored is told again by whoever gets the event next.
            Err(Stopped) => debug!(sequence = event.sequence, "push.unsettled"),
        }
        drop(live);
    }

    async fn consume(&self, target: &Target, event: &Message, lane: Lane) -> Result<Done, Stopped> {
        let Some(rules) = target.rules() else { return Ok(Done::Back) };
        let wishes = &rules.live.endpoint;
        let about = About::of_event(&wishes.org_id, &target.id, event);
        if !endpoint::admits(&wishes.events, about.kind()) {
            return Ok(Done::Settled);
        }
        if event.delivered >= WORN && !wishes.ordered {
            let detail = format!("handed out {} times and never settled", event.delivered);
            self.die(&about, event, 0, Reason::Exhausted, &detail, |_| {}).await?;
            return Ok(Done::Settled);
        }
        let mut tries = Tries::NONE;
        loop {
            let Turn::Go(go) = self.turn(target, lane).await else { return Ok(Done::Back) };
            let source = Source::of_event(event);
            match self.push(target, &go, &about, event, &source, &mut tries, go.rules.live.endpoint.ordered).await? {
                After::Ended => return Ok(Done::Settled),
                After::Hold(until) => self.hold(target, &go.rules, until).await,
            }
        }
    }

    /// Makes one request and writes what follows.
    #[expect(clippy::too_many_arguments, reason = "a push is all of these")]
    pub(super) async fn push(
        &self,
        target: &Target,
        go: &Go,
        about: &About,
        event: &Message,
        source: &Source,
        tries: &mut Tries,
        holds: bool,
    ) -> Result<After, Stopped> {
        let made = self.request(target, go, about, event).await;
        let (kind, endpoint) = (made.ending.kind(), &go.rules.live.endpoint);
        *tries = tries.and(kind);
        if !endpoint.ordered {
            let (now, random) = (self.deps.clock.now(), &self.deps.random);
            target.count(|breaker| match kind {
                Kind::Success => breaker.succeeded(),
                _ => breaker.failed(go.probe, now, random),
            });
        }
        let (now, random) = (self.deps.clock.now(), &self.deps.random);
        let next = decide::next(endpoint, *tries, &made.ending, holds, now, random);
        let fill = |attempt: &mut Attempt| made.fill(tries.attempt, attempt);
        match next {
            Next::Delivered => {
                self.step(about, PushOutcome::Delivered, &made, fill).await?;
                if tries.attempt > 1 || event.delivered > 1 || source.stream != topology::GW_EVENT {
                    self.forget_timer(about).await;
                }
                Ok(After::Ended)
            }
            Next::Again(at) if holds => {
                self.step(about, PushOutcome::Held, &made, |attempt| {
                    fill(attempt);
                    attempt.next_at = Some(at);
                })
                .await?;
                Ok(After::Hold(at))
            }
            Next::Again(at) => self.again(target, about, event, source, *tries, &made, at).await,
            Next::Dead(reason) => {
                if reason == Reason::Gone {
                    self.disable(target).await?;
                }
                let detail = made.detail();
                self.die(about, event, tries.attempt, reason, &detail, fill).await?;
                self.metrics.attempted(PushOutcome::Dead, made.ending.class());
                Ok(After::Ended)
            }
        }
    }

    async fn request(&self, target: &Target, go: &Go, about: &About, event: &Message) -> Made {
        let at = self.deps.clock.now();
        let _in_flight = Counted::of(&self.metrics.in_flight);
        let Some(request) = request::write(&go.rules.live, event, &about.event, at) else {
            return Made { ending: Ending::Failed(super::client::Failure::Blocked), latency: Duration::ZERO, at };
        };
        let (ending, latency) = self.client.send(request, go.rules.timeout(), at).await;
        target.took(latency);
        self.metrics.latency.observe(latency.as_secs_f64());
        Made { ending, latency, at }
    }

    /// A failed push gets a timer, unless its endpoint has ended meanwhile.
    #[expect(clippy::too_many_arguments, reason = "a push is all of these")]
    async fn again(
        &self,
        target: &Target,
        about: &About,
        event: &Message,
        source: &Source,
        tries: Tries,
        made: &Made,
        at: i64,
    ) -> Result<After, Stopped> {
        let fill = |attempt: &mut Attempt| made.fill(tries.attempt, attempt);
        match target.rules().map(|rules| rules.live.endpoint.status) {
            None => {
                self.step(about, PushOutcome::Dropped, made, |attempt| {
                    fill(attempt);
                    attempt.reason = Some("deleted".to_owned());
                })
                .await?;
            }
            Some(EndpointStatus::Disabled) => {
                self.die(about, event, tries.attempt, Reason::Disabled, &made.detail(), fill).await?;
                self.metrics.attempted(PushOutcome::Dead, made.ending.class());
            }
            Some(EndpointStatus::Active | EndpointStatus::Paused) => {
                self.schedule(about, source, tries, at).await?;
                self.step(about, PushOutcome::Scheduled, made, |attempt| {
                    fill(attempt);
                    attempt.next_at = Some(at);
                })
                .await?;
            }
        }
        Ok(After::Ended)
    }

    /// Stores and counts a step that a request led to.
    async fn step(
        &self,
        about: &About,
        outcome: PushOutcome,
        made: &Made,
        fill: impl FnOnce(&mut Attempt),
    ) -> Result<(), Stopped> {
        self.metrics.attempted(outcome, made.ending.class());
        self.record(about, outcome, made.at, fill).await
    }

    /// The letter first, then the record of it.
    pub(super) async fn die(
        &self,
        about: &About,
        event: &Message,
        attempts: u32,
        reason: Reason,
        detail: &str,
        fill: impl FnOnce(&mut Attempt),
    ) -> Result<(), Stopped> {
        self.bury(about, event, attempts, reason, detail).await?;
        self.record(about, PushOutcome::Dead, self.deps.clock.now(), |attempt| {
            fill(attempt);
            attempt.reason = Some(reason.as_str().to_owned());
        })
        .await
    }

    /// The receiver said that it is gone for good.
    async fn disable(&self, target: &Target) -> Result<(), Stopped> {
        target.gone.store(true, Ordering::Relaxed);
        while let Err(error) = self.endpoints.disable(&target.id, Reason::Gone.as_str()).await {
            warn!(error = %schemas::cause::Chain(&error), endpoint = target.id, "endpoint.not_disabled");
            let pause = tokio::time::sleep(Duration::from_secs(1));
            self.stop.run_until_cancelled(pause).await.ok_or(Stopped)?;
        }
        Ok(())
    }

    /// A crash may have left a timer of a push that has now succeeded.
    async fn forget_timer(&self, about: &About) {
        let subject = subject::retry_wait(&about.endpoint, &about.event);
        if let Err(error) = durable::purge(&self.deps.broker, topology::GW_RETRY, &subject, None).await {
            warn!(error = %schemas::cause::Chain(&error), endpoint = about.endpoint, "push.timer_left");
        }
    }

    /// Keeps the place of an event until its time. A change of the endpoint ends the wait: it may have mended it.
    async fn hold(&self, target: &Target, rules: &Arc<Rules>, until: i64) {
        let mut changes = target.watch_rules();
        let changed = changes.borrow_and_update().as_ref().is_none_or(|now| !Arc::ptr_eq(now, rules));
        let pause = u64::try_from(until - self.deps.clock.now()).unwrap_or_default();
        if changed {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
            _ = changes.changed() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// A lost acknowledgement would repeat the request.
    async fn acknowledge(&self, event: &Message) {
        for _ in 0..ACKS {
            match nats::acknowledge(&self.deps.broker, event).await {
                Ok(()) => return,
                Err(error) => debug!(error = %schemas::cause::Chain(&error), sequence = event.sequence, "push.ack"),
            }
        }
    }
}

impl Made {
    fn fill(&self, attempt_number: u32, attempt: &mut Attempt) {
        attempt.attempt = attempt_number;
        attempt.latency_ms = u64::try_from(self.latency.as_millis()).ok();
        attempt.error_class = self.ending.class().map(str::to_owned);
        if let Ending::Answered { status, .. } = self.ending {
            attempt.status_code = Some(status);
        }
    }

    /// For a person.
    fn detail(&self) -> String {
        match &self.ending {
            Ending::Answered { status, .. } => format!("the receiver answered {status}"),
            Ending::Failed(failure) => format!("no answer: {}", failure.as_str()),
        }
    }
}

/// A gauge that is one higher while this lives.
struct Counted(Gauge);

impl Counted {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A live event in hand.
struct Held(Arc<Target>);

impl Held {
    fn of(target: Arc<Target>) -> Self {
        target.live_held.fetch_add(1, Ordering::Relaxed);
        Self(target)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.live_held.fetch_sub(1, Ordering::Relaxed);
    }
}
