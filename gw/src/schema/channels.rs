//! What stands in each stream that others read or write, as data.

use nats::topology;
use schemas::{header, subject};

/// What stands in a stream, and under which subjects.
pub(super) struct Channel {
    pub(super) name: &'static str,
    pub(super) stream: &'static str,
    /// The subject's beginning, `gw.event`, or all of it.
    pub(super) prefix: &'static str,
    /// The tokens behind the prefix, each a parameter.
    pub(super) tokens: &'static [&'static str],
    pub(super) about: &'static str,
    pub(super) way: Way,
    /// The schema of the body; raw bytes where there is none.
    pub(super) body: Option<&'static str>,
    pub(super) headers: &'static [Header],
}

/// Who writes it.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// The gateway, for others.
    Out,
    /// Others, for the gateway.
    In,
}

/// A header of a message.
pub(super) enum Header {
    /// It is always there.
    Always(&'static str),
    /// It is there where it is known.
    Maybe(&'static str),
    /// Any that begins so.
    Any(&'static str),
    /// Those of another kind of message.
    With(&'static [Header]),
    /// Those of another kind of message, which it may be.
    Of(&'static [Header]),
}

use Header::{Always, Any, Maybe, Of, With};

/// Of a delivery.
const DELIVERY: [Header; 16] = [
    Always(header::PROVIDER),
    Always(header::DELIVERY),
    Always(header::RECEIVED_AT),
    Always(header::ORIGIN),
    Always(header::BODY_SHA256),
    Maybe(header::EVENT),
    Maybe(header::ACCOUNT),
    Maybe(header::RESOURCE),
    Maybe(header::ORG),
    Maybe(header::CONNECTION),
    Maybe(header::RUN),
    Maybe(header::CORRELATION),
    Maybe(header::SIGNATURE_KEY),
    Maybe(header::PAYLOAD_REF),
    Maybe(header::TRACEPARENT),
    Any(header::KEPT_PREFIX),
];

/// Of a delivery that waits for a link.
const PARKED: [Header; 2] = [Always(header::SEQUENCE), With(&DELIVERY)];

/// Of an event.
const EVENT: [Header; 20] = [
    Always("ce-specversion"),
    Always("ce-id"),
    Always("ce-source"),
    Always("ce-type"),
    Always("ce-time"),
    Always("ce-datacontenttype"),
    Always("ce-orgid"),
    Always("content-type"),
    Always(header::ORG),
    Always(header::CONNECTION),
    Always(header::PROVIDER),
    Always(header::EVENT),
    Always(header::DELIVERY),
    Always(header::SEQUENCE),
    Always(header::ORIGIN),
    Always(header::RECEIVED_AT),
    Always(header::LINK),
    Maybe(header::CORRELATION),
    Maybe(header::PAYLOAD_REF),
    Maybe(header::TRACEPARENT),
];

/// Of an event of history, which a replay may have made.
const HISTORY: [Header; 2] = [Maybe(header::REPLAY), With(&EVENT)];

/// Of an event that a replay stored again.
const REPLAYED: [Header; 2] = [Always(header::REPLAY), With(&EVENT)];

/// Of what tells all in its body.
const PLAIN: [Header; 1] = [Maybe(header::TRACEPARENT)];

/// Of what happened to a connection.
const CONNECTION: [Header; 5] = [
    Always(header::ORG),
    Always(header::CONNECTION),
    Always(header::PROVIDER),
    Always(header::ACCOUNT),
    Maybe(header::TRACEPARENT),
];

/// Of a dead letter, beside those of the message it was.
const DEAD: [Header; 10] = [
    Always(header::DLQ_REASON),
    Always(header::DLQ_STREAM),
    Always(header::DLQ_SEQUENCE),
    Always(header::DLQ_SUBJECT),
    Maybe(header::DLQ_DETAIL),
    Maybe(header::ENDPOINT),
    Maybe(header::ATTEMPT),
    Maybe(header::REPLAY),
    Of(&DELIVERY),
    Of(&EVENT),
];

const WEBHOOK_TOKENS: &[&str] = &["provider", "event", "delivery"];
const EVENT_TOKENS: &[&str] = &["org", "provider", "entity", "action", "eventId"];

/// All that others read or write.
pub(super) const CHANNELS: [Channel; 11] = [
    Channel {
        name: "webhook",
        stream: topology::GW_WEBHOOK,
        prefix: subject::WEBHOOKS,
        tokens: WEBHOOK_TOKENS,
        about: "A delivery as it came: the provider's bytes.",
        way: Way::Out,
        body: None,
        headers: &DELIVERY,
    },
    Channel {
        name: "historyWebhook",
        stream: topology::GW_WEBHOOK,
        prefix: subject::HISTORY_WEBHOOKS,
        tokens: WEBHOOK_TOKENS,
        about: "A delivery of a provider's history.",
        way: Way::Out,
        body: None,
        headers: &DELIVERY,
    },
    Channel {
        name: "event",
        stream: topology::GW_EVENT,
        prefix: subject::EVENTS,
        tokens: EVENT_TOKENS,
        about: "A delivery resolved to one organisation and normalised.",
        way: Way::Out,
        body: Some("Event"),
        headers: &EVENT,
    },
    Channel {
        name: "historyEvent",
        stream: topology::GW_EVENT,
        prefix: subject::HISTORY_EVENTS,
        tokens: EVENT_TOKENS,
        about: "An event of a provider's history, or of a replay that routed a delivery again.",
        way: Way::Out,
        body: Some("Event"),
        headers: &HISTORY,
    },
    Channel {
        name: "replayedEvent",
        stream: topology::GW_REPLAY,
        prefix: subject::REPLAYED,
        tokens: &["replay", "org", "provider", "entity", "action"],
        about: "An event that a replay stored again for whoever asked for it.",
        way: Way::Out,
        body: Some("Event"),
        headers: &REPLAYED,
    },
    Channel {
        name: "parked",
        stream: topology::GW_PARKED,
        prefix: subject::PARKED,
        tokens: &["provider", "account", "delivery"],
        about: "A verified delivery that no link claims yet.",
        way: Way::Out,
        body: None,
        headers: &PARKED,
    },
    Channel {
        name: "outcome",
        stream: topology::GW_OUTCOME,
        prefix: subject::OUTCOMES,
        tokens: &["provider", "delivery"],
        about: "What became of a delivery where it was not simply an event for the one organisation that claims it.",
        way: Way::Out,
        body: Some("Outcome"),
        headers: &PLAIN,
    },
    Channel {
        name: "attempt",
        stream: topology::GW_ATTEMPT,
        prefix: subject::ATTEMPTS,
        tokens: &["org", "endpoint", "eventId"],
        about: "What became of a push to an endpoint.",
        way: Way::Out,
        body: Some("Attempt"),
        headers: &PLAIN,
    },
    Channel {
        name: "connection",
        stream: topology::GW_CONNECTION,
        prefix: subject::CONNECTIONS,
        tokens: &["org", "what"],
        about: "What happened to a connection: connected, linked, unlinked.",
        way: Way::Out,
        body: Some("ConnectionChange"),
        headers: &CONNECTION,
    },
    Channel {
        name: "dead",
        stream: topology::GW_DLQ,
        prefix: subject::DEAD,
        tokens: &["stage", "reason"],
        about: "A message that will not succeed by itself: whole, with its reason and where it came from.",
        way: Way::Out,
        body: None,
        headers: &DEAD,
    },
    Channel {
        name: "replayRequested",
        stream: topology::GW_COMMAND,
        prefix: subject::REPLAY_REQUESTED,
        tokens: &[],
        about: "A replay that somebody wants. Asked for twice with one id, it runs once.",
        way: Way::In,
        body: Some("ReplayRequest"),
        headers: &PLAIN,
    },
];

/// What a token of a subject says.
pub(super) fn token(name: &str) -> &'static str {
    match name {
        "provider" => "The provider's id",
        "event" => "The provider's own event name, without action",
        "delivery" => "The delivery id",
        "org" => "The organisation",
        "entity" => "The entity of the normalised type",
        "action" => "The action of the normalised type, ~ where it has none",
        "eventId" => "The event id, 26 characters",
        "account" => "The account that the delivery names",
        "endpoint" => "The endpoint",
        "replay" => "The replay",
        "stage" => "Who gave up",
        "reason" => "Why",
        _ => "What happened",
    }
}

/// What a header says.
pub(super) fn described(name: &str) -> &'static str {
    match name {
        header::PROVIDER => "The provider's id",
        header::EVENT => "The provider's event type as sent",
        header::DELIVERY => "The delivery id",
        header::ACCOUNT => "The account that the delivery names",
        header::RESOURCE => "A resource that the delivery names; repeated",
        header::RECEIVED_AT => "When the delivery was received, milliseconds since the epoch",
        header::ORIGIN => "How the delivery came in: live, service, backfill, heal or replay",
        header::ORG => "The organisation",
        header::CONNECTION => "The connection",
        header::LINK => "A link that admitted the delivery; repeated, 16 at most",
        header::RUN => "The backfill run",
        header::CORRELATION => "The correlation id of the request that brought the delivery",
        header::SIGNATURE_KEY => "Which secret matched: current or previous",
        header::BODY_SHA256 => "SHA-256 of the received bytes, lower-case hex",
        header::PAYLOAD_REF => "The object of the store gw_payload that holds the body, where the message does not",
        header::KEPT_PREFIX => "A header of the provider's that was kept",
        header::SEQUENCE => "The delivery's place in GW_WEBHOOK",
        header::DLQ_REASON => "Why it is a dead letter",
        header::DLQ_DETAIL => "What the failing stage said",
        header::DLQ_STREAM => "The stream it came from",
        header::DLQ_SEQUENCE => "Its place there",
        header::DLQ_SUBJECT => "Its subject there",
        header::ENDPOINT => "The endpoint it was for",
        header::ATTEMPT => "The attempts that were made",
        header::REPLAY => "The replay it belongs to",
        header::TRACEPARENT => "W3C trace context",
        "content-type" => "Media type of the body",
        "ce-id" => "CloudEvents: the event id, the same at every delivery",
        "ce-source" => "CloudEvents: /<provider>/<account>",
        "ce-type" => "CloudEvents: the normalised type, github:pull-request.opened",
        "ce-time" => "CloudEvents: when it happened",
        "ce-orgid" => "CloudEvents extension: the organisation",
        _ => "CloudEvents",
    }
}
