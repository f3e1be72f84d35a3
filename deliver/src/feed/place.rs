//! Where a reader begins.

use nats::topology::{self, GW_EVENT};

use super::{
    Feed,
    ask::{Ask, From},
};
use crate::Error;

impl Feed {
    /// The place that was asked for: what follows is behind it.
    pub(super) async fn place(&self, ask: &Ask) -> Result<u64, Error> {
        let state = topology::stream_info(&self.broker, GW_EVENT).await?.state;
        match ask.from {
            From::Since(time) if state.first_sequence > 1 && topology::first_stored_at(&state) > time => {
                Err(Error::Expired { first: state.first_sequence })
            }
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
