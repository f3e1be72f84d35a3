//! The event type of a recorded payload, where the provider says it in a header that the recording lacks.
//!
//! The samples are compared by their shape: the names of their fields, and their action. A payload unlike all of
//! them is taken for the event that is named as the object it brings; where that leaves a doubt, none is guessed.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Provider;
use serde_json::{Map, Value};

type Shape = BTreeSet<String>;

/// What a field that is missing counts, against one that is shared.
const MISSING: f64 = 0.5;
/// What a field that no sample has counts.
const STRANGE: f64 = 0.25;

/// Names and values.
type Strange<'a> = Vec<(&'a str, &'a Value)>;

/// The fields that all samples of an event have, and those that any has.
struct Known {
    every: Shape,
    any: Shape,
}

/// The event type, or none where it cannot be told.
pub(super) fn event(provider: &Provider, payload: &Value) -> Option<String> {
    let payload = payload.as_object()?;
    let samples: Vec<(&str, Value)> = provider
        .samples
        .iter()
        .filter_map(|sample| Some((sample.event, serde_json::from_str(sample.body).ok()?)))
        .collect();
    let opened = opened(&samples);
    let mut events: BTreeMap<&str, Known> = BTreeMap::new();
    for (event, sample) in samples.iter().filter_map(|(event, sample)| Some((event, sample.as_object()?))) {
        let shape = shape(sample, &opened);
        let known = events.entry(event).or_insert_with(|| Known { every: shape.clone(), any: Shape::new() });
        known.every.retain(|field| shape.contains(field));
        known.any.extend(shape);
    }
    let strange = strange(payload, &events);
    match likest(&shape(payload, &opened), strange.len(), &events) {
        Some((event, own)) => Some(written_about(payload, &own, &strange).unwrap_or_else(|| event.to_owned())),
        None => named_as_object(payload, &strange),
    }
}

/// Fields that are objects in every sample: only what is in them tells the events apart.
fn opened(samples: &[(&str, Value)]) -> Shape {
    let objects = |sample: &Value| -> Shape {
        let fields = sample.as_object().into_iter().flatten();
        fields.filter(|(_, value)| value.is_object()).map(|(name, _)| name.clone()).collect()
    };
    let mut all = samples.iter().map(|(_, sample)| objects(sample));
    let first = all.next().unwrap_or_default();
    all.fold(first, |common, own| common.intersection(&own).cloned().collect())
}

fn shape(payload: &Map<String, Value>, opened: &Shape) -> Shape {
    let told = payload.iter().filter(|(_, value)| !value.is_null());
    let mut shape: Shape = told.map(|(name, _)| name.clone()).collect();
    for (name, inner) in payload.iter().filter(|(name, _)| opened.contains(*name)) {
        shape.extend(inner.as_object().into_iter().flatten().map(|(inner, _)| format!("{name}.{inner}")));
    }
    if let Some(action) = payload.get("action").and_then(Value::as_str) {
        shape.insert(format!("action={action}"));
    }
    shape
}

/// The event whose samples share most, and the fields of its own that it shares. A field counts the more the fewer
/// events have it, and nothing where all have it; what is missing, and what no sample has, counts against it.
fn likest<'a>(shape: &Shape, strange: usize, events: &BTreeMap<&'a str, Known>) -> Option<(&'a str, Vec<String>)> {
    let having = |field: &String| events.values().filter(|known| known.any.contains(field)).count().max(1);
    let weight = |field: &String| 1.0 / having(field) as f64 - 1.0 / events.len() as f64;
    let mut best: Option<(f64, &str, Vec<String>)> = None;
    let mut tied = false;
    for (event, known) in events {
        let shared: Vec<&String> = shape.intersection(&known.any).collect();
        let own: Vec<String> = shared
            .iter()
            .filter(|field| having(field) == 1 && !field.starts_with("action="))
            .map(|field| (*field).clone())
            .collect();
        let missing: f64 = known.every.difference(shape).map(weight).sum();
        let score = shared.into_iter().map(weight).sum::<f64>() - MISSING * missing - STRANGE * strange as f64;
        if own.is_empty() || score <= 0.0 {
            continue;
        }
        let before = best.as_ref().map_or(0.0, |best| best.0);
        if score > before {
            best = Some((score, event, own));
            tied = false;
        } else {
            tied |= score == before;
        }
    }
    best.filter(|_| !tied).map(|(_, event, own)| (event, own))
}

