//! Linear. Sources: Linear's developer documentation, "Webhooks", and the webhook payload types of its GraphQL
//! schema (`IssueWebhookPayload` and its like).

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Provider, Signature};
use crate::{
    event_type::{EventType, TypeKey, event_name},
    instant, json,
};

mod identity;
mod item;
mod normalise;
mod plan;
mod samples;

/// Linear as data.
pub(super) static PROVIDER: Provider = Provider {
    id: "linear",
    name: "Linear",
    signature: Signature::HmacSha256 { header: "linear-signature", prefix: "" },
    ack_budget: Duration::from_secs(4),
    signed_at: Some(identity::signed_at),
    event_header: None,
    delivery_header: Some("linear-delivery"),
    form_field: None,
    kept_headers: &["user-agent", "content-type", "linear-event", "linear-delivery"],
    account_kinds: &["organization"],
    resource_kinds: &["team"],
    identify: identity::identify,
    event_types: EVENT_TYPES,
    type_of,
    normalise: normalise::normalise,
    samples: samples::SAMPLES,
    refresh,
};

static EVENT_TYPES: &[EventType] = &[
    row("issue", "created", "Issue Created", 50, "Issue"),
    row("issue", "updated", "Issue Updated", 35, "Issue"),
    row("issue", "deleted", "Issue Deleted", 40, "Issue"),
    row("comment", "created", "Comment Added", 25, "Comment"),
    row("comment", "updated", "Comment Updated", 20, "Comment"),
    row("comment", "deleted", "Comment Deleted", 20, "Comment"),
    row("project", "created", "Project Created", 45, "Project"),
    row("project", "updated", "Project Updated", 35, "Project"),
    row("project", "deleted", "Project Deleted", 40, "Project"),
    row("cycle", "created", "Cycle Created", 40, "Cycle"),
    row("cycle", "updated", "Cycle Updated", 30, "Cycle"),
    row("cycle", "deleted", "Cycle Deleted", 35, "Cycle"),
    row("project-update", "created", "Project Update Posted", 45, "ProjectUpdate"),
    row("project-update", "updated", "Project Update Edited", 30, "ProjectUpdate"),
    row("project-update", "deleted", "Project Update Deleted", 25, "ProjectUpdate"),
];

const fn row(
    entity: &'static str,
    action: &'static str,
    label: &'static str,
    weight: u8,
    category: &'static str,
) -> EventType {
    EventType { entity, action: Some(action), label, weight, category }
}

/// What the payload is about, `Issue`: of the event type, or of the payload where there is none.
fn entity<'a>(event: &'a str, payload: &'a Value) -> &'a str {
    match event_name(event) {
        "" => json::text(payload, "type").unwrap_or("unknown"),
        name => name,
    }
}

/// The action as sent, `create`: of the event type, or of the payload where that has none.
fn action<'a>(event: &'a str, payload: &'a Value) -> Option<&'a str> {
    let own = event.split_once(':').map(|(_, action)| action).filter(|action| !action.is_empty());
    own.or_else(|| json::text(payload, "action"))
}

fn type_of(event: &str, payload: &Value) -> TypeKey {
    let action = action(event, payload).map(|action| match action {
        "create" => "created",
        "update" => "updated",
        "remove" => "deleted",
        other => other,
    });
    TypeKey::new(entity(event, payload), action)
}

fn refresh(payload: &mut Value, now: i64, nonce: &str) {
    let moment = instant::rfc3339(now);
    let created = json::text(payload, "action") == Some("create");
    if let Some(envelope) = payload.as_object_mut() {
        envelope.insert("webhookTimestamp".into(), json!(now));
        envelope.insert("webhookId".into(), json!(uuid(nonce)));
        envelope.insert("createdAt".into(), json!(moment));
    }
    if let Some(data) = payload.get_mut("data").and_then(Value::as_object_mut) {
        if created {
            data.insert("createdAt".into(), json!(moment));
        }
        data.insert("updatedAt".into(), json!(moment));
    }
}

/// A UUID (version 8) made of a nonce of any form.
fn uuid(nonce: &str) -> String {
    let hex = data_encoding::HEXLOWER.encode(&Sha256::digest(nonce));
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &str, payload: &Value, expected: &str) {
        assert_eq!(type_of(event, payload).source_type(), expected, "{event}");
    }

    #[test]
    fn the_type_comes_from_the_event_and_where_that_is_silent_from_the_payload() {
        check("Issue:create", &Value::Null, "issue.created");
        check("Issue", &json!({ "action": "update" }), "issue.updated");
        check("Issue", &json!({ "action": 7 }), "issue");
        check("Issue:", &json!({ "action": "remove" }), "issue.deleted");
        check("ProjectUpdate:remove", &Value::Null, "project-update.deleted");
        check("", &json!({ "type": "Comment", "action": "create" }), "comment.created");
        check("", &json!([]), "unknown");
    }

    #[test]
    fn a_type_without_an_entry_in_the_registry_has_a_key_as_well() {
        check("IssueLabel:create", &Value::Null, "issue-label.created");
        check("OAuthApp:revoked", &Value::Null, "oauth-app.revoked");
        check("Issue:restore", &Value::Null, "issue.restore");
    }

    #[test]
    fn a_refreshed_sample_is_a_new_happening_and_its_signed_time_is_now() {
        let mut payload = json!({ "action": "create", "data": { "createdAt": "old" }, "webhookTimestamp": 1 });
        refresh(&mut payload, 1_767_225_600_000, "nonce-1");
        let other = {
            let mut other = payload.clone();
            refresh(&mut other, 1_767_225_600_000, "nonce-2");
            other
        };
        assert_ne!(payload, other);
        assert_eq!(payload["webhookTimestamp"], 1_767_225_600_000_i64);
        assert_eq!(payload["data"]["createdAt"], "2026-01-01T00:00:00.000Z");
        assert_eq!(payload["data"]["updatedAt"], payload["createdAt"]);
        assert_eq!(identity::signed_at(payload.to_string().as_bytes()), Some(1_767_225_600_000));
    }
}
