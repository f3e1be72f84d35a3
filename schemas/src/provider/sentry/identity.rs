//! What a Sentry delivery says of itself, read from headers and raw body in one pass.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::super::{Identity, Received, raw};
use crate::json;

/// Characters of a delivery id.
const ID_LENGTH: usize = 32;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    installation: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Installation<'a> {
    #[serde(borrow)]
    uuid: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    issue: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    issue_alert: Option<&'a RawValue>,
    #[serde(borrow)]
    metric_alert: Option<&'a RawValue>,
}

/// What a project is of: an issue has it as an object, an event as an id, a metric alert has a list.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Subject<'a> {
    #[serde(borrow)]
    project: Option<&'a RawValue>,
    #[serde(borrow)]
    projects: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

pub(super) fn identify(received: &Received<'_>) -> Identity {
    let envelope: Envelope<'_> = raw::body(received.body).unwrap_or_default();
    let installation: Installation<'_> = raw::object(envelope.installation).unwrap_or_default();
    let account = raw::id(installation.uuid);
    let event = (received.header)("sentry-hook-resource").filter(|resource| !resource.is_empty());
    let action = raw::text(envelope.action);
    Identity {
        delivery: delivery([
            account.as_deref().unwrap_or_default(),
            event.unwrap_or_default(),
            action.as_deref().unwrap_or_default(),
            received.body_sha256,
        ]),
        event: event.map(str::to_owned),
        account,
        resources: projects(&raw::object(envelope.data).unwrap_or_default()),
    }
}

/// The id of a delivery. Sentry sends none: `Request-ID` differs each time the same webhook is sent, and the timestamp
/// header has only seconds.
fn delivery(parts: [&str; 4]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = HEXLOWER.encode(&hash.finalize());
    id.truncate(ID_LENGTH);
    id
}

fn projects(data: &Data<'_>) -> Vec<String> {
    let mut projects = Vec::new();
    let mut add = |id: Option<String>| projects.extend(id.filter(|id| !projects.contains(id)));
    for subject in [data.issue, data.error, data.event, data.issue_alert] {
        let subject: Subject<'_> = raw::object(subject).unwrap_or_default();
        add(project(subject.project));
    }
    let alert: Subject<'_> = raw::object(data.metric_alert).unwrap_or_default();
    for entry in raw::items(alert.projects) {
        // A slug is never all digits, so that it cannot be taken for an id.
        add(project(Some(entry)).filter(|id| id.bytes().all(|byte| byte.is_ascii_digit())));
    }
    projects
}

fn project(field: Option<&RawValue>) -> Option<String> {
    match raw::object::<Project<'_>>(field) {
        Some(project) => raw::id(project.id),
        None => json::as_id(&raw::scalar(field)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(resource: Option<&'static str>, body: &[u8]) -> Identity {
        let header = |name: &str| resource.filter(|_| name == "sentry-hook-resource");
        identify(&Received { header: &header, body, body_sha256: "5a" })
    }

    #[track_caller]
    fn check(data: Value, expected: &[&str]) {
        let body = json!({ "data": data }).to_string();
        assert_eq!(of(Some("issue"), body.as_bytes()).resources, expected, "{data}");
    }

    #[test]
    fn a_project_is_found_wherever_an_event_keeps_it() {
        check(json!({ "issue": { "project": { "id": "1", "slug": "front-end" } } }), &["1"]);
        check(json!({ "issue": { "project": { "id": 0 } } }), &["0"]);
        check(json!({ "error": { "project": 4 } }), &["4"]);
        check(json!({ "event": { "project": "4" } }), &["4"]);
        check(
            json!({ "event": { "project": 4 }, "issue_alert": { "project": 4 }, "error": { "project": 5 } }),
            &["5", "4"],
        );
        check(
            json!({ "metric_alert": { "projects": ["front-end", 7, "8", { "id": "9" }, 7, null] } }),
            &["7", "8", "9"],
        );
    }

    #[test]
    fn what_is_of_another_type_is_absent() {
        check(
            json!({ "issue": [1], "error": { "project": [4] }, "event": { "project": 1.5 }, "metric_alert": 3 }),
            &[],
        );
        check(json!("text"), &[]);
        let identity = of(Some("issue"), br#"{"installation":{"uuid":null},"action":{},"data":[]}"#);
        assert_eq!((identity.account, identity.resources), (None, vec![]));
    }

    #[test]
    fn the_delivery_id_tells_installations_resources_and_bodies_apart_and_nothing_else() {
        let body = br#"{"action":"created","installation":{"uuid":"a"}}"#;
        let id = of(Some("issue"), body).delivery;
        assert_eq!(id.len(), ID_LENGTH);
        assert_eq!(of(Some("issue"), body).delivery, id);
        assert_ne!(of(Some("error"), body).delivery, id);
        assert_ne!(of(None, body).delivery, id);
        assert_ne!(of(Some("issue"), br#"{"action":"created","installation":{"uuid":"b"}}"#).delivery, id);
        assert_ne!(delivery(["ab", "c", "", ""]), delivery(["a", "bc", "", ""]));
    }

    #[test]
    fn a_body_that_is_no_object_leaves_what_the_headers_tell() {
        for body in [&b""[..], b"{", b"[{},{},{}]", b"null", b"\xff"] {
            let identity = of(Some("issue"), body);
            assert_eq!(identity.event.as_deref(), Some("issue"));
            assert_eq!((identity.account, identity.resources), (None, vec![]));
        }
        assert_eq!(of(Some(""), b"{}").event, None);
    }
}
