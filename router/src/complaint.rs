//! Trouble that many lanes have at once is said now and then, with how often it was not said.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(10);

/// When it was said last.
#[derive(Debug, Default)]
pub(crate) struct Complaint(Mutex<(Option<Instant>, u64)>);

impl Complaint {
    /// How often it was not said since the last time; none while it is not yet time to say it again.
    pub(crate) fn due(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, unsaid) = *state;
        if said.is_some_and(|said| said.elapsed() < PAUSE) {
            state.1 += 1;
            return None;
        }
        *state = (Some(Instant::now()), 0);
        Some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_said_and_those_of_the_next_seconds_are_counted() {
        let complaint = Complaint::default();
        assert_eq!(complaint.due(), Some(0));
        assert_eq!((complaint.due(), complaint.due()), (None, None));
        tokio::time::advance(PAUSE).await;
        assert_eq!(complaint.due(), Some(2));
        assert_eq!(complaint.due(), None);
    }
}
