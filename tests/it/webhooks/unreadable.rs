//! What is verified and cannot be read: accepted, and kept whole among the dead letters.

use nats::{Message, topology};
use schemas::header;
use serde_json::{Value, json};
use tests::{Link, Webhook, World};

/// The dead letter of a delivery, and the delivery.
async fn buried(world: &mut World, webhook: &Webhook, letters: usize) -> (Message, Message) {
    let id = world.accept(webhook).await.body["deliveryId"].as_str().expect("an id").to_owned();
    let dead = world.stored(topology::GW_DLQ, "gw.dlq.router.unreadable", letters).await;
    assert_eq!(dead.len(), letters);
    let dead = dead.into_iter().find(|letter| letter.header(header::DELIVERY) == Some(&id)).expect("its letter");
    let filter = format!("gw.webhook.{}.*.{id}", webhook.provider);
    (dead, world.stored(topology::GW_WEBHOOK, &filter, 1).await.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_delivery_that_cannot_be_read_is_accepted_and_quarantined_whole() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let large = vec![b'{'; 600 * 1024];
    let readable = r#"{"repository":{"id":42},"installation":{"id":1}}"#;
    let webhooks = [
        Webhook::new("github", "push", "not json"),
        Webhook::new("github", "push", "\u{feff}"),
        Webhook::new("github", "push", b"\xff\xfe{\"repository\":{\"id\":42}}".to_vec()),
        Webhook::new("github", "push", "{\"repository\":{\"id\":42}"),
        Webhook::new("github", "push", "[1,2]"),
        Webhook::new("github", "push", "null"),
        Webhook::new("github", "push", "payload=%7B%7D"),
        Webhook::new("github", "push", format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
        Webhook::new("github", "push", large),
        Webhook::new("github", "push", readable).without("x-github-event"),
        Webhook::new("github", "push", readable).with("x-github-event", ""),
        Webhook::new("sentry", "issue", readable).without("sentry-hook-resource"),
        Webhook::new("vercel", "", "{\"payload\":{}}"),
        Webhook::new("linear", "", "{\"data\":{}}"),
    ];
    for (at, webhook) in webhooks.iter().enumerate() {
        let (dead, stored) = buried(&mut world, webhook, at + 1).await;
        let of = |name: &str| dead.header(name).unwrap_or_default();
        assert_eq!(of(header::DLQ_REASON), "unreadable");
        assert_eq!((of(header::DLQ_STREAM), of(header::DLQ_SUBJECT)), ("GW_WEBHOOK", stored.subject.as_str()));
        assert_eq!(of(header::DLQ_SEQUENCE), stored.sequence.to_string());
        assert!(!of(header::DLQ_DETAIL).is_empty());
        assert_eq!(dead.header(header::PAYLOAD_REF), stored.header(header::PAYLOAD_REF));
        assert_eq!(dead.payload, stored.payload);
        if stored.header(header::PAYLOAD_REF).is_none() {
            assert_eq!(dead.payload, webhook.body);
        }
        for (name, value) in stored.headers().filter(|(name, _)| name.starts_with("Gw-")) {
            assert_eq!(dead.header(name), Some(value), "{name}");
        }
        let outcome = world.stored(topology::GW_OUTCOME, "gw.outcome.>", at + 1).await.pop().expect("an outcome");
        let outcome: Value = serde_json::from_slice(&outcome.payload).expect("JSON");
        assert_eq!((&outcome["outcome"], &outcome["sequence"]), (&json!("dead"), &json!(stored.sequence)));
    }
    world.settled().await;
    assert!(world.messages(topology::GW_EVENT, "gw.event.>").await.is_empty());
    assert!(world.messages(topology::GW_PARKED, "gw.parked.>").await.is_empty());
    let unreadable = r#"gw_route_unreadable_total{provider="github"}"#;
    assert_eq!(world.metric(unreadable).await, 11.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_delivery_holds_up_nobody_behind_it() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let readable = r#"{"repository":{"id":42},"installation":{"id":1}}"#;
    for round in 0..10 {
        world.accept(&Webhook::new("github", "push", readable).without("x-github-event")).await;
        world.accept(&Webhook::push_numbered(42, 1, round)).await;
    }
    assert_eq!(world.events("org_1", 10).await.len(), 10);
    world.settled().await;
    assert_eq!(world.stored(topology::GW_DLQ, "gw.dlq.>", 10).await.len(), 10);
}
