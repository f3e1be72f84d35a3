//! What is written of a push: attempts, timers, dead letters. Each is tried until it is stored: a request that was
//! made must not be made again because of it.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use nats::{Message, Outgoing, PublishError, Stored, Timer, topology};
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    cause::Chain,
    header::{self, Headers},
    letter, subject,
};
use tokio::time::Instant;
use tracing::warn;

use super::{
    Engine,
    about::{About, Source},
    decide::{Reason, Tries},
};

/// How long one try to store may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

/// The gateway stops before it could be stored; the broker hands out again what led to it.
#[derive(Debug)]
pub(super) struct Stopped;

impl Engine {
    /// Stores a step of a push.
    pub(super) async fn record(
        &self,
        about: &About,
        outcome: PushOutcome,
        at: i64,
        fill: impl FnOnce(&mut Attempt),
    ) -> Result<(), Stopped> {
        let mut attempt = about.attempt(outcome, at);
        fill(&mut attempt);
        let mut id = format!("{}:{}:{}:{}", about.endpoint, about.event, attempt.attempt, outcome.as_str());
        if let Some(run) = about.run() {
            id = format!("{id}:{run}");
        }
        let Ok(body) = serde_json::to_vec(&attempt) else { return Ok(()) };
        let message = Outgoing {
            subject: subject::attempt(&about.org, &about.endpoint, &about.event),
            id,
            payload: body.into(),
            ..Outgoing::default()
        };
        self.keep("an attempt", || self.deps.attempts.publish(message.clone(), Instant::now() + PATIENCE)).await?;
        if let Some(letter) = about.letter.filter(|_| outcome.ends()) {
            self.discard(about, letter).await;
        }
        Ok(())
    }

    /// Removes a dead letter that was sent back, once it has ended again: until then it holds the event.
    pub(super) async fn discard(&self, about: &About, letter: u64) {
        let broker = &self.deps.broker;
        let removed = match nats::get(broker, topology::GW_DLQ, letter).await {
            Ok(Some(found)) if about.is_of(&found) => nats::delete(broker, topology::GW_DLQ, letter).await,
            found => found.map(drop),
        };
        if let Err(error) = removed {
            warn!(error = %Chain(&error), letter, "letter.not_removed");
        }
    }

    /// Sets the timer of a push; it takes the place of the one before. `after`: the due message that it follows, 0 for
    /// none. Two of them may want the same time.
    pub(super) async fn schedule(
        &self,
        about: &About,
        source: &Source,
        tries: Tries,
        at: i64,
        after: u64,
    ) -> Result<(), Stopped> {
        let retry = Retry {
            org_id: about.org.clone(),
            endpoint_id: about.endpoint.clone(),
            event_id: about.event.clone(),
            stream: source.stream.clone(),
            sequence: source.sequence,
            event_sequence: about.sequence,
            attempt: tries.attempt + 1,
            replay: about.replay.clone(),
            only_failed: about.only_failed,
        };
        let Ok(body) = serde_json::to_vec(&retry) else { return Ok(()) };
        let mut headers = Headers::new();
        if tries.refusals > 0 {
            headers.push((header::REFUSALS.to_owned(), tries.refusals.to_string()));
        }
        let run = about.run().unwrap_or_default();
        let message = Outgoing {
            subject: waiting_place(&retry),
            id: format!("retry:{}:{}:{run}:{}:{at}:{after}", about.endpoint, about.event, retry.attempt),
            headers,
            payload: body.into(),
            timer: Some(Timer { at, target: subject::retry_due(&about.endpoint, &about.event) }),
            ..Outgoing::default()
        };
        self.keep("a timer", || self.deps.timers.publish(message.clone(), Instant::now() + PATIENCE)).await
    }

