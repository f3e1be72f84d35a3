//! GitHub, as an App: webhooks of an installation, about its repositories.
//!
//! Sources: GitHub docs, "Webhook events and payloads" and "Validating webhook deliveries".

use std::time::Duration;

use serde_json::Value;

use super::{Provider, Sample, Signature};
use crate::{
    event_type::{EventType, TypeKey},
    json::{at, text},
};

mod discussion;
mod identity;
mod issue;
mod links;
mod normalise;
mod pull_request;
mod push;
mod refresh;
mod release;

/// GitHub as data.
pub(super) static PROVIDER: Provider = Provider {
    id: "github",
    name: "GitHub",
    signature: Signature::HmacSha256 { header: "x-hub-signature-256", prefix: "sha256=" },
    // GitHub gives up after 10 seconds.
    ack_budget: Duration::from_secs(8),
    signed_at: None,
    event_header: Some(EVENT_HEADER),
    delivery_header: Some(DELIVERY_HEADER),
    form_field: Some("payload"),
    kept_headers: &[
        "user-agent",
        "content-type",
        EVENT_HEADER,
        DELIVERY_HEADER,
        "x-github-hook-id",
        "x-github-hook-installation-target-id",
        "x-github-hook-installation-target-type",
    ],
    account_kinds: &["installation"],
    resource_kinds: &["repository"],
    identify: identity::identify,
    event_types: EVENT_TYPES,
    type_of,
    normalise: normalise::normalise,
    samples: SAMPLES,
    refresh: refresh::refresh,
};

const EVENT_HEADER: &str = "x-github-event";
const DELIVERY_HEADER: &str = "x-github-delivery";

const EVENT_TYPES: &[EventType] = &[
    event_type("push", "push", None, "Push", 30),
    event_type("pull_request", "pull-request", Some("opened"), "PR Opened", 50),
    event_type("pull_request", "pull-request", Some("closed"), "PR Closed", 45),
    event_type("pull_request", "pull-request", Some("merged"), "PR Merged", 60),
    event_type("pull_request", "pull-request", Some("reopened"), "PR Reopened", 40),
    event_type("pull_request", "pull-request", Some("ready-for-review"), "Ready for Review", 45),
    event_type("issues", "issue", Some("opened"), "Issue Opened", 45),
    event_type("issues", "issue", Some("closed"), "Issue Closed", 40),
    event_type("issues", "issue", Some("reopened"), "Issue Reopened", 40),
    event_type("release", "release", Some("published"), "Release Published", 75),
    event_type("release", "release", Some("created"), "Release Created", 70),
    event_type("discussion", "discussion", Some("created"), "Discussion Created", 35),
    event_type("discussion", "discussion", Some("answered"), "Discussion Answered", 40),
];

const fn event_type(
    category: &'static str,
    entity: &'static str,
    action: Option<&'static str>,
    label: &'static str,
    weight: u8,
) -> EventType {
    EventType { entity, action, label, weight, category }
}

macro_rules! sample {
    ($event:literal, $name:literal) => {
        Sample {
            event: $event,
            name: $name,
            body: include_str!(concat!("../../fixtures/github/", $event, "/", $name, ".json")),
        }
    };
}

const SAMPLES: &[Sample] = &[
    sample!("pull_request", "opened"),
    sample!("pull_request", "merged"),
    sample!("pull_request", "closed-unmerged"),
    sample!("pull_request", "reopened"),
    sample!("pull_request", "ready-for-review"),
    sample!("push", "branch"),
    sample!("push", "tag"),
    sample!("issues", "opened"),
    sample!("issues", "closed"),
    sample!("issues", "reopened"),
    sample!("release", "published"),
    sample!("release", "created-name-null"),
    sample!("discussion", "created"),
    sample!("discussion", "answered"),
    sample!("installation", "created"),
    sample!("ping", "app"),
];

/// The type: the event and its action, but a pull request closed by merging is `merged`, and `issues` are `issue`.
fn type_of(event: &str, payload: &Value) -> TypeKey {
    let action = text(payload, "action");
    match event {
        "push" => TypeKey::new(event, None),
        "issues" => TypeKey::new("issue", action),
        "pull_request" if action == Some("closed") && is_merged(at(payload, "pull_request")) => {
            TypeKey::new(event, Some("merged"))
        }
        _ => TypeKey::new(event, action),
    }
}

/// Whether a pull request is merged. What the list API returns has no `merged`.
fn is_merged(pull_request: &Value) -> bool {
    at(pull_request, "merged").as_bool().unwrap_or_else(|| text(pull_request, "merged_at").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(expected: &str, event: &str, payload: Value) {
        assert_eq!(type_of(event, &payload).source_type(), expected);
    }

    #[test]
    fn a_closed_pull_request_is_merged_only_if_it_was() {
        check("pull-request.merged", "pull_request", json!({"action": "closed", "pull_request": {"merged": true}}));
        check("pull-request.closed", "pull_request", json!({"action": "closed", "pull_request": {"merged": false}}));
        check(
            "pull-request.merged",
            "pull_request",
            json!({"action": "closed", "pull_request": {"merged_at": "2026-01-01T00:00:00Z"}}),
        );
        check("pull-request.closed", "pull_request", json!({"action": "closed", "pull_request": {"merged_at": null}}));
        check("pull-request.closed", "pull_request", json!({"action": "closed", "pull_request": null}));
        check("pull-request.labeled", "pull_request", json!({"action": "labeled", "pull_request": {"merged": true}}));
    }

    #[test]
    fn every_event_has_a_type() {
        check("push", "push", json!({}));
        check("issue.opened", "issues", json!({"action": "opened"}));
        check("pull-request.ready-for-review", "pull_request", json!({"action": "ready_for_review"}));
        check("check-run.completed", "check_run", json!({"action": "completed"}));
        check("ping", "ping", json!([]));
        check("pull-request", "pull_request", json!({"action": 7}));
        check("", "", json!(null));
    }
}
