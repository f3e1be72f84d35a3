//! What the ledger tells of deliveries, and that it adds up.

use nats::{Mode, Outgoing, Publisher};
use reqwest::Method;
use schemas::{
    attempt::{Attempt, PushOutcome},
    subject,
};
use serde_json::{Value, json};
use tests::{Answer, KEY, Webhook, World, eventually};
use tokio::time::Instant;

mod audits;
mod bound;
mod endpoints;
mod lists;
mod lives;
mod outages;
mod rebuilds;
mod retention;

/// Asks the API with the key.
pub(crate) async fn get(world: &World, path: &str) -> Answer {
    world.api(Method::GET, path, None).await
}

/// Asks as an organisation.
pub(crate) async fn get_as(world: &World, org: &str, path: &str) -> Answer {
    world.api_with(Method::GET, path, None, &[("x-api-key", KEY), ("x-org-id", org)]).await
}

/// The path of a delivery.
pub(crate) fn path(webhook: &Webhook) -> String {
    format!("/deliveries/{}/{}", webhook.provider, webhook.delivery())
}

/// The delivery, once it has this state.
pub(crate) async fn becomes(world: &World, webhook: &Webhook, status: &str) -> Value {
    tells(world, webhook, &[("/status", json!(status)), ("/ledger/behind", json!(0))]).await
}

/// The delivery, once it says all of this; each of its streams is read at a pace of its own.
pub(crate) async fn tells(world: &World, webhook: &Webhook, wanted: &[(&str, Value)]) -> Value {
    let path = path(webhook);
    eventually(&format!("{path} tells {wanted:?}"), || async {
        let answer = get(world, &path).await;
        says(&answer, wanted).then_some(answer.body)
    })
    .await
}

/// Whether an answer has these values at these pointers.
pub(crate) fn says(answer: &Answer, wanted: &[(&str, Value)]) -> bool {
    answer.status == 200 && wanted.iter().all(|(pointer, value)| answer.body.pointer(pointer) == Some(value))
}

/// What adding up says, once it says something.
pub(crate) async fn audit(world: &World) -> Value {
    eventually("it is added up", || async {
        let answer = get(world, "/audit").await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

/// A member of the first whose id is this.
pub(crate) fn term<'a>(rows: &'a Value, id: &str, name: &str) -> &'a Value {
    let rows = rows.as_array().expect("a list");
    rows.iter().find(|row| row[id] == name).unwrap_or_else(|| panic!("{name} is among {rows:?}"))
}

/// An attempt at the first event that an organisation has.
pub(crate) async fn attempt_of(world: &mut World, org: &str, endpoint: &str) -> Attempt {
    world.events(org, 1).await;
    let events = world.messages("GW_EVENT", &subject::events_of(Some(org), None, false)).await;
    let text = |name: &str| events[0].header(name).expect("a header").to_owned();
    Attempt {
        org_id: org.to_owned(),
        endpoint_id: endpoint.to_owned(),
        event_id: text("ce-id"),
        sequence: events[0].sequence,
        provider: text("Gw-Provider"),
        delivery_id: text("Gw-Delivery"),
        kind: text("ce-type"),
        attempt: 1,
        outcome: PushOutcome::Delivered,
        status_code: Some(200),
        error_class: None,
        latency_ms: Some(12),
        at: 1_780_000_000_000,
        next_at: None,
        reason: None,
        replay: None,
        letter: None,
        payload_ref: None,
    }
}

/// Stores attempts as the pushes would.
pub(crate) async fn record(world: &mut World, attempts: &[Attempt]) {
    let broker = world.broker().await;
    let (publisher, group) = Publisher::new(&broker, Mode::Pipeline);
    let group = tokio::spawn(group);
    for attempt in attempts {
        let message = Outgoing {
            subject: subject::attempt(&attempt.org_id, &attempt.endpoint_id, &attempt.event_id),
            id: format!(
                "{}:{}:{}:{}",
                attempt.endpoint_id,
                attempt.event_id,
                attempt.attempt,
                attempt.outcome.as_str()
            ),
            payload: serde_json::to_vec(attempt).expect("JSON").into(),
            ..Outgoing::default()
        };
        publisher.publish(message, Instant::now() + std::time::Duration::from_secs(10)).await.expect("it is stored");
    }
    group.abort();
}
