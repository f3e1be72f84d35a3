//! Stored deliveries, routed again.

use std::{collections::BTreeSet, time::Duration};

use nats::{
    durable,
    topology::{GW_EVENT, GW_WEBHOOK, ROUTER},
};
use reqwest::Method;
use schemas::{header, subject};
use serde_json::{Value, json};
use tests::{Link, Webhook, eventually};

use super::{Ground, swallow};

#[tokio::test(flavor = "multi_thread")]
async fn a_reroute_makes_history_of_stored_deliveries_for_who_is_linked_today() {
    let mut ground = Ground::start().await;
    ground.world.link(&Link::repository("org_1", "42")).await;
    for number in 0..10 {
        ground.world.accept(&Webhook::push_numbered(42, 1, number)).await;
        ground.world.accept(&Webhook::push_numbered(77, 1, number)).await;
    }
    ground.world.settled().await;
    let first = ground.world.events("org_1", 10).await;
    ground.world.link(&Link::repository("org_2", "42")).await;
    let counted = ground.replayed(json!({ "mode": "reroute", "dryRun": true })).await;
    let done = ground.replayed(json!({ "mode": "reroute", "ratePerSecond": "max" })).await;
    for count in ["read", "published", "organisations", "skipped"] {
        assert_eq!(done[count], counted[count], "{count}");
    }
    assert_eq!(done["organisations"], json!({ "org_1": 10, "org_2": 10 }));
    assert_eq!(done["skipped"], json!({ "unclaimed": 10 }));
    let made = ground.world.stored(GW_EVENT, subject::HISTORY_EVENTS, 20).await;
    assert_eq!(made.len(), 20);
    let bodies: Vec<Value> =
        made.iter().map(|message| serde_json::from_slice(&message.payload).expect("an event")).collect();
    let ids: BTreeSet<&str> = made.iter().filter_map(|message| message.header("ce-id")).collect();
    assert_eq!(ids.len(), 20, "each has an id of its own");
    for (message, body) in made.iter().zip(&bodies) {
        let own = message.header("ce-id").expect("an id");
        let org = body["orgId"].as_str().expect("an organisation");
        let delivery = body["deliveryId"].as_str().expect("a delivery");
        let id = schemas::event::id("github", delivery, org, None);
        assert_eq!(body["replayOf"], json!(id));
        assert_eq!((message.header(header::ORIGIN), body["origin"].as_str()), (Some("replay"), Some("replay")));
        assert_eq!(message.header(header::REPLAY), done["id"].as_str());
        assert_ne!(own, id);
    }
    let payloads = |bodies: &[Value]| bodies.iter().map(|body| body["payload"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(payloads(&bodies), payloads(&first), "the same payloads");
    let own = ground.replayed(json!({ "mode": "reroute", "orgId": "org_2", "type": "github:push" })).await;
    assert_eq!(own["organisations"], json!({ "org_2": 10 }));
    assert_eq!(ground.world.events("org_1", 10).await.len(), 10, "nothing of it is live");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_and_never_routed_is_routed_live_with_its_own_ids_and_only_that() {
    let mut ground = Ground::start().await;
    ground.world.link(&Link::repository("org_1", "42")).await;
    let routed: Vec<Webhook> = (0..5).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    for webhook in &routed {
        ground.world.accept(webhook).await;
    }
    ground.world.accept(&Webhook::push(99, 1)).await;
    ground.world.settled().await;
    ground.world.stop_gateway();
    ground.world.set("GW_ROLE", "ingest,deliver,vault");
    ground.world.start_gateway();
    ground.world.ready().await;
    let lost: Vec<Webhook> = (5..12).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    for webhook in lost.iter().chain([&Webhook::push(99, 1)]) {
        ground.world.accept(webhook).await;
    }
    swallow(&mut ground.world).await;
    ground.world.stop_gateway();
    ground.world.set("GW_ROLE", "");
    ground.world.start_gateway();
    ground.world.ready().await;
    assert_eq!(ground.world.count(GW_EVENT, subject::EVENTS).await, 5, "the others are lost on the way");
    let done = ground.replayed(json!({ "mode": "reroute", "onlyUndelivered": true, "ratePerSecond": "max" })).await;
    assert_eq!((&done["read"], &done["published"]), (&json!(14), &json!(7)), "{done}");
    let events = ground.world.messages(GW_EVENT, subject::EVENTS).await;
    let ids: BTreeSet<String> = events.iter().filter_map(|event| event.header("ce-id")).map(str::to_owned).collect();
    let expected: BTreeSet<String> = routed
        .iter()
        .chain(&lost)
        .map(|webhook| schemas::event::id("github", &webhook.delivery(), "org_1", None))
        .collect();
    assert_eq!((events.len(), ids), (12, expected));
    assert!(events.iter().all(|event| event.header(header::ORIGIN) == Some("live")));
    ground.world.counted(nats::topology::GW_PARKED, subject::PARKED, 2, Duration::from_secs(5)).await;
    let again = ground.replayed(json!({ "mode": "reroute", "onlyUndelivered": true })).await;
    assert_eq!(again["published"], json!(0), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_routed_is_routed_to_all_who_claim_it_whoever_asks() {
    let mut ground = Ground::start().await;
    for org in ["org_1", "org_2"] {
        ground.world.link(&Link::repository(org, "42")).await;
    }
    ground.world.stop_gateway();
    ground.world.set("GW_ROLE", "ingest,deliver,vault");
    ground.world.start_gateway();
    ground.world.ready().await;
    for number in 0..3 {
        ground.world.accept(&Webhook::push_numbered(42, 1, number)).await;
    }
    swallow(&mut ground.world).await;
    ground.world.stop_gateway();
    ground.world.set("GW_ROLE", "");
    ground.world.start_gateway();
    ground.world.ready().await;
    let asked = json!({ "mode": "reroute", "onlyUndelivered": true, "orgId": "org_1", "ratePerSecond": "max" });
    let done = ground.replayed(asked).await;
    assert_eq!((&done["published"], &done["organisations"]), (&json!(3), &json!({ "org_1": 3 })), "{done}");
    for org in ["org_1", "org_2"] {
        assert_eq!(ground.world.events(org, 3).await.len(), 3, "{org}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_routed_to_who_has_unlinked_since_is_not_undelivered() {
    let mut ground = Ground::start().await;
    let world = &mut ground.world;
    let (connection, link) = world.link(&Link::repository("org_1", "42")).await;
    for number in 0..3 {
        world.accept(&Webhook::push_numbered(42, 1, number)).await;
    }
    world.settled().await;
    let path = format!("/connections/{connection}/resources/{link}");
    assert_eq!(world.api(Method::DELETE, &path, None).await.status, 200);
    eventually("the route is gone", || async { (world.metric("gw_routes").await < 0.5).then_some(()) }).await;
    let asked = json!({ "mode": "reroute", "onlyUndelivered": true, "ratePerSecond": "max" });
    let nobody = ground.replayed(asked.clone()).await;
    assert_eq!((&nobody["published"], &nobody["skipped"]), (&json!(0), &json!({ "routed": 3 })), "{nobody}");
    ground.world.link(&Link::repository("org_2", "42")).await;
    let other = ground.replayed(asked).await;
    assert_eq!((&other["published"], &other["skipped"]), (&json!(0), &json!({ "routed": 3 })), "{other}");
    assert_eq!(ground.world.count(nats::topology::GW_PARKED, subject::PARKED).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reroute_waits_while_live_deliveries_do() {
    let mut ground = Ground::start().await;
    ground.world.link(&Link::repository("org_1", "42")).await;
    ground.world.accept(&Webhook::push(42, 1)).await;
    ground.world.settled().await;
    let broker = ground.world.broker().await;
    durable::pause(&broker, GW_WEBHOOK, ROUTER, 4_102_444_800_000).await.expect("it is paused");
    let waiting: Vec<Webhook> = (0..1_200).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    for run in waiting.chunks(200) {
        let answers = ground.world.post_all(run).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    let replay = ground.replay(json!({ "mode": "reroute", "toSequence": 1 })).await;
    eventually("it says what it waits for", || async {
        (ground.look(&replay).await["waitsFor"] == "live-traffic").then_some(())
    })
    .await;
    assert_eq!(ground.world.count(GW_EVENT, subject::HISTORY_EVENTS).await, 0);
    durable::pause(&broker, GW_WEBHOOK, ROUTER, 1_000).await.expect("it goes on");
    let ended = ground.ended(&replay).await;
    assert_eq!((&ended["status"], &ended["published"]), (&json!("done"), &json!(1)), "{ended}");
    assert!(ground.world.count(GW_EVENT, subject::EVENTS).await >= 100, "live went first");
}
