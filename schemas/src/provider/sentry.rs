//! Sentry. Sources: Sentry's documentation, "Integration Platform: Webhooks" (issues, errors, issue alerts, metric
//! alerts, installation, comments), and the serializers of its source where the documentation is silent.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Provider, Sample, Signature};
use crate::{
    event_type::{EventType, TypeKey},
    instant, json,
};

mod alert;
mod error;
mod identity;
mod issue;
mod normalise;

/// Sentry as data.
pub(super) static PROVIDER: Provider = Provider {
    id: "sentry",
    name: "Sentry",
    signature: Signature::HmacSha256 { header: "sentry-hook-signature", prefix: "" },
    ack_budget: Duration::from_millis(800),
    // The timestamp header is outside what is signed.
    signed_at: None,
    event_header: Some("sentry-hook-resource"),
    delivery_header: None,
    form_field: None,
    kept_headers: &["user-agent", "content-type", "sentry-hook-resource", "sentry-hook-timestamp", "request-id"],
    account_kinds: &["installation"],
    resource_kinds: &["project"],
    identify: identity::identify,
    event_types: EVENT_TYPES,
    type_of,
    normalise: normalise::normalise,
    samples: SAMPLES,
    refresh,
};

static EVENT_TYPES: &[EventType] = &[
    row("issue", Some("created"), "Issue Created", 55, "issue"),
    row("issue", Some("resolved"), "Issue Resolved", 50, "issue"),
    row("issue", Some("assigned"), "Issue Assigned", 30, "issue"),
    row("issue", Some("ignored"), "Issue Ignored", 25, "issue"),
    row("issue", Some("archived"), "Issue Archived", 25, "issue"),
    row("issue", Some("unresolved"), "Issue Unresolved", 45, "issue"),
    row("error", None, "Error", 45, "error"),
    row("event-alert", None, "Alert Triggered", 65, "event_alert"),
    row("metric-alert", None, "Metric Alert", 70, "metric_alert"),
];

const fn row(
    entity: &'static str,
    action: Option<&'static str>,
    label: &'static str,
    weight: u8,
    category: &'static str,
) -> EventType {
    EventType { entity, action, label, weight, category }
}

macro_rules! sample {
    ($resource:literal, $name:literal) => {
        Sample {
            event: $resource,
            name: $name,
            body: include_str!(concat!("../../fixtures/sentry/", $resource, "/", $name, ".json")),
        }
    };
}

static SAMPLES: &[Sample] = &[
    sample!("issue", "created"),
    sample!("issue", "resolved-in-commit"),
    sample!("issue", "assigned"),
    sample!("issue", "ignored"),
    sample!("issue", "archived"),
    sample!("issue", "unresolved"),
    sample!("error", "created-with-frames"),
    sample!("error", "created-without-exception"),
    sample!("event_alert", "triggered"),
    sample!("metric_alert", "critical"),
    sample!("metric_alert", "warning"),
    sample!("metric_alert", "resolved"),
    sample!("installation", "created"),
    sample!("comment", "created"),
];

/// Errors and alerts have one action each, or actions that are states of one thing: those are not part of the type.
fn type_of(event: &str, payload: &Value) -> TypeKey {
    match event {
        "error" | "event_alert" | "metric_alert" => TypeKey::new(event, None),
        "" => TypeKey::new("unknown", None),
        _ => TypeKey::new(event, json::text(payload, "action")),
    }
}

fn refresh(payload: &mut Value, now: i64, nonce: &str) {
    let moment = json!(instant::rfc3339(now));
    let seconds = json!(now as f64 / 1000.0);
    let digest = Sha256::digest(nonce);
    let hex = json!(HEXLOWER.encode(&digest)[..32]);
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    for (place, fields) in [
        ("/data/issue", &[("lastSeen", &moment), ("shareId", &hex)][..]),
        ("/data/error", &[("event_id", &hex), ("datetime", &moment), ("timestamp", &seconds), ("received", &seconds)]),
        ("/data/event", &[("event_id", &hex), ("datetime", &moment), ("timestamp", &seconds), ("received", &seconds)]),
        (
            "/data/metric_alert",
            &[("id", &json!(number.to_string())), ("date_detected", &moment), ("date_started", &moment)],
        ),
        ("/data/installation", &[("code", &hex)]),
    ] {
        if let Some(object) = payload.pointer_mut(place).and_then(Value::as_object_mut) {
            object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())));
        }
    }
    if json::text(payload, "action") == Some("created")
        && let Some(seen) = payload.pointer_mut("/data/issue/firstSeen")
    {
        *seen = moment.clone();
    }
    if let Some(data) = payload.pointer_mut("/data").and_then(Value::as_object_mut)
        && data.contains_key("comment_id")
    {
        data.insert("comment_id".into(), json!(number));
        data.insert("timestamp".into(), moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_a_state_of_one_thing_has_its_action_in_the_type() {
        for (event, payload, expected) in [
            ("issue", json!({ "action": "resolved" }), "issue.resolved"),
            ("issue", json!({ "action": null }), "issue"),
            ("error", json!({ "action": "created" }), "error"),
            ("event_alert", json!({ "action": "triggered" }), "event-alert"),
            ("metric_alert", json!({ "action": "critical" }), "metric-alert"),
            ("comment", json!({ "action": "created" }), "comment.created"),
            ("installation", json!([]), "installation"),
            ("", Value::Null, "unknown"),
        ] {
            assert_eq!(type_of(event, &payload).source_type(), expected);
        }
    }

    #[test]
    fn a_sample_refreshed_twice_is_two_deliveries_and_keeps_its_shape() {
        for sample in SAMPLES {
            let original: Value = serde_json::from_str(sample.body).expect("a sample is JSON");
            let (mut one, mut two) = (original.clone(), original.clone());
            refresh(&mut one, 1_767_225_600_000, "nonce-1");
            refresh(&mut two, 1_767_225_600_000, "nonce-2");
            assert_ne!(one, two, "{} {}", sample.event, sample.name);
            assert_eq!(one["installation"], original["installation"]);
        }
    }
}
