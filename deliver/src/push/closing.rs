//! What becomes of an endpoint's timers when it is disabled or deleted. All of it may be done twice: after a crash, or
//! by several processes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future;
use nats::{Error, Message, durable, topology};
use schemas::{
    attempt::{PushOutcome, Retry},
    cause::Chain,
    subject,
};
use tracing::{info, warn};

use super::{
    Engine,
    about::About,
    decide::Reason,
    record::{Stopped, is_untried_repeat},
    target::Target,
};

/// Timers that are ended at once.
const AT_ONCE: usize = 64;

/// How a push ends that waits for its time, or is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    /// As a dead letter, for this reason, which is put in words.
    Dead(Reason, &'a str),
    /// The endpoint is deleted.
    Dropped,
}

/// How the timers of an endpoint end that is disabled, for the reason that this process knows.
pub(super) fn disabling(target: &Target) -> End<'static> {
    let reason = if target.gone.load(Ordering::Relaxed) { Reason::Gone } else { Reason::Disabled };
    End::Dead(reason, "the endpoint was disabled while the push waited")
}

/// Turns the timers of a disabled endpoint into dead letters.
pub(super) async fn disabled(engine: &Engine, target: &Target) -> Result<(), Error> {
    walk(engine, &target.id, disabling(target)).await
}

/// Ends what is left of a deleted endpoint: its timers, then its consumers. Tried until it is done.
pub(super) async fn deleted(engine: &Arc<Engine>, endpoint: &str) {
    while let Err(error) = forget(engine, endpoint).await {
        warn!(error = %Chain(&error), endpoint, "endpoint.not_forgotten: it is tried again");
        let pause = tokio::time::sleep(Duration::from_secs(2));
        if engine.stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
    info!(endpoint, "endpoint.forgotten");
}

async fn forget(engine: &Engine, endpoint: &str) -> Result<(), Error> {
    walk(engine, endpoint, End::Dropped).await?;
    let broker = &engine.deps.broker;
    // The first consumer is the last to go: while it is there, an interrupted end is found and finished.
    durable::remove(broker, topology::GW_EVENT, &topology::history_of(endpoint)).await?;
    durable::remove(broker, topology::GW_EVENT, endpoint).await
}

async fn walk(engine: &Engine, endpoint: &str, end: End<'_>) -> Result<(), Error> {
    let (broker, filter) = (&engine.deps.broker, subject::retries_waiting_of(endpoint));
    let mut from = 1;
    loop {
        let mut timers: Vec<Message> = Vec::new();
        while timers.len() < AT_ONCE
            && let Some(timer) = nats::next_from(broker, topology::GW_RETRY, from, &filter).await?
        {
            from = timer.sequence + 1;
            timers.push(timer);
        }
        if timers.is_empty() {
            return Ok(());
        }
        let ended = future::join_all(timers.iter().map(|timer| engine.end_timer(timer, end))).await;
        if ended.iter().any(Result::is_err) {
            return Ok(());
        }
        durable::purge(broker, topology::GW_RETRY, &filter, Some(from)).await?;
    }
}

impl Engine {
    async fn end_timer(&self, timer: &Message, end: End<'_>) -> Result<(), Stopped> {
        match serde_json::from_slice::<Retry>(&timer.payload) {
            Ok(retry) => self.end_retry(&retry, end).await,
            Err(error) => {
                warn!(%error, sequence = timer.sequence, "timer.unreadable");
                Ok(())
            }
        }
    }

    /// Ends a push that waits for its time, or is due. One that a replay asked for, and that was not tried, is not made:
    /// what became of the event before stands. So it does where the event has come through.
    pub(super) async fn end_retry(&self, retry: &Retry, end: End<'_>) -> Result<(), Stopped> {
        if is_untried_repeat(retry) || self.made_up(retry).await? {
            return Ok(());
        }
        let mut about = About::of_timer(retry);
        let event = self.event_of(retry).await?;
        match &event {
            Some(event) => about.learn(event),
            None => self.recall(&mut about).await?,
        }
        match (end, event) {
            (End::Dropped, _) => self.end(&about, PushOutcome::Dropped, "deleted").await,
            (End::Dead(reason, detail), Some(event)) => {
                self.give_up(&about, &event, retry.attempt.saturating_sub(1), reason, detail).await
            }
            (End::Dead(..), None) => self.end(&about, PushOutcome::Expired, "expired").await,
        }
    }

    /// The event of a push, or none where its stream has given it up, or has another's in its place. Asked until there is
    /// an answer. Where a dead letter was removed, its event may still be among the events.
    pub(super) async fn event_of(&self, retry: &Retry) -> Result<Option<Message>, Stopped> {
        let about = About::of_timer(retry);
        let event = (topology::GW_EVENT, retry.event_sequence);
        let places = match retry.stream == topology::GW_DLQ {
            true => vec![(topology::GW_DLQ, retry.sequence), event],
            false => vec![event],
        };
        let mut places = places.into_iter().peekable();
        while let Some((stream, sequence)) = places.peek().copied() {
            match nats::get(&self.deps.broker, stream, sequence).await {
                Ok(Some(event)) if about.is_of(&event) => return Ok(Some(event)),
                Ok(_gone) => {
                    places.next();
                    continue;
                }
                Err(error) => warn!(error = %Chain(&error), endpoint = retry.endpoint_id, "push.no_event"),
            }
            let pause = tokio::time::sleep(Duration::from_secs(1));
            self.stop.run_until_cancelled(pause).await.ok_or(Stopped)?;
        }
        Ok(None)
    }
}
