//! What messages tell, as rows: each stream by itself, in any order.

use schemas::outcome::Kind;

/// What is known of a delivery, a bit each. They add up, so streams may be read in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(pub(crate) i64);

impl Facts {
    /// It was seen in `GW_WEBHOOK`.
    pub(crate) const STORED: Self = Self(1);
    /// It became an event.
    pub(crate) const EVENT: Self = Self(2);
    /// Filters of an organisation admitted nothing of it.
    pub(crate) const FILTERED: Self = Self(4);
    /// No link claimed it.
    pub(crate) const PARKED: Self = Self(8);
    /// It was parked, and a link claimed it.
    pub(crate) const RELEASED: Self = Self(16);
    /// It is a dead letter.
    pub(crate) const DEAD: Self = Self(32);
    /// Its stream gave it up before it was dealt with.
    pub(crate) const EXPIRED: Self = Self(64);

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What an outcome tells.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            // Its events tell so themselves.
            Kind::Routed => Self::default(),
            Kind::Filtered => Self::FILTERED,
            Kind::Parked => Self::PARKED,
            Kind::Released => Self::RELEASED,
            Kind::Dead => Self::DEAD,
        }
    }
}

/// A delivery: its place in `GW_WEBHOOK`, its provider, its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeliveryKey {
    pub(crate) sequence: i64,
    pub(crate) provider: String,
    pub(crate) delivery: String,
}

/// What one or several messages tell of a delivery; what they do not tell is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryRow {
    pub(crate) facts: Facts,
    pub(crate) seen: Option<Seen>,
    pub(crate) reason: Option<String>,
    pub(crate) letter: Option<i64>,
}

impl DeliveryRow {
    pub(crate) fn add(&mut self, more: Self) {
        self.facts = self.facts.and(more.facts);
        self.seen = more.seen.or(self.seen.take());
        self.reason = more.reason.or(self.reason.take());
        self.letter = more.letter.or(self.letter);
    }
}

/// What the delivery's own message says.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) received_at: Option<i64>,
    pub(crate) stored_at: i64,
    pub(crate) event: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) history: bool,
    pub(crate) connection: Option<String>,
    /// The organisation it is bound to.
    pub(crate) org: Option<String>,
    pub(crate) signature_key: Option<String>,
    pub(crate) correlation: Option<String>,
    /// Of the body, where it stands in the message.
    pub(crate) bytes: Option<i64>,
    /// The object that holds the body, where the message does not.
    pub(crate) payload_ref: Option<String>,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct EventRow {
    pub(crate) sequence: i64,
    pub(crate) id: String,
    pub(crate) org: String,
    pub(crate) delivery: DeliveryKey,
    pub(crate) kind: String,
    pub(crate) origin: String,
    pub(crate) history: bool,
    pub(crate) replay: Option<String>,
    pub(crate) connection: Option<String>,
    /// JSON.
    pub(crate) links: Option<String>,
    pub(crate) stored_at: i64,
}

/// An outcome.
#[derive(Clone, Debug)]
pub(crate) struct OutcomeRow {
    pub(crate) sequence: i64,
    pub(crate) stored_at: i64,
    pub(crate) delivery: DeliveryKey,
    pub(crate) outcome: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) route_revision: i64,
    pub(crate) decided_at: i64,
}

/// An organisation that got an event of a delivery, as the router said.
#[derive(Clone, Debug)]
pub(crate) struct AdmittedRow {
    pub(crate) org: String,
    pub(crate) delivery: DeliveryKey,
    pub(crate) sequence: i64,
    pub(crate) stored_at: i64,
}

/// An organisation that got nothing of a delivery.
#[derive(Clone, Debug)]
pub(crate) struct FilteredRow {
    pub(crate) org: String,
    pub(crate) delivery: DeliveryKey,
    /// JSON.
    pub(crate) links: String,
    pub(crate) sequence: i64,
    pub(crate) decided_at: i64,
}

/// A push: which event, to which endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PushKey {
    pub(crate) event: String,
    pub(crate) endpoint: String,
}

/// Where a push stands as far as some messages tell.
#[derive(Clone, Debug)]
pub(crate) struct PushRow {
    pub(crate) org: String,
    /// The event's place in `GW_EVENT`.
    pub(crate) sequence: i64,
    /// When the event was stored; only its own message tells.
    pub(crate) stored_at: Option<i64>,
    pub(crate) admitted: bool,
    pub(crate) state: &'static str,
    pub(crate) attempts: i64,
    pub(crate) next_at: Option<i64>,
    pub(crate) status: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) replay: Option<String>,
    /// When the newest attempt was stored, and where.
    pub(crate) updated: (i64, i64),
}

impl PushRow {
    /// An event that an endpoint admits and nobody has pushed yet.
    pub(crate) fn pending(event: &EventRow) -> Self {
        Self {
            org: event.org.clone(),
            sequence: event.sequence,
            stored_at: Some(event.stored_at),
            admitted: true,
            state: "pending",
            attempts: 0,
            next_at: None,
            status: None,
            error: None,
            reason: None,
            replay: None,
            updated: (0, 0),
        }
    }

    /// The newer of the two decides; what only one of them knows stays.
    pub(crate) fn add(&mut self, more: Self) {
        let (admitted, stored_at) = (self.admitted || more.admitted, self.stored_at.or(more.stored_at));
        if more.updated > self.updated {
            *self = more;
        }
        (self.admitted, self.stored_at) = (admitted, stored_at);
    }
}

/// A step of a push.
#[derive(Clone, Debug)]
pub(crate) struct AttemptRow {
    pub(crate) sequence: i64,
    pub(crate) stored_at: i64,
    pub(crate) push: PushKey,
    pub(crate) attempt: i64,
    pub(crate) outcome: &'static str,
    pub(crate) status: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) latency: Option<i64>,
    pub(crate) at: i64,
    pub(crate) next_at: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) replay: Option<String>,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub(crate) struct LetterRow {
    pub(crate) sequence: i64,
    pub(crate) stored_at: i64,
    pub(crate) stage: String,
    pub(crate) reason: String,
    pub(crate) detail: Option<String>,
    pub(crate) stream: String,
    pub(crate) stream_sequence: i64,
    pub(crate) provider: String,
    pub(crate) delivery: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) event: Option<String>,
}
