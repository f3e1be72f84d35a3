//! Vercel: webhooks of an integration, about the deployments of a team's or a person's projects.
//!
//! Sources: Vercel docs, "Webhooks API Reference" and "Securing webhooks".

use std::time::Duration;

use serde_json::{Value, json};

use super::{Provider, Sample, Signature};
use crate::event_type::{EventType, TypeKey};

mod identity;
mod normalise;

/// Vercel as data.
pub(super) static PROVIDER: Provider = Provider {
    id: "vercel",
    name: "Vercel",
    signature: Signature::HmacSha1 { header: "x-vercel-signature" },
    ack_budget: Duration::from_secs(8),
    signed_at: None,
    event_header: None,
    delivery_header: None,
    form_field: None,
    kept_headers: &["user-agent", "content-type", "x-vercel-id"],
    // A team, or the person whose account it is where there is none.
    account_kinds: &["team", "user"],
    resource_kinds: &["project"],
    identify: identity::identify,
    event_types: EVENT_TYPES,
    type_of,
    normalise: normalise::normalise,
    samples: SAMPLES,
    refresh,
};

const EVENT_TYPES: &[EventType] = &[
    deployment("deployment.created", "created", "Deployment Started", 30),
    deployment("deployment.succeeded", "succeeded", "Deployment Succeeded", 40),
    deployment("deployment.ready", "ready", "Deployment Ready", 40),
    deployment("deployment.error", "error", "Deployment Failed", 70),
    deployment("deployment.canceled", "canceled", "Deployment Canceled", 65),
    deployment("deployment.check-rerequested", "check-rerequested", "Deployment Check Re-requested", 25),
];

const fn deployment(category: &'static str, action: &'static str, label: &'static str, weight: u8) -> EventType {
    EventType { entity: "deployment", action: Some(action), label, weight, category }
}

macro_rules! sample {
    ($event:literal, $name:literal) => {
        Sample {
            event: $event,
            name: $name,
            body: include_str!(concat!("../../fixtures/vercel/", $event, "/", $name, ".json")),
        }
    };
}

const SAMPLES: &[Sample] = &[
    sample!("deployment.succeeded", "production"),
    sample!("deployment.created", "from-github"),
    sample!("deployment.created", "personal-account"),
    sample!("deployment.created", "from-cli"),
    sample!("deployment.ready", "preview"),
    sample!("deployment.error", "production"),
    sample!("deployment.canceled", "preview"),
    sample!("deployment.check-rerequested", "check"),
    sample!("deployment.promoted", "production"),
    sample!("project.created", "team"),
    sample!("integration-configuration.removed", "team"),
];

/// The type: the entity is what stands before the first dot.
fn type_of(event: &str, _: &Value) -> TypeKey {
    match event.split_once('.') {
        Some((entity, action)) => TypeKey::new(entity, Some(action)),
        None => TypeKey::new(event, None),
    }
}

fn refresh(payload: &mut Value, now: i64, nonce: &str) {
    if !payload.is_object() {
        return;
    }
    payload["id"] = json!(format!("uev_{nonce}"));
    payload["createdAt"] = json!(now);
    if let Some(id) = payload.pointer_mut("/payload/deployment/id") {
        *id = json!(format!("dpl_{nonce}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source_event::Context;

    #[test]
    fn the_entity_ends_at_the_first_dot() {
        for (event, entity, action) in [
            ("deployment.created", "deployment", Some("created")),
            ("deployment.check-rerequested", "deployment", Some("check-rerequested")),
            ("deployment.integration.action.start", "deployment", Some("integration.action.start")),
            ("integration-configuration.removed", "integration-configuration", Some("removed")),
            ("deployment", "deployment", None),
            ("deployment.", "deployment", None),
            ("", "", None),
        ] {
            let key = type_of(event, &Value::Null);
            assert_eq!((key.entity.as_str(), key.action.as_deref()), (entity, action), "{event}");
        }
    }

    #[test]
    fn a_refreshed_sample_is_another_event_of_the_same_type_at_the_time() {
        for sample in SAMPLES {
            let old: Value = serde_json::from_str(sample.body).expect("a sample is JSON");
            let mut new = old.clone();
            refresh(&mut new, 1_900_000_000_123, "nonce");
            assert_eq!(new["id"], "uev_nonce");
            let context = Context { provider: "vercel", delivery: "d", event: sample.event, received_at: 0 };
            let Some(old) = (PROVIDER.normalise)(context, &old) else { continue };
            let new = (PROVIDER.normalise)(context, &new).expect("still an event");
            assert_eq!(old.source_type, new.source_type);
            assert_ne!(old.source_id, new.source_id, "{}", sample.name);
            assert_eq!(new.occurred_at, "2030-03-17T17:46:40.123Z");
        }
    }

    #[test]
    fn whatever_is_no_sample_stays_whole() {
        for mut payload in [json!(null), json!([1]), json!({"payload": {"deployment": 1}})] {
            refresh(&mut payload, 0, "");
        }
    }
}
