//! What a stream holds, and what it has rightly given up.

use nats::{Broker, Error, topology};

/// The broker's clock and ours may differ by this, milliseconds.
const SLACK: i64 = 60_000;
/// A stream with less room than this is full: the largest message and what belongs to it.
const ROOM: i64 = 2 << 20;

/// A stream's state at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// When it was made, nanoseconds since the epoch: tells it from another of its name.
    pub(crate) made: i64,
    /// How long it keeps messages, milliseconds; 0 is for ever.
    max_age: i64,
    /// Whether it gives up its oldest for want of room.
    pub(crate) full: bool,
}

impl Extent {
    pub(crate) async fn ask(broker: &Broker, stream: &str) -> Result<Self, Error> {
        let info = topology::stream_info(broker, stream).await?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (bytes, most) = (number(info.state.bytes), info.config.max_bytes);
        Ok(Self {
            first: number(info.state.first_sequence),
            last: number(info.state.last_sequence),
            made: topology::made(&info),
            max_age: i64::try_from(info.config.max_age.as_millis()).unwrap_or_default(),
            full: most > 0 && bytes + ROOM > most,
        })
    }

    /// When it was made, milliseconds since the epoch. What is older was in another stream of its name.
    pub(crate) fn made_at(&self) -> i64 {
        self.made / 1_000_000
    }

    /// What was stored before this has reached its age.
    pub(crate) fn aged(&self, now: i64) -> i64 {
        if self.max_age == 0 { i64::MIN } else { now - self.max_age + SLACK }
    }
}
