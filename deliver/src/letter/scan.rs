//! Finds dead letters, from the oldest on.

use std::time::Duration;

use nats::{Broker, Reader, Start, topology::GW_DLQ};
use schemas::{
    caller::Caller,
    fields::{Fault, Fields},
    subject,
};

use super::Letter;
use crate::error::Error;

/// Letters looked at in one go; the rest is for the next.
const SCAN: usize = 20_000;
const NEXT: Duration = Duration::from_secs(5);

/// Which letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) stage: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) org: Option<String>,
    /// Stored at or after this time, milliseconds since the epoch.
    pub(super) since: Option<i64>,
    /// Stored before this time.
    pub(super) until: Option<i64>,
}

/// The names of [`Which`] in a query or a body.
pub(super) const WHICH: [&str; 6] = ["stage", "reason", "endpointId", "orgId", "since", "until"];

impl Which {
    pub(super) fn read(fields: &mut Fields<'_>, now: i64) -> Self {
        let text = |fields: &mut Fields<'_>, name| fields.optional(name).map(str::to_owned);
        let (since, until) = (fields.moment("since", now), fields.moment("until", now));
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            fields.faults.add("until", Fault::Says("must not be before since".into()));
        }
        Self {
            stage: text(fields, "stage"),
            reason: text(fields, "reason"),
            endpoint: text(fields, "endpointId"),
            org: text(fields, "orgId"),
            since,
            until,
        }
    }

    fn takes(&self, letter: &Letter) -> bool {
        let same = |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        same(&self.endpoint, letter.endpoint.as_ref())
            && same(&self.org, letter.org.as_ref())
            && self.until.is_none_or(|until| letter.message.stored_at < until)
    }
}

/// A page of letters, and where the next one begins, if there is more to look at.
pub(super) struct Page {
    pub(super) letters: Vec<Letter>,
    pub(super) next: Option<u64>,
}

/// The next letters that the caller may see, at most so many.
pub(super) async fn page(
    broker: &Broker,
    which: &Which,
    caller: &Caller,
    cursor: Option<u64>,
    limit: usize,
) -> Result<Page, Error> {
    let start = match (cursor, which.since) {
        (Some(cursor), _) => Start::Sequence(cursor),
        (None, Some(since)) => Start::Since(since),
        (None, None) => Start::First,
    };
    let filter = [subject::dead_of(which.stage.as_deref(), which.reason.as_deref())];
    let mut reader = Reader::open(broker, GW_DLQ, &filter, start, true).await?;
    let mut looked = 0;
    let mut letters = Vec::new();
    // Letters go while they are read: they are dropped, or end.
    while let Some(message) = reader.next_waiting(NEXT).await? {
        looked += 1;
        let (sequence, late) = (message.sequence, which.until.is_some_and(|until| message.stored_at >= until));
        let letter = Letter::of(message);
        if late {
            break;
        }
        if which.takes(&letter) && letter.seen_by(caller) {
            letters.push(letter);
        }
        if letters.len() >= limit || looked >= SCAN {
            return Ok(Page { letters, next: (reader.waiting() > 0).then_some(sequence + 1) });
        }
    }
    Ok(Page { letters, next: None })
}