    /// Keeps an event whole, with the reason why it is pushed no more.
    pub(super) async fn bury(
        &self,
        about: &About,
        event: &Message,
        attempts: u32,
        reason: Reason,
        detail: &str,
    ) -> Result<(), Stopped> {
        let original = event.header(header::DLQ_SUBJECT).map_or_else(|| event.subject.clone(), header::decode);
        let mut headers = event.header_list();
        letter::revive(&mut headers);
        // It may be of a replay before: what died now says its own.
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header::REPLAY));
        let mut put = |name: &str, value: &str| headers.push((name.to_owned(), header::encode(value)));
        put(header::DLQ_REASON, reason.as_str());
        put(header::DLQ_DETAIL, detail);
        put(header::DLQ_STREAM, topology::GW_EVENT);
        put(header::DLQ_SEQUENCE, &about.sequence.to_string());
        put(header::DLQ_SUBJECT, &original);
        put(header::ENDPOINT, &about.endpoint);
        put(header::ATTEMPT, &attempts.to_string());
        if let Some(replay) = &about.replay {
            put(header::REPLAY, replay);
        }
        let run = about.run().unwrap_or_else(|| about.sequence.to_string());
        let buried = Outgoing {
            subject: subject::dead(letter::ENDPOINT, reason.as_str()),
            id: format!("dlq:{}:{}:{}:{run}", letter::ENDPOINT, about.endpoint, about.event),
            headers,
            payload: event.payload.clone(),
            ..Outgoing::default()
        };
        self.keep("a dead letter", || self.deps.dead.publish(buried.clone(), Instant::now() + PATIENCE)).await?;
        self.metrics.died(reason.as_str());
        warn!(endpoint = about.endpoint, event = about.event, reason = reason.as_str(), detail, "push.dead");
        Ok(())
    }

    /// Makes a dead letter of a push without another request.
    pub(super) async fn give_up(
        &self,
        about: &About,
        event: &Message,
        attempts: u32,
        reason: Reason,
        detail: &str,
    ) -> Result<(), Stopped> {
        self.bury(about, event, attempts, reason, detail).await?;
        self.end(about, PushOutcome::Dead, reason.as_str()).await
    }

    /// Ends a push that is not made: dead, dropped or expired.
    pub(super) async fn end(&self, about: &About, outcome: PushOutcome, reason: &str) -> Result<(), Stopped> {
        let now = self.deps.clock.now();
        self.record(about, outcome, now, |attempt| attempt.reason = Some(reason.to_owned())).await
    }

    /// What the last step of a push said of it, for one whose event is gone.
    pub(super) async fn recall(&self, about: &mut About) -> Result<(), Stopped> {
        let Some((last, _)) = self.last_step(about).await? else { return Ok(()) };
        (about.provider, about.delivery, about.kind) = (last.provider, last.delivery_id, last.kind);
        about.payload_ref = last.payload_ref;
        Ok(())
    }

    /// Stores until it is stored, or until the gateway stops and the broker does not answer.
    async fn keep<F: Future<Output = Result<Stored, PublishError>>>(
        &self,
        what: &'static str,
        publish: impl Fn() -> F,
    ) -> Result<(), Stopped> {
        loop {
            let Err(error) = publish().await else { return Ok(()) };
            warn!(%error, what, "push.not_stored: it is tried again");
            if self.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return Err(Stopped);
            }
        }
    }
}

/// Where the timer of a push stands. One that a replay asked for, and that was not tried yet, takes no other's place:
/// the replay may be cancelled.
pub(super) fn waiting_place(retry: &Retry) -> String {
    match &retry.replay {
        Some(replay) if is_untried_repeat(retry) => subject::repeat_wait(&retry.endpoint_id, &retry.event_id, replay),
        _ => subject::retry_wait(&retry.endpoint_id, &retry.event_id),
    }
}

/// Whether a replay asked for the push, and nothing was tried: what is recorded of the event's own push stands.
pub(super) fn is_untried_repeat(retry: &Retry) -> bool {
    retry.replay.is_some() && retry.attempt == 1
}

/// A message of nothing but its id.
pub(super) fn token(subject: String) -> Outgoing {
    Outgoing { id: subject.clone(), subject, payload: Bytes::new(), once: true, ..Outgoing::default() }
}