/// Fields at the top that no sample has.
fn strange<'a>(payload: &'a Map<String, Value>, events: &BTreeMap<&str, Known>) -> Strange<'a> {
    let fields = payload.iter().map(|(name, value)| (name.as_str(), value));
    fields.filter(|(name, _)| !events.values().any(|known| known.any.contains(*name))).collect()
}

/// Where somebody wrote something about the subject, the event is named for both: a comment on an issue.
fn written_about(payload: &Map<String, Value>, own: &[String], strange: &Strange<'_>) -> Option<String> {
    let subject = own.iter().find(|field| payload.get(*field).is_some_and(Value::is_object))?;
    let (name, text) = strange.iter().find(|(_, value)| value.get("user").is_some_and(Value::is_object))?;
    // A text may belong to another text about the subject, which it then names by its id.
    let through = text.as_object()?.keys().find_map(|key| key.strip_prefix(subject.as_str())?.strip_suffix("_id"));
    Some(format!("{subject}{}_{name}", through.unwrap_or_default()))
}

/// The one object that has an id; others may only be parts of its name.
fn named_as_object(payload: &Map<String, Value>, strange: &Strange<'_>) -> Option<String> {
    let action = payload.get("action").and_then(Value::as_str)?;
    let mut names = strange.iter().filter(|(_, value)| value.get("id").is_some()).map(|(name, _)| *name);
    let first = names.next()?;
    let longest = names.clone().fold(first, |longest, name| if name.len() > longest.len() { name } else { longest });
    let clear = !action.is_empty() && names.chain([first]).all(|name| longest.starts_with(name));
    clear.then(|| longest.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use schemas::provider;
    use serde_json::json;

    use super::*;

    fn guess(payload: &Value) -> Option<String> {
        event(provider::ALL[0], payload)
    }

    #[test]
    fn no_recorded_payload_is_taken_for_another_event_and_nearly_all_for_theirs() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures");
        let (mut right, mut silent) = (0, Vec::new());
        for provider in provider::ALL.iter().filter(|provider| provider.event_header.is_some()) {
            for folder in fs::read_dir(fixtures.join(provider.id)).expect("fixtures") {
                for file in fs::read_dir(folder.expect("a folder").path()).expect("a folder") {
                    let path = file.expect("a file").path();
                    let name = path.display().to_string();
                    if name.ends_with(".event.json") || !name.ends_with(".json") {
                        continue;
                    }
                    let read = |path: &Path| -> Value {
                        serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
                    };
                    let expected =
                        path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy().into_owned();
                    match event(provider, &read(&path)) {
                        Some(event) => {
                            assert_eq!(event, expected, "{name}");
                            right += 1;
                        }
                        None => silent.push(name),
                    }
                }
            }
        }
        assert!(right >= 9 * silent.len(), "{right} right, silent on {silent:?}");
    }

    #[test]
    fn an_event_without_a_sample_is_named_as_the_object_it_brings() {
        let repository = json!({ "id": 1 });
        let named = |payload: Value| guess(&payload).unwrap_or_default();
        assert_eq!(
            named(json!({ "action": "requested", "check_suite": { "id": 1 }, "repository": repository })),
            "check_suite"
        );
        let run = json!({ "action": "completed", "workflow_run": { "id": 1 }, "workflow": { "id": 2 }, "repository": repository });
        assert_eq!(named(run), "workflow_run");
    }

    #[test]
    fn a_text_about_something_known_is_an_event_of_both() {
        let text = json!({ "id": 1, "user": { "id": 2 } });
        let issue = json!({ "id": 1, "user": { "id": 2 } });
        let named = |payload: Value| guess(&payload).unwrap_or_default();
        assert_eq!(
            named(json!({ "action": "created", "issue": issue, "comment": text, "repository": {} })),
            "issue_comment"
        );
        let review = json!({ "action": "submitted", "pull_request": issue, "review": text, "repository": {} });
        assert_eq!(named(review), "pull_request_review");
        let deep = json!({ "id": 1, "user": {}, "pull_request_review_id": 3 });
        let comment = json!({ "action": "created", "pull_request": issue, "comment": deep, "repository": {} });
        assert_eq!(named(comment), "pull_request_review_comment");
        assert_eq!(
            named(json!({ "action": "labeled", "issue": issue, "label": { "id": 1 }, "repository": {} })),
            "issues"
        );
    }

    #[test]
    fn what_could_be_anything_is_not_guessed() {
        for payload in
            [json!(null), json!([1]), json!({}), json!({ "action": "created", "repository": {}, "sender": {} })]
        {
            assert_eq!(guess(&payload), None, "{payload}");
        }
    }
}
