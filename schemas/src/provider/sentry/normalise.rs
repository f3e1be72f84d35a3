//! Sentry's webhooks as events: what they share. Each kind is in a module of its own.

use serde_json::{Map, Value};

use super::{
    super::wording::{Lines, facts},
    alert, error, issue, type_of,
};
use crate::{
    json,
    source_event::{Actor, Context, Draft, References, SourceEvent, first_line},
};

const TITLE_PART: usize = 80;

/// What differs from one kind of webhook to the next.
pub(super) struct Parts {
    pub(super) source_id: String,
    pub(super) title: String,
    pub(super) body: Lines,
    pub(super) actor: Option<Actor>,
    /// Milliseconds since the epoch.
    pub(super) occurred_at: Option<i64>,
    pub(super) references: References,
    pub(super) facts: Map<String, Value>,
}

pub(super) fn normalise(context: Context<'_>, payload: &Value) -> Option<SourceEvent> {
    let parts_of = match context.event {
        "issue" => issue::parts,
        "error" => error::parts,
        "event_alert" => alert::event,
        "metric_alert" => alert::metric,
        _ => return None,
    };
    let parts = parts_of(context, payload);
    let mut metadata = parts.facts;
    metadata.append(&mut facts(payload, &[("action", "action"), ("installationId", "installation.uuid")]));
    let draft = Draft {
        source_type: type_of(context.event, payload).source_type(),
        source_id: parts.source_id,
        title: parts.title,
        body: parts.body.join(),
        actor: parts.actor,
        occurred_at: parts.occurred_at,
        references: parts.references,
        metadata: Value::Object(metadata),
    };
    Some(draft.finish(context))
}

/// The first of some places that holds a text or a whole number; `unknown` where none does.
pub(super) fn first_id(value: &Value, places: &[&str]) -> String {
    places.iter().find_map(|place| json::id(value, place)).unwrap_or_else(|| "unknown".to_owned())
}

/// `TypeError: x is not a function`, of an issue or an event: the kind of error and what it says.
pub(super) fn headline(subject: &Value, otherwise: &str) -> String {
    let kind = error_type(subject);
    let title = json::text(subject, "title");
    let (kind, said) = match (kind, error_value(subject).or(title)) {
        // Sentry's title begins with the kind already.
        (Some(kind), Some(said)) if said.starts_with(kind) => (None, Some(said)),
        (Some(kind), said) => (Some(kind), said),
        (None, said) => (Some(otherwise), said),
    };
    let said = said.map(|said| first_line(said, TITLE_PART));
    [kind.map(str::to_owned), said].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// The kind of error, `TypeError`: Sentry's summary, or else the exception that was raised last.
pub(super) fn error_type(subject: &Value) -> Option<&str> {
    json::text(subject, "metadata.type").or_else(|| json::text(raised(subject), "type"))
}

/// What the error says: Sentry's summary, or else the exception that was raised last.
pub(super) fn error_value(subject: &Value) -> Option<&str> {
    json::text(subject, "metadata.value").or_else(|| json::text(raised(subject), "value"))
}

/// The exception that was raised last; those before it are its causes.
fn raised(subject: &Value) -> &Value {
    json::items(subject, "exception.values").last().unwrap_or(&Value::Null)
}
