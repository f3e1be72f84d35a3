//! Under traffic: routes that change, order within an account, and a router that is killed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use nats::{Bucket, topology};
use reqwest::Method;
use rustix::process::Signal;
use schemas::{event, route::ROUTES, subject};
use serde_json::{Value, json};
use tests::{Link, Webhook, World, kill};
use tokio::{sync::RwLock, time::Instant};

/// The events of an organisation: how many times each delivery is there.
async fn tally(world: &mut World, org: &str) -> HashMap<String, usize> {
    let mut tally = HashMap::new();
    for event in world.events(org, 0).await {
        *tally.entry(event["deliveryId"].as_str().expect("a delivery").to_owned()).or_default() += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_change_during_traffic_lose_nothing_and_repeat_nothing() {
    let mut world = World::start().await;
    let mut links = Vec::new();
    for org in ["org_1", "org_2"] {
        links.push(world.link(&Link::repository(org, "42")).await);
    }
    let webhooks: Vec<Webhook> = (0..500).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    let posted = async {
        stream::iter(&webhooks).for_each_concurrent(16, |webhook| async { drop(world.accept(webhook).await) }).await;
    };
    let changed = async {
        let mut changes = 0;
        loop {
            for (connection, link) in &links {
                let path = format!("/connections/{connection}/resources");
                assert_eq!(world.api(Method::DELETE, &format!("{path}/{link}"), None).await.status, 200);
                let again = json!({ "providerResourceId": "42" });
                assert_eq!(world.api(Method::POST, &path, Some(again)).await.status, 200);
                changes += 1;
                let ready = world.get("/readyz").await;
                assert_eq!(ready.status, 200, "after {changes} changes: {ready:?}");
            }
        }
    };
    tokio::select! {
        () = posted => {}
        () = changed => {}
    }
    for (connection, _) in &links {
        let again = json!({ "providerResourceId": "42" });
        let linked = world.api(Method::POST, &format!("/connections/{connection}/resources"), Some(again)).await;
        assert!(matches!(linked.status, 200 | 409), "{linked:?}");
    }
    world.settled().await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(30)).await;
    assert_eq!(world.count(topology::GW_WEBHOOK, subject::WEBHOOKS).await, 500);
    let mut routed = HashSet::new();
    for org in ["org_1", "org_2"] {
        let tally = tally(&mut world, org).await;
        assert!(tally.values().all(|times| *times == 1), "{org} has an event twice");
        routed.extend(tally.into_keys());
    }
    let sent: HashSet<String> = webhooks.iter().map(Webhook::delivery).collect();
    assert_eq!(routed, sent, "every webhook is an event of somebody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_new_routes_does_not_stop_the_traffic() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let routes = Bucket::new(&world.broker().await, ROUTES);
    // As a migration of a large customer would: as fast as the bucket takes them.
    let migration = (0..32).map(|writer| {
        let routes = &routes;
        async move {
            for number in 0.. {
                let link = format!("lnk_{writer}_{number}");
                let route = json!({
                    "version": 1, "active": true, "linkId": link, "orgId": "org_2", "connectionId": "con_2", "generation": 1,
                    "provider": "github", "account": "2", "level": "resource", "target": link,
                });
                let key = format!("github.resource.{link}.{link}");
                assert!(routes.put_newer(&key, 1, route.to_string().into()).await.expect("put"));
            }
        }
    });
    let traffic = async {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < Duration::from_secs(9) {
            world.accept(&Webhook::push_numbered(42, 1, count)).await;
            let ready = world.get("/readyz").await;
            assert_eq!(
                ready.status,
                200,
                "after {:?} and {} routes: {ready:?}",
                begun.elapsed(),
                world.metric("gw_routes").await
            );
            count += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        count
    };
    let count = tokio::select! {
        count = traffic => count,
        _endless = join_all(migration) => unreachable!("a migration that ends"),
    };
    assert!(world.metric("gw_routes").await > 1_000.0, "that was no stream");
    world.settled().await;
    assert_eq!(world.count(topology::GW_EVENT, subject::EVENTS).await, count);
}

/// A push of so many bytes, one of which tells its number.
fn large(account: u64, number: u64) -> Webhook {
    let mut push: Value =
        serde_json::from_slice(&Webhook::push_numbered(account * 100, account, number).body).expect("JSON");
    push["filler"] = json!("x".repeat(700 * 1024));
    Webhook::new("github", "push", push.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_an_account_have_the_order_of_its_webhooks() {
    let mut world = World::start().await;
    for repository in ["100", "200", "300", "400", "500"] {
        world.link(&Link::repository("org_1", repository)).await;
    }
    let accounts = (1..=5).map(|account| {
        let world = &world;
        async move {
            for number in 0..100 {
                let webhook = match number % 20 {
                    7 => large(account, number),
                    _ => Webhook::push_numbered(account * 100, account, number),
                };
                world.accept(&webhook).await;
            }
        }
    });
    join_all(accounts).await;
    world.settled().await;
    world.counted(topology::GW_EVENT, subject::EVENTS, 500, Duration::from_secs(30)).await;
    let stored = world.messages(topology::GW_WEBHOOK, subject::WEBHOOKS).await;
    let account: HashMap<u64, String> = stored
        .iter()
        .map(|message| (message.sequence, message.header(schemas::header::ACCOUNT).expect("an account").to_owned()))
        .collect();
    let mut sequences: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let events = world.events("org_1", 500).await;
    for event in &events {
        let sequence = event["sequence"].as_u64().expect("a sequence");
        sequences.entry(&account[&sequence]).or_default().push(sequence);
    }
    assert_eq!(sequences.len(), 5);
    for (account, sequences) in sequences {
        assert_eq!(sequences.len(), 100, "account {account}");
        assert!(sequences.is_sorted(), "account {account}: {sequences:?}");
    }
    assert_eq!(events.iter().filter(|event| event["payloadRef"].is_string()).count(), 25);
}

/// Posts until it is answered with 200, whatever happens to the gateway.
async fn insist(world: &RwLock<World>, webhook: &Webhook) {
    loop {
        let answered = world.read().await.try_post(webhook).await;
        if answered.is_ok_and(|answer| answer.status == 200) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_killed_again_and_again_repeats_no_event_and_loses_none() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "42")).await;
    // Every third is of a repository that nobody linked yet.
    let repository = |number| if number % 3 == 0 { 43 } else { 42 };
    let webhooks = (0..600).map(|number| Webhook::push_numbered(repository(number), number % 7, number));
    let webhooks: Arc<Vec<Webhook>> = Arc::new(webhooks.collect());
    let world = Arc::new(RwLock::new(world));
    let posting = tokio::spawn({
        let (world, webhooks) = (world.clone(), webhooks.clone());
        async move { stream::iter(webhooks.iter()).for_each_concurrent(24, |webhook| insist(&world, webhook)).await }
    });
    for pause in [60, 150, 30, 250] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let pid = world.write().await.gateway().pid();
        kill(pid, Signal::KILL);
        world.write().await.start_gateway();
    }
    posting.await.expect("everything is posted");
    let mut world = Arc::into_inner(world).expect("nobody else").into_inner();
    // What was in the hands of a killed router comes again when the broker's patience ends.
    let patience = topology::ACK_WAIT + Duration::from_secs(30);
    world.counted(topology::GW_EVENT, subject::EVENTS, 800, patience).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 200, patience).await;
    world.settled().await;
    world.link(&Link::repository("org_1", "43")).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(15)).await;
    for (org, repositories) in [("org_1", &[42, 43][..]), ("org_2", &[42])] {
        let own = webhooks.iter().zip(0..).filter(|(_, number)| repositories.contains(&repository(*number)));
        let ids: HashSet<String> =
            own.map(|(webhook, _)| event::id("github", &webhook.delivery(), org, None)).collect();
        let messages = world.messages(topology::GW_EVENT, &subject::events_of(Some(org), None, false)).await;
        let published: HashSet<String> =
            messages.iter().filter_map(|message| message.id().map(str::to_owned)).collect();
        assert_eq!((messages.len(), published), (ids.len(), ids), "{org}");
    }
    assert_eq!(world.count(topology::GW_DLQ, subject::DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_restart_under_traffic_leaves_nothing_waiting_and_keeps_the_order() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let webhooks: Vec<Webhook> = (0..400).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    for part in webhooks.chunks(200) {
        stream::iter(part).for_each_concurrent(32, |webhook| async { drop(world.accept(webhook).await) }).await;
        assert!(world.stop_gateway().success());
        world.start_gateway();
        world.ready().await;
    }
    // Sooner than the broker would hand out again what a router had taken and left.
    world.counted(topology::GW_EVENT, subject::EVENTS, 400, Duration::from_secs(15)).await;
    let sequences: Vec<u64> =
        world.events("org_1", 400).await.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
}
