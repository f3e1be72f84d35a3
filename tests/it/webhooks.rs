//! Webhook in: what is accepted, what is refused, and what is stored.

use std::collections::BTreeMap;

use nats::topology;
use serde_json::json;
use tests::{Link, Setup, Webhook, World};

mod bodies;
mod freshness;
mod identity;
mod injection;
mod refusals;
mod signatures;
mod tracing;
mod unreadable;

/// The last sequence of every stream: what changes as soon as anything is stored anywhere.
async fn marks(world: &mut World) -> BTreeMap<String, u64> {
    let broker = world.broker().await;
    let mut marks = BTreeMap::new();
    for spec in topology::specs(&topology::Settings::default()) {
        let info = topology::stream_info(&broker, &spec.config.name).await.expect("a stream");
        marks.insert(spec.config.name, info.state.last_sequence);
    }
    marks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_becomes_the_event_of_the_organisation_that_linked_it() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    let events = world.events("org_1", 1).await;
    assert_eq!(events[0]["deliveryId"], json!(webhook.delivery()));
    assert_eq!(events[0]["type"], json!("github:push"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_posted_two_hundred_times_at_once_is_stored_and_routed_once() {
    for mode in ["batch", "pipeline"] {
        let mut world = Setup::new().with("GW_PUBLISH", mode).start().await;
        world.link(&Link::repository("org_1", "42")).await;
        let webhook = Webhook::push(42, 1);
        let answers = world.post_all(&vec![webhook.clone(); 200]).await;
        let stored = world.stored(topology::GW_WEBHOOK, "gw.webhook.>", 1).await;
        assert_eq!(stored.len(), 1, "{mode}");
        let duplicate =
            json!({ "status": "duplicate", "deliveryId": webhook.delivery(), "sequence": stored[0].sequence });
        let accepted = json!({ "status": "accepted", "deliveryId": webhook.delivery() });
        let of = |body| answers.iter().filter(|answer| answer.status == 200 && answer.body == body).count();
        assert_eq!((of(accepted), of(duplicate)), (1, 199), "{mode}: {answers:?}");
        world.settled().await;
        assert_eq!(world.events("org_1", 1).await.len(), 1, "{mode}");
        assert_eq!(world.metric(r#"gw_ingest_accepted_total{provider="github"}"#).await, 1.0, "{mode}");
        assert_eq!(world.metric(r#"gw_ingest_duplicate_total{provider="github"}"#).await, 199.0, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deliveries_each_posted_several_times_at_once_are_stored_once_each() {
    let mut world = Setup::new().with("GW_PUBLISH", "batch").start().await;
    let webhooks: Vec<Webhook> = (0..60).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    let mixed: Vec<Webhook> = (0..240).map(|at| webhooks[at % webhooks.len()].clone()).collect();
    let answers = world.post_all(&mixed).await;
    let stored = world.stored(topology::GW_WEBHOOK, "gw.webhook.>", webhooks.len()).await;
    assert_eq!(stored.len(), webhooks.len());
    for webhook in &webhooks {
        let own = || answers.iter().filter(|answer| answer.body["deliveryId"] == json!(webhook.delivery()));
        assert_eq!(own().filter(|answer| answer.body["status"] == json!("accepted")).count(), 1);
        let place =
            stored.iter().find(|message| message.header("Gw-Delivery") == Some(&webhook.delivery())).expect("stored");
        let duplicates: Vec<_> = own().filter(|answer| answer.body["status"] == json!("duplicate")).collect();
        assert_eq!(duplicates.len(), 3);
        assert!(duplicates.iter().all(|answer| answer.body["sequence"] == json!(place.sequence)), "{duplicates:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_known_by_provider_and_id_alone_also_after_a_restart() {
    let mut world = World::start().await;
    let first = Webhook::push(42, 1);
    world.accept(&first).await;
    let sequence = world.stored(topology::GW_WEBHOOK, "gw.webhook.github.>", 1).await[0].sequence;
    let duplicate = json!({ "status": "duplicate", "deliveryId": first.delivery(), "sequence": sequence });
    // Another body and another event do not make another delivery: the first one stays as it is.
    let other = Webhook::new("github", "push", "{\"other\":true}").with("x-github-delivery", &first.delivery());
    let event = Webhook::new("github", "issues", "{}").with("x-github-delivery", &first.delivery());
    for again in [&first, &other, &event] {
        let answer = world.post(again).await;
        assert_eq!((answer.status, &answer.body), (200, &duplicate));
    }
    let elsewhere = Webhook::new("linear", "", "{}").with("linear-delivery", &first.delivery());
    world.accept(&elsewhere).await;
    world.kill_gateway();
    world.start_gateway();
    world.ready().await;
    assert_eq!(world.post(&first).await.body, duplicate);
    let stored = world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await;
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].payload, first.body);
}
