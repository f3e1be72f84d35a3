//! Which push it is, and where its event stands.

use nats::{Message, topology};
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    header,
};

/// Which push it is: an event on its way to an endpoint.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) org: String,
    pub(super) endpoint: String,
    pub(super) event: String,
    /// The event's place in `GW_EVENT`.
    pub(super) sequence: u64,
    pub(super) provider: String,
    pub(super) delivery: String,
    /// The normalised type.
    pub(super) kind: String,
    pub(super) replay: Option<String>,
    /// Whether the replay asked for what failed only.
    pub(super) only_failed: bool,
    /// The dead letter that was sent back, by its sequence.
    pub(super) letter: Option<u64>,
    /// The object that holds the event's payload, where the event does not.
    pub(super) payload_ref: Option<String>,
}

impl About {
    /// The push of an event that its consumer handed out.
    pub(super) fn of_event(org: &str, endpoint: &str, event: &Message) -> Self {
        let mut about = Self {
            org: org.to_owned(),
            endpoint: endpoint.to_owned(),
            event: id_of(event),
            sequence: event.sequence,
            provider: String::new(),
            delivery: String::new(),
            kind: String::new(),
            replay: None,
            only_failed: false,
            letter: None,
            payload_ref: None,
        };
        about.learn(event);
        about
    }

    /// The push that a timer stands for.
    pub(super) fn of_timer(retry: &Retry) -> Self {
        Self {
            org: retry.org_id.clone(),
            endpoint: retry.endpoint_id.clone(),
            event: retry.event_id.clone(),
            sequence: retry.event_sequence,
            provider: String::new(),
            delivery: String::new(),
            kind: String::new(),
            replay: retry.replay.clone(),
            only_failed: retry.only_failed,
            letter: (retry.stream == topology::GW_DLQ).then_some(retry.sequence),
            payload_ref: None,
        }
    }

    /// What the event's message says.
    pub(super) fn learn(&mut self, event: &Message) {
        let read = |name: &str| event.header(name).map(header::decode).unwrap_or_default();
        self.provider = read(header::PROVIDER);
        self.delivery = read(header::DELIVERY);
        self.kind = read("ce-type");
        self.payload_ref = event.header(header::PAYLOAD_REF).map(header::decode);
    }

    /// Whether this is the push's event, or its letter: a stream that was made anew has another's at the same place.
    pub(super) fn is_of(&self, event: &Message) -> bool {
        let org = event.header(header::ORG).map(header::decode);
        id_of(event) == self.event && org.is_none_or(|org| org == self.org)
    }

    /// Whether somebody asked for this push, so that no filter is asked.
    pub(super) fn is_wanted(&self) -> bool {
        self.replay.is_some() || self.letter.is_some()
    }

    /// Tells apart the runs of one event to one endpoint: the first, each replay, each dead letter sent back.
    pub(super) fn run(&self) -> Option<String> {
        self.replay.clone().or_else(|| self.letter.map(|letter| format!("d{letter}")))
    }

    /// A step of this push in which no request was made.
    pub(super) fn attempt(&self, outcome: PushOutcome, at: i64) -> Attempt {
        Attempt {
            org_id: self.org.clone(),
            endpoint_id: self.endpoint.clone(),
            event_id: self.event.clone(),
            sequence: self.sequence,
            provider: self.provider.clone(),
            delivery_id: self.delivery.clone(),
            kind: self.kind.clone(),
            attempt: 0,
            outcome,
            status_code: None,
            error_class: None,
            latency_ms: None,
            at,
            next_at: None,
            reason: None,
            replay: self.replay.clone(),
            letter: self.letter,
            payload_ref: self.payload_ref.clone(),
        }
    }
}

/// The id of an event. It also ends the event's subject.
fn id_of(event: &Message) -> String {
    let id = event.header("ce-id").map(header::decode);
    id.or_else(|| event.subject.rsplit('.').next().map(str::to_owned)).unwrap_or_default()
}

/// Where the event of a push stands.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) stream: String,
    pub(super) sequence: u64,
}

impl Source {
    pub(super) fn of_event(event: &Message) -> Self {
        Self { stream: topology::GW_EVENT.to_owned(), sequence: event.sequence }
    }

    pub(super) fn of_timer(retry: &Retry) -> Self {
        Self { stream: retry.stream.clone(), sequence: retry.sequence }
    }
}
