//! Replays that were cancelled: a push of theirs that is due and was never tried is not made.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nats::{Broker, job::Jobs};
use schemas::replay::{Replay, Status};
use tokio::time::Instant;

/// How long an answer holds: so late may a cancellation be noticed.
const HOLDS: Duration = Duration::from_secs(1);
/// Answers that are kept.
const MOST: usize = 1_000;

/// Which replays were cancelled, as far as somebody asked.
#[derive(Debug, Default)]
pub(super) struct Cancelled(Mutex<HashMap<String, (Instant, bool)>>);

impl Cancelled {
    /// Whether a replay was cancelled. While the broker cannot tell, it was not.
    pub(super) async fn has(&self, broker: &Broker, replay: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(replay).copied();
        if let Some((asked, cancelled)) = known
            && asked.elapsed() < HOLDS
        {
            return cancelled;
        }
        let held = Jobs::new(broker).load::<Replay>(replay).await.ok().flatten();
        let cancelled = held.is_some_and(|held| held.state.status == Status::Cancelled);
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(replay.to_owned(), (Instant::now(), cancelled));
        cancelled
    }
}
