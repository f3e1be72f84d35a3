//! Messages of all streams, folded into the rows they make.

use std::collections::BTreeMap;

use nats::{Message, topology::GW_WEBHOOK};
use schemas::{
    attempt::{Attempt, PushOutcome},
    header,
    outcome::{Kind, Outcome},
    subject,
};

use crate::{
    facts::{
        AdmittedRow, AttemptRow, DeliveryKey, DeliveryRow, EventRow, Facts, FilteredRow, LetterRow, OutcomeRow,
        PushKey, PushRow, Seen,
    },
    lost::Again,
    source::Source,
};

/// What some messages tell.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) deliveries: BTreeMap<DeliveryKey, DeliveryRow>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) outcomes: Vec<OutcomeRow>,
    pub(crate) admitted: BTreeMap<(String, DeliveryKey), AdmittedRow>,
    pub(crate) filtered: BTreeMap<(String, DeliveryKey), FilteredRow>,
    pub(crate) pushes: BTreeMap<PushKey, PushRow>,
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) letters: Vec<LetterRow>,
    /// Deliveries and events at places that were read before.
    pub(crate) again: Again,
    /// How many messages told nothing that can be read.
    pub(crate) unreadable: u64,
}

impl Batch {
    /// Adds what a message tells.
    pub(crate) fn add(&mut self, source: Source, message: &Message, again: bool) {
        let read = match source {
            Source::Webhooks => self.delivery(message, again),
            Source::Events => self.event(message, again),
            Source::Outcomes => self.outcome(message),
            Source::Attempts => self.attempt(message),
            Source::Letters => self.letter(message),
        };
        if read.is_none() {
            self.unreadable += 1;
        }
    }

    /// One more thing that is known of a delivery.
    fn know(&mut self, key: DeliveryKey, row: DeliveryRow) {
        self.deliveries.entry(key).or_default().add(row);
    }

    /// One more thing that is known of a push.
    pub(crate) fn push(&mut self, key: PushKey, row: PushRow) {
        match self.pushes.get_mut(&key) {
            Some(known) => known.add(row),
            None => drop(self.pushes.insert(key, row)),
        }
    }

    fn delivery(&mut self, message: &Message, again: bool) -> Option<()> {
        let get = |name| message.header(name).map(text);
        // What nobody can read is stored all the same: its subject names it.
        let named = subject::webhook_names(&message.subject)?;
        let key = DeliveryKey {
            sequence: number(message.sequence),
            provider: get(header::PROVIDER).unwrap_or(named.provider),
            delivery: get(header::DELIVERY).unwrap_or(named.delivery),
        };
        let payload_ref = get(header::PAYLOAD_REF);
        let bytes = get("Nats-Msg-Size").filter(|_| payload_ref.is_none());
        let seen = Seen {
            received_at: get(header::RECEIVED_AT).and_then(|at| at.parse().ok()),
            stored_at: message.stored_at,
            event: get(header::EVENT),
            account: get(header::ACCOUNT),
            origin: get(header::ORIGIN),
            history: named.history,
            connection: get(header::CONNECTION),
            org: get(header::ORG),
            signature_key: get(header::SIGNATURE_KEY),
            correlation: get(header::CORRELATION),
            bytes: bytes.and_then(|size| size.parse().ok()),
            payload_ref,
        };
        if again {
            self.again.deliveries.insert(key.sequence, key.clone());
        }
        self.know(key, DeliveryRow { facts: Facts::STORED, seen: Some(seen), ..DeliveryRow::default() });
        Some(())
    }

    fn event(&mut self, message: &Message, again: bool) -> Option<()> {
        let get = |name| message.header(name).map(text);
        let delivery = DeliveryKey {
            sequence: get(header::SEQUENCE)?.parse().ok()?,
            provider: get(header::PROVIDER)?,
            delivery: get(header::DELIVERY)?,
        };
        let replay = get(header::REPLAY);
        self.know(delivery.clone(), DeliveryRow { facts: Facts::EVENT, ..DeliveryRow::default() });
        let id = get("ce-id")?;
        if again {
            self.again.events.insert(number(message.sequence), id.clone());
        }
        self.events.push(EventRow {
            sequence: number(message.sequence),
            id,
            org: get(header::ORG)?,
            delivery,
            kind: get("ce-type")?,
            origin: get(header::ORIGIN)?,
            history: subject::is_history(&message.subject),
            replay,
            connection: get(header::CONNECTION),
            links: links(message),
            stored_at: message.stored_at,
        });
        Some(())
    }

