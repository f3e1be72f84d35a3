//! How each row is written, so that writing it again changes nothing.

use crate::{
    facts::{
        AdmittedRow, AttemptRow, DeliveryKey, DeliveryRow, EventRow, FilteredRow, LetterRow, OutcomeRow, PushKey,
        PushRow,
    },
    insert::{Bound, Row},
};

impl Row for (DeliveryKey, DeliveryRow) {
    const INTO: &'static str = "deliveries (sequence, provider, delivery_id, facts, received_at, stored_at, event, account, origin, \
         history, connection_id, org_id, signature_key, correlation, bytes, payload_ref, reason, letter)";
    const COLUMNS: usize = 18;
    const THEN: &'static str = "on conflict (sequence, provider, delivery_id) do update set \
         facts = deliveries.facts | excluded.facts, \
         received_at = coalesce(excluded.received_at, deliveries.received_at), \
         stored_at = coalesce(excluded.stored_at, deliveries.stored_at), \
         event = coalesce(excluded.event, deliveries.event), \
         account = coalesce(excluded.account, deliveries.account), \
         origin = coalesce(excluded.origin, deliveries.origin), \
         history = coalesce(excluded.history, deliveries.history), \
         connection_id = coalesce(excluded.connection_id, deliveries.connection_id), \
         org_id = coalesce(excluded.org_id, deliveries.org_id), \
         signature_key = coalesce(excluded.signature_key, deliveries.signature_key), \
         correlation = coalesce(excluded.correlation, deliveries.correlation), \
         bytes = coalesce(excluded.bytes, deliveries.bytes), \
         payload_ref = coalesce(excluded.payload_ref, deliveries.payload_ref), \
         reason = coalesce(excluded.reason, deliveries.reason), \
         letter = coalesce(excluded.letter, deliveries.letter)";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        let (key, row) = self;
        let seen = row.seen.as_ref();
        let text = |value: Option<&Option<String>>| value.cloned().flatten();
        query
            .bind(key.sequence)
            .bind(key.provider.clone())
            .bind(key.delivery.clone())
            .bind(row.facts.0)
            .bind(seen.and_then(|seen| seen.received_at))
            .bind(seen.map(|seen| seen.stored_at))
            .bind(text(seen.map(|seen| &seen.event)))
            .bind(text(seen.map(|seen| &seen.account)))
            .bind(text(seen.map(|seen| &seen.origin)))
            .bind(seen.map(|seen| i64::from(seen.history)))
            .bind(text(seen.map(|seen| &seen.connection)))
            .bind(text(seen.map(|seen| &seen.org)))
            .bind(text(seen.map(|seen| &seen.signature_key)))
            .bind(text(seen.map(|seen| &seen.correlation)))
            .bind(seen.and_then(|seen| seen.bytes))
            .bind(text(seen.map(|seen| &seen.payload_ref)))
            .bind(row.reason.clone())
            .bind(row.letter)
    }
}

impl Row for EventRow {
    const INTO: &'static str = "events (sequence, event_id, org_id, provider, delivery_id, delivery_sequence, kind, origin, history, \
         replay, connection_id, links, stored_at)";
    const COLUMNS: usize = 13;
    const THEN: &'static str = "on conflict do nothing";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        query
            .bind(self.sequence)
            .bind(self.id.clone())
            .bind(self.org.clone())
            .bind(self.delivery.provider.clone())
            .bind(self.delivery.delivery.clone())
            .bind(self.delivery.sequence)
            .bind(self.kind.clone())
            .bind(self.origin.clone())
            .bind(i64::from(self.history))
            .bind(self.replay.clone())
            .bind(self.connection.clone())
            .bind(self.links.clone())
            .bind(self.stored_at)
    }
}

impl Row for OutcomeRow {
    const INTO: &'static str = "outcomes (sequence, stored_at, provider, delivery_id, delivery_sequence, outcome, reason, \
         route_revision, decided_at)";
    const COLUMNS: usize = 9;
    const THEN: &'static str = "on conflict do nothing";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        query
            .bind(self.sequence)
            .bind(self.stored_at)
            .bind(self.delivery.provider.clone())
            .bind(self.delivery.delivery.clone())
            .bind(self.delivery.sequence)
            .bind(self.outcome)
            .bind(self.reason.clone())
            .bind(self.route_revision)
            .bind(self.decided_at)
    }
}

