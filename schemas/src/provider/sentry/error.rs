//! Errors: every single event, where an integration subscribes to them.

use serde_json::{Map, Value, json};

use super::{
    super::wording::{Lines, facts, plain, title},
    normalise::{Parts, error_type, error_value, first_id, headline},
};
use crate::{
    instant, json,
    source_event::{Actor, Context, ReferenceKind, References},
};

/// Most exceptions of a chain that a body names.
const EXCEPTIONS_MAX: usize = 20;

pub(super) fn parts(context: Context<'_>, payload: &Value) -> Parts {
    let error = subject(payload, ["data.error", "data.event", "data.issue_alert"]);
    let id = json::id(error, "event_id").unwrap_or_else(|| context.delivery.to_owned());
    let mut facts = event_facts(error);
    facts.insert("tags".into(), json!(tags(error)));
    Parts {
        source_id: format!("sentry-error:{}:{id}", first_id(error, &["project", "project.id"])),
        title: title("Error", &[Some(headline(error, "Error"))]),
        body: body(error),
        actor: actor(error),
        occurred_at: occurred_at(error),
        references: references(error),
        facts,
    }
}

/// The event a webhook is about: the first of some places that holds one.
pub(super) fn subject<'a>(payload: &'a Value, places: [&str; 3]) -> &'a Value {
    let found = places.iter().map(|place| json::at(payload, place));
    let is_event = |candidate: &&Value| json::id(candidate, "event_id").is_some();
    found
        .clone()
        .find(is_event)
        .or_else(|| found.into_iter().find(|candidate| candidate.is_object()))
        .unwrap_or(&Value::Null)
}

pub(super) fn occurred_at(event: &Value) -> Option<i64> {
    ["timestamp", "datetime", "received"].iter().find_map(|place| instant::of_json(json::at(event, place)))
}

pub(super) fn references(event: &Value) -> References {
    let mut references = References::new();
    references.add(ReferenceKind::Project, project(event), None, None);
    references
}

fn project(event: &Value) -> Option<String> {
    json::id(event, "project").or_else(|| json::id(event, "project.id"))
}

/// The facts every kind of event has.
pub(super) fn event_facts(event: &Value) -> Map<String, Value> {
    let mut facts = facts(event, FACTS);
    facts.insert("issueId".into(), json!(json::id(event, "issue_id")));
    facts.insert("projectId".into(), json!(project(event)));
    facts.insert("errorType".into(), json!(error_type(event)));
    facts.insert("errorValue".into(), json!(error_value(event)));
    facts
}

const FACTS: &[(&str, &str)] = &[
    ("eventId", "event_id"),
    ("platform", "platform"),
    ("filename", "metadata.filename"),
    ("function", "metadata.function"),
    ("location", "location"),
    ("culprit", "culprit"),
    ("sdkName", "sdk.name"),
    ("sdkVersion", "sdk.version"),
    ("webUrl", "web_url"),
];

fn body(error: &Value) -> Lines {
    let place = ["location", "metadata.filename", "culprit"].iter().find_map(|place| json::text(error, place));
    let mut body = Lines::default();
    body.text(json::text(error, "title"));
    body.text(json::text(error, "message"));
    body.text(error_value(error));
    body.field("Location", place);
    for exception in json::items(error, "exception.values").take(EXCEPTIONS_MAX) {
        body.text(raised_at(exception));
    }
    body.field("Platform", json::text(error, "platform"));
    body
}

/// `TypeError at app.js:7 in render`, of the frame that raised it (the last one), or else `TypeError: what it says`.
fn raised_at(exception: &Value) -> Option<String> {
    let kind = json::text(exception, "type").unwrap_or("Error");
    let frame = json::items(exception, "stacktrace.frames").last();
    let file = frame.and_then(|frame| ["filename", "abs_path", "module"].iter().find_map(|at| json::text(frame, at)));
    let Some((frame, file)) = frame.zip(file) else {
        return json::text(exception, "value").map(|said| format!("{kind}: {said}"));
    };
    let line = plain(frame, "lineno").map(|line| format!(":{line}")).unwrap_or_default();
    let function = json::text(frame, "function").map(|function| format!(" in {function}")).unwrap_or_default();
    Some(format!("{kind} at {file}{line}{function}"))
}

/// Whom it happened to, where the application told Sentry more than an address.
fn actor(error: &Value) -> Option<Actor> {
    let user = json::at(error, "user");
    let first = |places: &[&str]| places.iter().find_map(|place| json::id(user, place));
    let name = first(&["username", "name", "email", "id"]);
    Actor::new(first(&["id", "email", "username"]), name.as_deref(), json::text(user, "email"), None)
}

/// The tags by name, from pairs or from objects with `key` and `value`.
fn tags(error: &Value) -> Option<Value> {
    let pair = |tag: &Value| {
        let name = json::text(tag, "0").or_else(|| json::text(tag, "key"))?;
        let value = plain(tag, "1").or_else(|| plain(tag, "value"))?;
        Some((name.to_owned(), Value::String(value)))
    };
    let tags: Map<String, Value> = json::items(error, "tags").filter_map(pair).collect();
    (!tags.is_empty()).then_some(Value::Object(tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_that_raised_it_is_the_last_one() {
        let frames = json!([{ "filename": "a.js", "lineno": 1 }, { "filename": "b.js", "lineno": 7, "function": "f" }]);
        let raised = |exception: Value| raised_at(&exception);
        assert_eq!(
            raised(json!({ "type": "T", "stacktrace": { "frames": frames } })).as_deref(),
            Some("T at b.js:7 in f")
        );
        assert_eq!(
            raised(json!({ "type": "T", "value": "v", "stacktrace": { "frames": [{ "lineno": 3 }] } })).as_deref(),
            Some("T: v")
        );
        assert_eq!(raised(json!({ "type": "T", "stacktrace": null })), None);
        assert_eq!(raised(json!({ "value": "v" })).as_deref(), Some("Error: v"));
    }

    #[test]
    fn tags_read_alike_in_both_spellings() {
        let pairs = tags(&json!({ "tags": [["os", "Linux"], ["n", 3], ["x", null], 7] }));
        let objects = tags(&json!({ "tags": [{ "key": "os", "value": "Linux" }, { "key": "n", "value": "3" }] }));
        assert_eq!(pairs, Some(json!({ "os": "Linux", "n": "3" })));
        assert_eq!(pairs, objects);
        assert_eq!(tags(&json!({ "tags": {} })), None);
    }
}