    fn outcome(&mut self, message: &Message) -> Option<()> {
        let outcome: Outcome = serde_json::from_slice(&message.payload).ok()?;
        let sequence = number(message.sequence);
        let delivery = DeliveryKey {
            sequence: number(outcome.sequence),
            provider: clean(outcome.provider),
            delivery: clean(outcome.delivery_id),
        };
        // A delivery that names nobody is known by its dead letter.
        if !delivery.provider.is_empty() {
            // Why it was parked is nothing to say of it once it is released.
            let reason = outcome.reason.clone().filter(|_| outcome.outcome != Kind::Parked);
            let facts = Facts::of(outcome.outcome);
            let row = DeliveryRow { facts, reason, ..DeliveryRow::default() };
            self.know(delivery.clone(), row);
        }
        for admitted in outcome.admitted {
            let (org, delivery) = (clean(admitted.org_id), delivery.clone());
            let row =
                AdmittedRow { org: org.clone(), delivery: delivery.clone(), sequence, stored_at: message.stored_at };
            self.admitted.insert((org, delivery), row);
        }
        for filtered in outcome.filtered {
            let links = serde_json::to_string(&filtered.link_ids).ok()?;
            let (delivery, decided_at) = (delivery.clone(), outcome.decided_at);
            let row = FilteredRow { org: filtered.org_id.clone(), delivery, links, sequence, decided_at };
            self.filtered.insert((filtered.org_id, row.delivery.clone()), row);
        }
        self.outcomes.push(OutcomeRow {
            sequence,
            stored_at: message.stored_at,
            delivery,
            outcome: match outcome.outcome {
                Kind::Routed => "routed",
                Kind::Filtered => "filtered",
                Kind::Parked => "parked",
                Kind::Released => "released",
                Kind::Dead => "dead",
            },
            reason: outcome.reason,
            route_revision: number(outcome.route_revision),
            decided_at: outcome.decided_at,
        });
        Some(())
    }

    fn attempt(&mut self, message: &Message) -> Option<()> {
        let attempt: Attempt = serde_json::from_slice(&message.payload).ok()?;
        let sequence = number(message.sequence);
        let key = PushKey { event: attempt.event_id, endpoint: attempt.endpoint_id };
        let status = attempt.status_code.map(i64::from);
        self.attempts.push(AttemptRow {
            sequence,
            stored_at: message.stored_at,
            push: key.clone(),
            attempt: i64::from(attempt.attempt),
            outcome: attempt.outcome.as_str(),
            status,
            error: attempt.error_class.clone(),
            latency: attempt.latency_ms.map(number),
            at: attempt.at,
            next_at: attempt.next_at,
            reason: attempt.reason.clone(),
            replay: attempt.replay.clone(),
        });
        let row = PushRow {
            org: attempt.org_id,
            sequence: number(attempt.sequence),
            stored_at: None,
            admitted: false,
            state: state(attempt.outcome),
            attempts: i64::from(attempt.attempt),
            next_at: attempt.next_at,
            status,
            error: attempt.error_class,
            reason: attempt.reason,
            replay: attempt.replay,
            updated: (message.stored_at, sequence),
        };
        self.push(key, row);
        Some(())
    }

    fn letter(&mut self, message: &Message) -> Option<()> {
        let get = |name| message.header(name).map(text);
        let sequence = number(message.sequence);
        let stream = get(header::DLQ_STREAM)?;
        let stream_sequence: i64 = get(header::DLQ_SEQUENCE)?.parse().ok()?;
        let named = get(header::DLQ_SUBJECT).and_then(|subject| subject::webhook_names(&subject));
        let (provider, delivery) = named.map(|named| (named.provider, named.delivery)).unwrap_or_default();
        let key = DeliveryKey {
            sequence: stream_sequence,
            provider: get(header::PROVIDER).unwrap_or(provider),
            delivery: get(header::DELIVERY).unwrap_or(delivery),
        };
        let reason = get(header::DLQ_REASON)?;
        if stream == GW_WEBHOOK {
            let (facts, letter) = (Facts::DEAD, Some(sequence));
            let row = DeliveryRow { facts, reason: Some(reason.clone()), letter, ..DeliveryRow::default() };
            self.know(key.clone(), row);
        }
        self.letters.push(LetterRow {
            sequence,
            stored_at: message.stored_at,
            stage: subject::dead_stage(&message.subject).unwrap_or_default().to_owned(),
            reason,
            detail: get(header::DLQ_DETAIL),
            stream,
            stream_sequence,
            provider: key.provider,
            delivery: key.delivery,
            endpoint: get(header::ENDPOINT),
            event: get("ce-id"),
        });
        Some(())
    }
}

/// Where a push stands after a step.
fn state(outcome: PushOutcome) -> &'static str {
    match outcome {
        // It is due at once.
        PushOutcome::Redriven => PushOutcome::Scheduled.as_str(),
        other => other.as_str(),
    }
}

/// The links that admitted an event, as JSON.
fn links(message: &Message) -> Option<String> {
    let named = message.headers().filter(|(name, _)| name.eq_ignore_ascii_case(header::LINK));
    let links: Vec<String> = named.map(|(_, link)| text(link)).collect();
    if links.is_empty() { None } else { serde_json::to_string(&links).ok() }
}

/// A header's value as a database takes it.
pub(crate) fn text(value: &str) -> String {
    clean(header::decode(value))
}

/// PostgreSQL takes no NUL.
fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
