//! Where a reader begins.

use std::time::Duration;

use nats::topology::{self, GW_EVENT};

use super::{
    Feed,
    ask::{Ask, From},
};
use crate::Error;

/// The broker's clock and ours may differ by this, milliseconds.
const SLACK: i64 = 60_000;

impl Feed {
    /// The place that was asked for: what follows is behind it.
    pub(super) async fn place(&self, ask: &Ask) -> Result<u64, Error> {
        let stands = if let From::After(place) = ask.from { place } else { 0 };
        let info = nats::look(&self.broker, GW_EVENT, stands).await?;
        // The default is to give up the oldest when it is full.
        let by_age_alone = info.config.discard != Default::default() && !info.config.max_age.is_zero();
        let state = info.state;
        let gone = Gone {
            any: state.first_sequence > 1,
            first: (state.messages > 0).then(|| topology::first_stored_at(&state)),
            aged: by_age_alone.then(|| self.clock.now().saturating_sub(millis(info.config.max_age)) + SLACK),
        };
        match ask.from {
            From::Since(time) if gone.since(time) => Err(Error::Expired { first: state.first_sequence }),
            From::Since(time) => {
                let first = nats::first_since(&self.broker, GW_EVENT, time).await?;
                Ok(first.map_or(state.last_sequence, |first| first.saturating_sub(1)))
            }
            From::Now => Ok(state.last_sequence),
            From::First => Ok(state.first_sequence.saturating_sub(1)),
            From::After(place) if place.saturating_add(1) < state.first_sequence => {
                Err(Error::Expired { first: state.first_sequence })
            }
            From::After(place) if place > state.last_sequence => Err(Error::Unknown { last: state.last_sequence }),
            From::After(place) => Ok(place),
        }
    }
}

/// What a stream held once and holds no more.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// Whether there is any.
    any: bool,
    /// When the first message that it holds now was stored, milliseconds since the epoch; none where it holds none.
    first: Option<i64>,
    /// What was stored later has not reached its age; none where age is not all that ends a message.
    aged: Option<i64>,
}

impl Gone {
    /// Whether some of it may have been stored at or after a time.
    fn since(&self, time: i64) -> bool {
        self.any && self.first.is_none_or(|first| first > time) && self.aged.is_none_or(|aged| aged > time)
    }
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Gone = Gone { any: true, first: Some(1_000), aged: Some(100) };

    #[test]
    fn what_is_younger_than_the_retention_has_not_expired_though_the_first_event_is_later() {
        assert!(!GONE.since(100));
        assert!(!GONE.since(999));
    }

    #[test]
    fn what_may_have_been_stored_since_a_time_and_expired_is_told() {
        assert!(GONE.since(99));
        assert!(Gone { first: None, ..GONE }.since(99), "an empty stream");
        assert!(Gone { aged: None, ..GONE }.since(999), "a stream that gives up its oldest");
    }

    #[test]
    fn a_time_that_the_stream_reaches_back_to_is_complete() {
        assert!(!Gone { any: false, first: None, ..GONE }.since(0));
        assert!(!Gone { first: Some(50), ..GONE }.since(50));
        assert!(!Gone { aged: None, ..GONE }.since(1_000));
    }
}
