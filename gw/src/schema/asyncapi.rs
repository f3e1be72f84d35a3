//! The subjects as an AsyncAPI 3 document, <https://www.asyncapi.com/docs/reference/specification/v3.0.0>.

use serde_json::{Map, Value, json};

use super::{
    COMPONENTS,
    channels::{CHANNELS, Channel, Header, Way, described, token},
    messages,
};

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
            "description": "Streams of NATS JetStream. A token of a subject keeps letters, digits, _ and -; any other byte is ~XX; nothing is ~. A value of a header is percent-encoded where it is not printable ASCII.",
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
        channel.tokens.iter().map(|name| ((*name).to_owned(), json!({ "description": token(name) }))).collect();
    let tokens = channel.tokens.iter().map(|token| format!(".{{{token}}}"));
    let address = channel.prefix.trim_end_matches(['.', '*', '>']).to_owned() + &tokens.collect::<String>();
    json!({
        "address": address,
        "description": channel.about,
        "parameters": parameters,
        "messages": { channel.name: { "$ref": format!("#/components/messages/{}", channel.name) } },
        "x-stream": channel.stream,
    })
}

fn operation(channel: &Channel) -> Value {
    json!({
        "action": match channel.way { Way::Out => "send", Way::In => "receive" },
        "channel": { "$ref": format!("#/channels/{}", channel.name) },
        "summary": channel.about,
    })
}

fn message(channel: &Channel) -> Value {
    let mut headers = Headers::default();
    let id = json!({ "type": "string", "description": "What tells a message from another: the server stores it once" });
    headers.known.insert("Nats-Msg-Id".to_owned(), id);
    headers.add(channel.headers, true);
    let mut message = json!({
        "name": channel.name,
        "summary": channel.about,
        "headers": {
            "type": "object",
            "required": headers.always,
            "properties": headers.known,
            "patternProperties": headers.patterns,
        },
    });
    match channel.body {
        Some(body) => message["payload"] = json!({ "$ref": format!("{COMPONENTS}{body}") }),
        None => message["contentType"] = json!("application/octet-stream"),
    }
    message
}

/// The headers of a message, as a schema has them.
#[derive(Default)]
struct Headers {
    always: Vec<&'static str>,
    known: Map<String, Value>,
    patterns: Map<String, Value>,
}

impl Headers {
    fn add(&mut self, headers: &[Header], certain: bool) {
        for header in headers {
            match *header {
                Header::Always(name) | Header::Maybe(name) => {
                    if certain && matches!(header, Header::Always(_)) {
                        self.always.push(name);
                    }
                    self.known.insert(name.to_owned(), json!({ "type": "string", "description": described(name) }));
                }
                Header::Any(prefix) => {
                    let text = json!({ "type": "string", "description": described(prefix) });
                    self.patterns.insert(format!("^{prefix}"), text);
                }
                Header::With(others) => self.add(others, certain),
                Header::Of(others) => self.add(others, false),
            }
        }
    }
}
