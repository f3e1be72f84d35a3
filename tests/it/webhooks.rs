//! Webhook in: what is accepted, what is refused, and what is stored.

use nats::topology;
use schemas::header;
use serde_json::json;
use tests::{Link, Webhook, World};

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
async fn the_stored_bytes_are_the_received_bytes() {
    let mut world = World::start().await;
    for body in [&b"{\"a\": 1}\r\n "[..], b"\xEF\xBB\xBF{}", b"\xff\xfe not utf-8", b"not json", b"\0"] {
        let webhook = Webhook::new("github", "push", body);
        world.accept(&webhook).await;
        let filter = format!("gw.webhook.github.push.{}", webhook.delivery());
        let stored = world.stored(topology::GW_WEBHOOK, &filter, 1).await;
        assert_eq!(stored[0].payload.as_ref(), body);
        assert_eq!(stored[0].header(header::SIGNATURE_KEY), Some("current"));
    }
}
