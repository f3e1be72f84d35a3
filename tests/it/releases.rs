//! Releases at scale, and those that a router finds when it starts.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use nats::topology;
use reqwest::Client;
use schemas::subject;
use serde_json::{Value, json};
use tests::{Gateway, KEY, Link, Setup, Webhook, World, eventually};

async fn post(world: &World, webhooks: &[Webhook]) {
    stream::iter(webhooks).for_each_concurrent(48, |webhook| async { drop(world.accept(webhook).await) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_releases_thousands_in_the_order_they_came() {
    let mut world = World::start().await;
    let webhooks: Vec<Webhook> = (0..2_000).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    post(&world, &webhooks).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 2_000, Duration::from_secs(60)).await;
    world.link(&Link::repository("org_1", "42")).await;
    // A delivery that comes meanwhile waits for none of them.
    let live = Webhook::push_numbered(42, 1, 9_999);
    world.accept(&live).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(60)).await;
    let events = world.events("org_1", 2_001).await;
    assert_eq!(events.len(), 2_001);
    let released = events.iter().filter(|event| event["deliveryId"] != json!(live.delivery()));
    let sequences: Vec<u64> = released.filter_map(|event| event["sequence"].as_u64()).collect();
    assert_eq!(sequences.len(), 2_000);
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert_eq!(world.metric("gw_route_released_total").await, 2_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_made_while_deliveries_are_being_parked_gets_every_one_of_them() {
    let mut world = World::start().await;
    let webhooks: Vec<Webhook> = (0..1_000).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    let (half, rest) = webhooks.split_at(500);
    post(&world, half).await;
    let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
    let id = world.api(reqwest::Method::POST, "/connections", Some(adopt)).await.body["id"].clone();
    let path = format!("/connections/{}/resources", id.as_str().expect("an id"));
    let link = world.api(reqwest::Method::POST, &path, Some(json!({ "providerResourceId": "42" })));
    let (linked, ()) = tokio::join!(link, post(&world, rest));
    assert_eq!(linked.status, 200, "{linked:?}");
    world.settled().await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(30)).await;
    world.counted(topology::GW_EVENT, subject::EVENTS, 1_000, Duration::from_secs(5)).await;
}

/// Makes a link with a gateway that has no router, while the other one is down.
async fn link_without_a_router(world: &World, org: &str) {
    let log = world.folder().join("vault.log");
    let mut vault = Gateway::start(&mut world.command(&["serve", "--role", "vault"]), &log);
    let http = Client::builder().no_proxy().build().expect("a client");
    let ask = async |path: String, body: Value| {
        let request = http.post(format!("{}{path}", vault.api)).header("x-api-key", KEY).json(&body);
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        answer
    };
    let adopted =
        ask("/connections".to_owned(), json!({ "provider": "github", "externalId": "1", "orgId": org })).await;
    let id = adopted["id"].as_str().expect("an id");
    let linked = ask(format!("/connections/{id}/resources"), json!({ "providerResourceId": "42" })).await;
    assert_eq!(linked["status"], json!("linked"), "{linked}");
    assert!(vault.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_starts_releases_what_was_linked_while_it_was_down() {
    let mut world = World::start().await;
    let webhooks: Vec<Webhook> = (0..20).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    post(&world, &webhooks).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 20, Duration::from_secs(10)).await;
    assert!(world.stop_gateway().success());
    link_without_a_router(&world, "org_1").await;
    world.start_gateway();
    world.ready().await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(10)).await;
    assert_eq!(world.events("org_1", 20).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_links_releases_each_its_own_within_seconds() {
    let mut world = World::start().await;
    let webhooks: Vec<Webhook> = (0..150).map(|repository| Webhook::push(repository, 1)).collect();
    post(&world, &webhooks).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 150, Duration::from_secs(20)).await;
    let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
    let id = world.api(reqwest::Method::POST, "/connections", Some(adopt)).await.body["id"].clone();
    let path = format!("/connections/{}/resources", id.as_str().expect("an id"));
    for repository in 0..150 {
        let linked = world
            .api(reqwest::Method::POST, &path, Some(json!({ "providerResourceId": repository.to_string() })))
            .await;
        assert_eq!(linked.status, 200, "{linked:?}");
        // Far enough apart that each wakes the router for itself.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(5)).await;
    assert_eq!(world.events("org_1", 150).await.len(), 150);
    let log = world.gateway().log();
    assert!(!log.contains("parked.release\""), "a release failed: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_dies_in_the_middle_of_a_release_finishes_it_after_its_start() {
    let mut world = World::start().await;
    let webhooks: Vec<Webhook> = (0..600).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    post(&world, &webhooks).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 600, Duration::from_secs(30)).await;
    world.settled().await;
    world.link(&Link::repository("org_1", "42")).await;
    eventually("some are released", || async {
        (world.metric("gw_route_events_total{provider=\"github\"}").await > 0.0).then_some(())
    })
    .await;
    world.kill_gateway();
    world.start_gateway();
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(15)).await;
    let events = world.events("org_1", 600).await;
    let sequences: Vec<u64> = events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert_eq!(sequences.len(), 600);
    assert!(sequences.is_sorted(), "{sequences:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_whose_body_is_lost_holds_up_no_other() {
    let mut world = World::start().await;
    let mut large: Value = serde_json::from_slice(&Webhook::push(42, 1).body).expect("JSON");
    large["filler"] = json!("x".repeat(700 * 1024));
    let webhooks = [Webhook::new("github", "push", large.to_string()), Webhook::push(42, 1)];
    for webhook in &webhooks {
        world.accept(webhook).await;
    }
    world.counted(topology::GW_PARKED, subject::PARKED, 2, Duration::from_secs(5)).await;
    let store = format!("OBJ_{}", topology::GW_PAYLOAD);
    let broker = world.broker().await;
    let chunks = world.messages(&store, &format!("$O.{}.C.>", topology::GW_PAYLOAD)).await;
    assert!(!chunks.is_empty());
    for chunk in chunks {
        nats::delete(&broker, &store, chunk.sequence).await.expect("deleted");
    }
    world.link(&Link::repository("org_1", "42")).await;
    // The broker's silence about the lost body is waited for once.
    world.counted(topology::GW_EVENT, subject::EVENTS, 1, Duration::from_secs(60)).await;
    assert_eq!(world.events("org_1", 1).await[0]["deliveryId"], json!(webhooks[1].delivery()));
    world.counted(topology::GW_PARKED, subject::PARKED, 1, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_nobody_linked_delay_nobody_when_there_is_no_room_to_park_them() {
    let mut world = Setup::new().with("GW_MAX_BYTES", "GW_PARKED=256KiB").start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let webhooks: Vec<Webhook> = (0..3_000).map(|number| Webhook::push_numbered(77, 1_000 + number, number)).collect();
    post(&world, &webhooks).await;
    world.accept(&Webhook::push(42, 1)).await;
    world.counted(topology::GW_EVENT, subject::EVENTS, 1, Duration::from_secs(20)).await;
}
