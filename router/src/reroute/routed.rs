//! Which deliveries have events, whatever organisation they went to.

use std::collections::BTreeSet;

use nats::{
    Broker, Error,
    topology::{self, ACK_WAIT, GW_EVENT, MAX_DELIVER},
};
use schemas::{header, subject};

/// Events read at once.
const BATCH: usize = 500;
/// How far the clocks of two streams may be apart, milliseconds.
const SKEW: i64 = 60_000;

/// A delivery in hand is routed or dead within this time.
fn in_hand() -> i64 {
    i64::try_from(ACK_WAIT.as_millis()).unwrap_or(i64::MAX).saturating_mul(MAX_DELIVER)
}

/// Deliveries of one lane that are looked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    sequences: BTreeSet<u64>,
    /// When a delivery behind all of them was routed.
    passed: Option<i64>,
}

impl Wanted {
    pub(super) fn insert(&mut self, sequence: u64) {
        self.sequences.insert(sequence);
    }

    /// Whether an event stored at this time may still be of one of them.
    fn is_open(&self, at: i64) -> bool {
        !self.sequences.is_empty() && self.passed.is_none_or(|passed| at <= passed.saturating_add(in_hand()))
    }
}

/// The sequences, of those wanted, of which an event is stored. What became an event late, out of the order of its
/// lane, has an outcome besides and need not be asked for.
pub(super) async fn among(broker: &Broker, mut lanes: [Wanted; 2], since: i64) -> Result<BTreeSet<u64>, Error> {
    let mut found = BTreeSet::new();
    if lanes.iter().all(|lane| lane.sequences.is_empty()) {
        return Ok(found);
    }
    let last: [Option<u64>; 2] = [0, 1].map(|lane: usize| lanes[lane].sequences.last().copied());
    let Some(mut from) = nats::first_since(broker, GW_EVENT, since.saturating_sub(SKEW)).await? else {
        return Ok(found);
    };
    // What is stored from now on is of what comes now.
    let last_event = topology::stream_info(broker, GW_EVENT).await?.state.last_sequence;
    loop {
        let events = nats::batch(broker, GW_EVENT, from..=last_event, BATCH).await?;
        let Some(end) = events.last() else { return Ok(found) };
        from = end.sequence + 1;
        let at = end.stored_at;
        for event in &events {
            let Some(sequence) = event.header(header::SEQUENCE).and_then(|text| text.parse().ok()) else {
                continue;
            };
            for lane in &mut lanes {
                if lane.sequences.remove(&sequence) {
                    found.insert(sequence);
                }
            }
            // A replay has a place of its own.
            let own = usize::from(subject::is_history(&event.subject));
            if event.header(header::REPLAY).is_none() && last[own].is_some_and(|last| sequence > last) {
                lanes[own].passed.get_or_insert(event.stored_at);
            }
        }
        if !lanes.iter().any(|lane| lane.is_open(at)) {
            return Ok(found);
        }
    }
}
