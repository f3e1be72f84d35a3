//! The subjects as an AsyncAPI 3 document, <https://www.asyncapi.com/docs/reference/specification/v3.0.0>.

use nats::topology;
use schemas::{header, subject};
use serde_json::{Map, Value, json};

use super::{COMPONENTS, messages};

/// What stands in a stream, and under which subjects.
struct Channel {
    name: &'static str,
    stream: &'static str,
    /// The tokens behind the prefix, each a parameter.
    tokens: &'static [&'static str],
    /// The subject's beginning, `gw.event`.
    prefix: &'static str,
    about: &'static str,
    /// The schema of the body; raw bytes where there is none.
    body: Option<&'static str>,
}

const CHANNELS: [Channel; 9] = [
    Channel {
        name: "webhook",
        stream: topology::GW_WEBHOOK,
        prefix: subject::WEBHOOKS,
        tokens: &["provider", "event", "delivery"],
        about: "A delivery as it came: the provider's bytes.",
        body: None,
    },
    Channel {
        name: "historyWebhook",
        stream: topology::GW_WEBHOOK,
        prefix: subject::HISTORY_WEBHOOKS,
        tokens: &["provider", "event", "delivery"],
        about: "A delivery of a provider's history.",
        body: None,
    },
    Channel {
        name: "event",
        stream: topology::GW_EVENT,
        prefix: subject::EVENTS,
        tokens: &["org", "provider", "entity", "action", "eventId"],
        about: "A delivery resolved to one organisation and normalised.",
        body: Some("Event"),
    },
    Channel {
        name: "historyEvent",
        stream: topology::GW_EVENT,
        prefix: subject::HISTORY_EVENTS,
        tokens: &["org", "provider", "entity", "action", "eventId"],
        about: "An event of a provider's history, or of a replay.",
        body: Some("Event"),
    },
    Channel {
        name: "parked",
        stream: topology::GW_PARKED,
        prefix: subject::PARKED,
        tokens: &["provider", "account", "delivery"],
        about: "A verified delivery that no link claims yet.",
        body: None,
    },
    Channel {
        name: "outcome",
        stream: topology::GW_OUTCOME,
        prefix: subject::OUTCOMES,
        tokens: &["provider", "delivery"],
        about: "What became of a delivery where it was not simply an event.",
        body: Some("Outcome"),
    },
    Channel {
        name: "attempt",
        stream: topology::GW_ATTEMPT,
        prefix: subject::ATTEMPTS,
        tokens: &["org", "endpoint", "eventId"],
        about: "What became of a push to an endpoint.",
        body: Some("Attempt"),
    },
    Channel {
        name: "connection",
        stream: topology::GW_CONNECTION,
        prefix: subject::CONNECTIONS,
        tokens: &["org", "what"],
        about: "What happened to a connection: connected, linked, unlinked.",
        body: None,
    },
    Channel {
        name: "dead",
        stream: topology::GW_DLQ,
        prefix: subject::DEAD,
        tokens: &["stage", "reason"],
        about: "A message that will not succeed by itself: whole, with its reason and where it came from.",
        body: None,
    },
];

/// The document.
pub(super) fn document() -> Value {
    let named = |make: fn(&Channel) -> Value| -> Map<String, Value> {
        CHANNELS.iter().map(|channel| (channel.name.to_owned(), make(channel))).collect()
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Gangway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Streams of NATS JetStream. A token of a subject keeps letters, digits, _ and -; any other byte is ~XX; nothing is ~.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": named(channel),
        "operations": named(operation),
        "components": { "messages": named(message), "schemas": messages() },
    })
}

fn channel(channel: &Channel) -> Value {
    let parameters: Map<String, Value> =
        channel.tokens.iter().map(|token| ((*token).to_owned(), json!({ "description": described(token) }))).collect();
    let tokens: Vec<String> = channel.tokens.iter().map(|token| format!("{{{token}}}")).collect();
    json!({
        "address": format!("{}{}", channel.prefix.trim_end_matches('>'), tokens.join(".")),
        "description": channel.about,
        "parameters": parameters,
        "messages": { channel.name: { "$ref": format!("#/components/messages/{}", channel.name) } },
        "x-stream": channel.stream,
    })
}

fn operation(channel: &Channel) -> Value {
    json!({
        "action": "send",
        "channel": { "$ref": format!("#/channels/{}", channel.name) },
        "summary": channel.about,
    })
}

fn message(channel: &Channel) -> Value {
    let mut message = json!({ "name": channel.name, "summary": channel.about });
    match channel.body {
        Some(body) => message["payload"] = json!({ "$ref": format!("{COMPONENTS}{body}") }),
        None => message["contentType"] = json!("application/octet-stream"),
    }
    if channel.stream == topology::GW_EVENT || channel.body.is_none() {
        let text = json!({ "type": "string" });
        let names = [header::PROVIDER, header::EVENT, header::DELIVERY, header::RECEIVED_AT, header::ORIGIN];
        let headers: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
        message["headers"] = json!({ "type": "object", "properties": headers });
    }
    message
}

fn described(token: &str) -> &'static str {
    match token {
        "provider" => "The provider's id",
        "event" => "The provider's own event name, without action",
        "delivery" => "The delivery id",
        "org" => "The organisation",
        "entity" => "The entity of the normalised type",
        "action" => "The action of the normalised type, ~ where it has none",
        "eventId" => "The event id, 26 characters",
        "account" => "The account that the delivery names",
        "endpoint" => "The endpoint",
        "stage" => "Who gave up",
        "reason" => "Why",
        _ => "What happened",
    }
}
