//! What is known of a push that is handed out again. A process that ended between its last write and the
//! acknowledgement has settled it: then what it left lying is removed, and no request is repeated.

use nats::{Message, topology};
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    cause::Chain,
    subject,
};
use tokio::time::sleep;
use tracing::debug;

use super::{
    Engine, PAUSE,
    about::About,
    decide::Tries,
    record::{Stopped, waiting_place},
};

impl Engine {
    /// The last step of a push, and when it was stored.
    pub(super) async fn last_step(&self, about: &About) -> Result<Option<(Attempt, i64)>, Stopped> {
        let place = subject::attempt(&about.org, &about.endpoint, &about.event);
        let last = self.last(topology::GW_ATTEMPT, &place).await?;
        Ok(last.and_then(|last| Some((serde_json::from_slice(&last.payload).ok()?, last.stored_at))))
    }

    /// Requests that an ordered event had when it was handed out before: it goes on where it stood. A broker that was
    /// started again may call this the first time.
    pub(super) async fn tried(&self, about: &About) -> Result<Tries, Stopped> {
        Ok(match self.last_step(about).await? {
            Some((last, _)) if last.outcome == PushOutcome::Held && is_of(&last, about) => {
                Tries { attempt: last.attempt, ..Tries::NONE }
            }
            _ => Tries::NONE,
        })
    }

    /// Whether an event that may have been in other hands was settled there: it has ended, or has its timer.
    pub(super) async fn settled_event(&self, about: &About) -> Result<bool, Stopped> {
        let last = self.last_step(about).await?.filter(|(last, _)| is_of(last, about));
        let Some((last, _)) = last else { return Ok(false) };
        Ok(match last.outcome {
            PushOutcome::Scheduled => {
                let places = [subject::retry_wait(&about.endpoint, &about.event), due_place(about)];
                self.has_timer(&places, 0, |timer| timer.replay == about.replay).await?
            }
            outcome if outcome.ends() => {
                self.clear(about, &last).await;
                true
            }
            _ => false,
        })
    }

    /// Whether the event of a push that only makes up for a failure has come through by another way since: then nothing is
    /// left to do, and its letter goes.
    pub(super) async fn made_up(&self, retry: &Retry) -> Result<bool, Stopped> {
        if retry.replay.is_some() && !retry.only_failed {
            return Ok(false);
        }
        let about = About::of_timer(retry);
        let last = self.last_step(&about).await?;
        if !last.is_some_and(|(last, _)| last.outcome == PushOutcome::Delivered && last.sequence == about.sequence) {
            return Ok(false);
        }
        if let Some(letter) = about.letter {
            self.discard(&about, letter).await;
        }
        Ok(true)
    }

    /// Whether a due push that may have been in other hands was settled there: its request was recorded, or it was set
    /// again.
    pub(super) async fn settled_timer(&self, retry: &Retry, due: &Message) -> Result<bool, Stopped> {
        let about = About::of_timer(retry);
        let next = subject::retry_wait(&about.endpoint, &about.event);
        let places = [next, waiting_place(retry), due_place(&about)];
        if self.has_timer(&places, due.sequence, |later| goes_on(later, retry)).await? {
            return Ok(true);
        }
        // An end without a request counts no attempt.
        let recorded = |last: &Attempt, stored_at| {
            (last.attempt == 0 || last.attempt >= retry.attempt) && stored_at >= due.stored_at
        };
        Ok(match self.last_step(&about).await? {
            Some((last, stored_at)) if recorded(&last, stored_at) && is_of(&last, &about) && last.outcome.ends() => {
                self.clear(&about, &last).await;
                true
            }
            _ => false,
        })
    }

    /// Removes what follows the last step of a push that has ended: its dead letter, and its timer. Its process may have
    /// ended before it did.
    async fn clear(&self, about: &About, last: &Attempt) {
        if let Some(letter) = about.letter {
            self.discard(about, letter).await;
        }
        if last.attempt > 1 || !about.is_wanted() || last.outcome == PushOutcome::Delivered {
            self.forget_timer(about).await;
        }
    }

    /// Whether such a timer stands at one of these places, behind this one in `GW_RETRY`.
    async fn has_timer(&self, places: &[String], behind: u64, is_it: impl Fn(&Retry) -> bool) -> Result<bool, Stopped> {
        for place in places {
            let found = self.last(topology::GW_RETRY, place).await?.filter(|found| found.sequence > behind);
            let found = found.and_then(|found| serde_json::from_slice::<Retry>(&found.payload).ok());
            if found.is_some_and(|timer| is_it(&timer)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asked until there is an answer: while the broker is away another process may settle what is in hand here.
    async fn last(&self, stream: &'static str, subject: &str) -> Result<Option<Message>, Stopped> {
        loop {
            match nats::last(&self.deps.broker, stream, subject).await {
                Ok(last) => return Ok(last),
                Err(error) => debug!(error = %Chain(&error), subject, "push.unknown_past"),
            }
            self.stop.run_until_cancelled(sleep(PAUSE)).await.ok_or(Stopped)?;
        }
    }
}

fn due_place(about: &About) -> String {
    subject::retry_due(&about.endpoint, &about.event)
}

/// Whether a step is of this run of a push. An id may come again when its first event has expired: its steps outlive it.
fn is_of(step: &Attempt, about: &About) -> bool {
    let run = (about.sequence, &about.replay, about.letter);
    (step.sequence, &step.replay, step.letter) == run
}

/// Whether a timer is of the same run of a push, and no earlier.
fn goes_on(later: &Retry, retry: &Retry) -> bool {
    let run = |retry: &Retry| (retry.replay.clone(), retry.stream.clone(), retry.sequence);
    run(later) == run(retry) && later.attempt >= retry.attempt
}
