//! Where the messages begin that a stream will not give up while it is added up.

use std::time::Duration;

use nats::{Reader, Start};

use super::Moment;
use crate::{error::Error, source::Source};

/// How long the first young message may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which rows of a stream are compared with it: those from a place on. What is before it and old enough is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Young {
    /// Rows up to here are sealed, those that are left among them.
    pub(super) sealed: i64,
    /// Messages from here on are counted.
    pub(super) from: i64,
    /// What was stored before is old.
    pub(super) aged: i64,
    /// What was stored before was in another stream of the name.
    pub(super) made_at: i64,
}

impl Young {
    /// Which rows, as a condition with four parameters from this number on: sealed, made, from, aged.
    pub(super) fn gone(first: usize) -> String {
        let [sealed, made, from, aged] = [first, first + 1, first + 2, first + 3];
        format!("(sequence <= ${sealed} or stored_at < ${made} or (sequence < ${from} and stored_at < ${aged}))")
    }

    pub(super) async fn of(moment: &Moment<'_>, source: Source) -> Result<Self, Error> {
        let (extent, broker) = (moment.extent(source)?, &moment.inner.deps.broker);
        let (sealed, aged) = (moment.sealed(source), extent.aged(moment.now));
        let old = match u64::try_from(extent.first) {
            // Nothing was ever stored.
            Ok(0) | Err(_) => false,
            Ok(first) => {
                let message = nats::get(broker, source.stream(), first).await?;
                message.is_some_and(|message| message.stored_at < aged)
            }
        };
        let mut from = extent.first;
        if old {
            let all = [">".to_owned()];
            let mut reader = Reader::open(broker, source.stream(), &all, Start::Since(aged), true).await?;
            let young = reader.next_waiting(PATIENCE).await?;
            from = young.map_or(extent.last + 1, |message| i64::try_from(message.sequence).unwrap_or(i64::MAX));
        }
        Ok(Self { sealed, from: from.max(sealed + 1), aged, made_at: extent.made_at() })
    }
}
