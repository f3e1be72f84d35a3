//! One request, and what follows from how it ended.

use std::{sync::atomic::Ordering, time::Duration};

use nats::{Message, durable, topology};
use prometheus_client::metrics::gauge::Gauge;
use schemas::{
    attempt::{Attempt, PushOutcome},
    cause::Chain,
    endpoint::EndpointStatus,
    subject,
};
use tracing::warn;

use super::{
    Engine,
    about::{About, Source},
    client::{Ending, Failure},
    decide::{self, Kind, Next, Reason, Tries},
    record::Stopped,
    request,
    target::Target,
    turn::Go,
};

/// An event on its way to an endpoint.
#[derive(Debug)]
pub(super) struct Push<'a> {
    pub(super) target: &'a Target,
    pub(super) about: &'a About,
    pub(super) event: &'a Message,
    pub(super) source: Source,
    /// Whether it keeps its place in the order until it succeeds.
    pub(super) holds: bool,
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
    /// Makes one request and writes what follows.
    pub(super) async fn push(&self, push: &Push<'_>, go: &Go, tries: &mut Tries) -> Result<After, Stopped> {
        let made = self.request(push, go).await;
        let (endpoint, kind) = (&go.rules.live.endpoint, made.ending.kind());
        *tries = tries.and(kind);
        let (now, random) = (self.deps.clock.now(), &self.deps.random);
        if !endpoint.ordered {
            push.target.count(|breaker| match kind {
                Kind::Success => breaker.succeeded(),
                _ => breaker.failed(go.probe, now, random),
            });
        }
        let mut next = decide::next(endpoint, *tries, &made.ending, push.holds, now, random);
        if next == Next::Dead(Reason::Gone) && !self.disable(push.target, go.rules.live.version).await? {
            // It was changed while the request was under way: gone may be what it was before.
            next = decide::after(endpoint, *tries, Kind::Failure, push.holds, now, random);
        }
        let delivered = next == Next::Delivered;
        match next {
            Next::Delivered => self.step(push, *tries, &made, PushOutcome::Delivered, |_| {}).await?,
            Next::Again(at) if push.holds => {
                self.step(push, *tries, &made, PushOutcome::Held, |attempt| attempt.next_at = Some(at)).await?;
                return Ok(After::Hold(at));
            }
            Next::Again(at) => return self.again(push, *tries, &made, at).await,
            Next::Dead(reason) => self.die(push, *tries, &made, reason).await?,
        }
        // A crash may have left a timer of a push that has ended now. What was asked for and came through has ended the
        // event's own push as well.
        if tries.attempt > 1 || push.event.delivered > 1 || (delivered && push.about.is_wanted()) {
            self.forget_timer(push.about).await;
        }
        Ok(After::Ended)
    }

    async fn request(&self, push: &Push<'_>, go: &Go) -> Made {
        let at = self.deps.clock.now();
        let _in_flight = Counted::of(&self.metrics.in_flight);
        let Some(request) = request::write(&go.rules.live, push.event, &push.about.event, at) else {
            return Made { ending: Ending::Failed(Failure::Blocked), latency: Duration::ZERO, at };
        };
        let (ending, latency) = self.client.send(request, go.rules.timeout(), at).await;
        push.target.took(latency);
        self.metrics.latency.observe(latency.as_secs_f64());
        Made { ending, latency, at }
    }

    /// A failed push gets a timer, unless its endpoint has ended meanwhile.
    async fn again(&self, push: &Push<'_>, tries: Tries, made: &Made, at: i64) -> Result<After, Stopped> {
        match push.target.rules().map(|rules| rules.live.endpoint.status) {
            None => {
                let deleted = |attempt: &mut Attempt| attempt.reason = Some("deleted".to_owned());
                self.step(push, tries, made, PushOutcome::Dropped, deleted).await?;
            }
            Some(EndpointStatus::Disabled) => self.die(push, tries, made, Reason::Disabled).await?,
            Some(EndpointStatus::Active | EndpointStatus::Paused) => {
                self.schedule(push.about, &push.source, tries, at, 0).await?;
                let due = |attempt: &mut Attempt| attempt.next_at = Some(at);
                self.step(push, tries, made, PushOutcome::Scheduled, due).await?;
            }
        }
        Ok(After::Ended)
    }

    /// The letter first, then the record of it.
    async fn die(&self, push: &Push<'_>, tries: Tries, made: &Made, reason: Reason) -> Result<(), Stopped> {
        self.bury(push.about, push.event, tries.attempt, reason, &made.detail()).await?;
        let dead = |attempt: &mut Attempt| attempt.reason = Some(reason.as_str().to_owned());
        self.step(push, tries, made, PushOutcome::Dead, dead).await
    }

    /// Stores and counts a step that a request led to.
    async fn step(
        &self,
        push: &Push<'_>,
        tries: Tries,
        made: &Made,
        outcome: PushOutcome,
        fill: impl FnOnce(&mut Attempt),
    ) -> Result<(), Stopped> {
        self.metrics.attempted(outcome, made.ending.class());
        self.record(push.about, outcome, made.at, |attempt| {
            attempt.attempt = tries.attempt;
            made.fill(attempt);
            fill(attempt);
        })
        .await
    }

    /// The receiver said that it is gone for good, to a request of this version of the endpoint. Tells whether the
    /// endpoint is disabled now: one that was changed meanwhile is not.
    async fn disable(&self, target: &Target, version: i64) -> Result<bool, Stopped> {
        target.gone.store(true, Ordering::Relaxed);
        loop {
            match self.endpoints.disable(&target.id, version, Reason::Gone.as_str()).await {
                Ok(disabled) => {
                    target.gone.store(disabled, Ordering::Relaxed);
                    return Ok(disabled);
                }
                Err(error) => warn!(error = %Chain(&error), endpoint = target.id, "endpoint.not_disabled"),
            }
            let pause = tokio::time::sleep(Duration::from_secs(1));
            self.stop.run_until_cancelled(pause).await.ok_or(Stopped)?;
        }
    }

    pub(super) async fn forget_timer(&self, about: &About) {
        let subject = subject::retry_wait(&about.endpoint, &about.event);
        if let Err(error) = durable::purge(&self.deps.broker, topology::GW_RETRY, &subject, None).await {
            warn!(error = %Chain(&error), endpoint = about.endpoint, "push.timer_left");
        }
    }
}

impl Made {
    fn fill(&self, attempt: &mut Attempt) {
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
