//! Letters of the router.

use std::time::Duration;

use nats::{
    consume::letter,
    topology::{GW_DLQ, GW_EVENT, GW_OUTCOME, GW_PARKED, GW_WEBHOOK},
};
use reqwest::Method;
use schemas::subject;
use serde_json::{Value, json};
use tests::{KEY, Link, Webhook};
use tokio::time::Instant;

use crate::replay::{Ground, publisher, swallow};

/// Deliveries that the router never settled, buried as the broker's last handing out leads to.
async fn buried(ground: &mut Ground, webhooks: &[Webhook]) {
    ground.world.stop_gateway();
    ground.world.set("GW_ROLE", "ingest,deliver,vault");
    ground.world.start_gateway();
    ground.world.ready().await;
    for webhook in webhooks {
        ground.world.accept(webhook).await;
    }
    swallow(&mut ground.world).await;
    let publisher = publisher(&mut ground.world).await;
    for message in ground.world.messages(GW_WEBHOOK, subject::WEBHOOKS).await {
        let id = format!("dlq:router:{GW_WEBHOOK}:{}", message.sequence);
        let letter = letter("router", id, GW_WEBHOOK, &message, "exhausted", "handed out 8 times and never settled");
        publisher.publish(letter, Instant::now() + Duration::from_secs(5)).await.expect("stored");
    }
    ground.world.stop_gateway();
    ground.world.set("GW_ROLE", "");
    ground.world.start_gateway();
    ground.world.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_the_router_is_routed_with_its_own_id_or_parked_and_is_gone_then() {
    let mut ground = Ground::start().await;
    ground.world.link(&Link::repository("org_1", "42")).await;
    let webhooks = [Webhook::push(42, 1), Webhook::push(77, 1)];
    buried(&mut ground, &webhooks).await;
    assert_eq!(ground.world.count(GW_EVENT, subject::EVENTS).await, 0);
    for _ in 0..2 {
        let body = Some(json!({ "reason": "exhausted", "stage": "router" }));
        let answer = ground.world.api(Method::POST, "/dead-letters/redrive", body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    ground.world.counted(GW_DLQ, subject::DEAD, 0, Duration::from_secs(20)).await;
    let events = ground.world.messages(GW_EVENT, subject::EVENTS).await;
    assert_eq!(events.len(), 1);
    let id = schemas::event::id("github", &webhooks[0].delivery(), "org_1", None);
    assert_eq!(events[0].header("ce-id"), Some(id.as_str()));
    let body: Value = serde_json::from_slice(&events[0].payload).expect("an event");
    assert_eq!(body["sequence"], 1, "it has the place the delivery had");
    assert_eq!(ground.world.count(GW_PARKED, subject::PARKED).await, 1);
    let said = ground.world.messages(GW_OUTCOME, &subject::outcome("github", &webhooks[0].delivery())).await;
    let last: Value = serde_json::from_slice(&said.last().expect("an outcome").payload).expect("an outcome");
    assert_eq!((&last["outcome"], &last["reason"]), (&json!("released"), &json!("redriven")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_still_cannot_be_read_stays_and_is_the_operators_alone() {
    let mut ground = Ground::start().await;
    ground.world.accept(&Webhook::new("github", "push", "[1]")).await;
    let letter = ground.world.stored(GW_DLQ, "gw.dlq.router.unreadable", 1).await.remove(0);
    let (code, said, _) = ground.world.gw(&["dlq", "redrive", &letter.sequence.to_string()]).await;
    assert_eq!((code, said.trim()), (0, "sent back 1"));
    let broker = ground.world.broker().await;
    tests::eventually("the task is done", || async {
        let info = nats::topology::consumer_info(&broker, nats::topology::GW_JOB, "redrive").await.ok()?;
        (info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence > 0).then_some(())
    })
    .await;
    assert_eq!(ground.world.count(GW_DLQ, subject::DEAD).await, 1);
    let narrowed = [("x-api-key", KEY), ("x-org-id", "org_1")];
    let listed = ground.world.api_with(Method::GET, "/dead-letters", None, &narrowed).await;
    assert_eq!(listed.body["deadLetters"], json!([]));
    let path = format!("/dead-letters/{}", letter.sequence);
    assert_eq!(ground.world.api_with(Method::GET, &path, None, &narrowed).await.status, 404);
    assert_eq!(ground.world.api(Method::GET, &path, None).await.body["body"], "[1]");
}