impl Row for AdmittedRow {
    const INTO: &'static str = "admitted (org_id, delivery_sequence, provider, delivery_id, sequence, stored_at)";
    const COLUMNS: usize = 6;
    const THEN: &'static str = "on conflict do nothing";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        query
            .bind(self.org.clone())
            .bind(self.delivery.sequence)
            .bind(self.delivery.provider.clone())
            .bind(self.delivery.delivery.clone())
            .bind(self.sequence)
            .bind(self.stored_at)
    }
}

impl Row for FilteredRow {
    const INTO: &'static str =
        "filtered (org_id, delivery_sequence, provider, delivery_id, links, sequence, decided_at)";
    const COLUMNS: usize = 7;
    const THEN: &'static str = "on conflict do nothing";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        query
            .bind(self.org.clone())
            .bind(self.delivery.sequence)
            .bind(self.delivery.provider.clone())
            .bind(self.delivery.delivery.clone())
            .bind(self.links.clone())
            .bind(self.sequence)
            .bind(self.decided_at)
    }
}

/// The newer attempt's value, else what is there.
macro_rules! newest {
    ($($column:literal),+) => {
        concat!($(", ", $column, " = case when excluded.updated_at > pushes.updated_at or (excluded.updated_at = pushes.updated_at \
            and excluded.updated_sequence > pushes.updated_sequence) then excluded.", $column, " else pushes.", $column, " end"),+)
    };
}

impl Row for (PushKey, PushRow) {
    const INTO: &'static str = "pushes (event_id, endpoint_id, org_id, sequence, stored_at, admitted, state, attempts, next_at, \
         last_status, last_error, reason, replay, updated_at, updated_sequence)";
    const COLUMNS: usize = 15;
    const THEN: &'static str = concat!(
        "on conflict (event_id, endpoint_id) do update set \
         sequence = case when excluded.stored_at is not null then excluded.sequence else pushes.sequence end, \
         stored_at = coalesce(excluded.stored_at, pushes.stored_at), \
         admitted = case when excluded.admitted = 1 then 1 else pushes.admitted end",
        newest!(
            "state",
            "attempts",
            "next_at",
            "last_status",
            "last_error",
            "reason",
            "replay",
            "updated_at",
            "updated_sequence"
        )
    );

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        let (key, row) = self;
        query
            .bind(key.event.clone())
            .bind(key.endpoint.clone())
            .bind(row.org.clone())
            .bind(row.sequence)
            .bind(row.stored_at)
            .bind(i64::from(row.admitted))
            .bind(row.state)
            .bind(row.attempts)
            .bind(row.next_at)
            .bind(row.status)
            .bind(row.error.clone())
            .bind(row.reason.clone())
            .bind(row.replay.clone())
            .bind(row.updated.0)
            .bind(row.updated.1)
    }
}

impl Row for AttemptRow {
    const INTO: &'static str = "attempts (sequence, stored_at, event_id, endpoint_id, attempt, outcome, status_code, error_class, \
         latency_ms, began_at, next_at, reason, replay)";
    const COLUMNS: usize = 13;
    const THEN: &'static str = "on conflict do nothing";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        query
            .bind(self.sequence)
            .bind(self.stored_at)
            .bind(self.push.event.clone())
            .bind(self.push.endpoint.clone())
            .bind(self.attempt)
            .bind(self.outcome)
            .bind(self.status)
            .bind(self.error.clone())
            .bind(self.latency)
            .bind(self.at)
            .bind(self.next_at)
            .bind(self.reason.clone())
            .bind(self.replay.clone())
    }
}

impl Row for LetterRow {
    const INTO: &'static str = "letters (sequence, stored_at, stage, reason, detail, stream, stream_sequence, provider, delivery_id, \
         endpoint_id, event_id)";
    const COLUMNS: usize = 11;
    const THEN: &'static str = "on conflict do nothing";

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q> {
        query
            .bind(self.sequence)
            .bind(self.stored_at)
            .bind(self.stage.clone())
            .bind(self.reason.clone())
            .bind(self.detail.clone())
            .bind(self.stream.clone())
            .bind(self.stream_sequence)
            .bind(self.provider.clone())
            .bind(self.delivery.clone())
            .bind(self.endpoint.clone())
            .bind(self.event.clone())
    }
}
