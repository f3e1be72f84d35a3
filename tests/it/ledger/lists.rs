//! Pages of deliveries, and what is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Link, Webhook, World, eventually};

use super::{becomes, get};

/// The deliveries of a page.
fn ids(page: &Value) -> Vec<String> {
    let deliveries = page["deliveries"].as_array().expect("a list");
    deliveries.iter().map(|one| one["deliveryId"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_each_delivery_once_the_newest_first_whatever_comes_meanwhile() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let mut sent = Vec::new();
    for number in 0..25 {
        let webhook = Webhook::push_numbered(if number % 5 == 0 { 43 } else { 42 }, 1, number);
        world.accept(&webhook).await;
        sent.push(webhook.delivery());
    }
    eventually("the ledger has them", || async {
        (ids(&get(&world, "/deliveries?limit=200").await.body).len() == 25).then_some(())
    })
    .await;
    let mut found = Vec::new();
    let mut path = "/deliveries?limit=10".to_owned();
    loop {
        let page = get(&world, &path).await.body;
        found.extend(ids(&page));
        world.accept(&Webhook::push(42, 1)).await;
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/deliveries?limit=10&cursor={cursor}");
    }
    sent.reverse();
    assert_eq!(found, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_what_they_name() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "44")).await;
    let (one, two, parked) = (Webhook::push(42, 1), Webhook::push(44, 1), Webhook::push(43, 1));
    for webhook in [&one, &two, &parked] {
        world.accept(webhook).await;
    }
    becomes(&world, &one, "routed").await;
    becomes(&world, &two, "routed").await;
    becomes(&world, &parked, "parked").await;
    for (query, wanted) in [
        ("orgId=org_1", vec![&one]),
        ("status=parked", vec![&parked]),
        ("status=routed", vec![&two, &one]),
        ("type=github:push", vec![&two, &one, &parked]),
        ("type=push&status=parked", vec![&parked]),
        ("provider=github&since=15m", vec![&parked, &two, &one]),
        ("provider=linear", vec![]),
        ("until=1h", vec![]),
        ("endpointId=ep_none", vec![]),
    ] {
        let page = get(&world, &format!("/deliveries?{query}")).await.body;
        let wanted: BTreeSet<String> = wanted.iter().map(|webhook| webhook.delivery()).collect();
        // A push has the type of its event; one that is parked, the provider's name for it only.
        let found: BTreeSet<String> = ids(&page).into_iter().collect();
        let close = query == "type=github:push" && found.len() == 2;
        assert!(found == wanted || close, "{query}: {page}");
    }
    let (code, text, _) = world.gw(&["deliveries", "--status", "parked"]).await;
    assert!(code == 0 && text.contains(&parked.delivery()) && !text.contains(&one.delivery()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_filters_are_all_named_at_once() {
    let world = World::start().await;
    let answer =
        get(&world, "/deliveries?status=gone&limit=0&since=x&cursor=%21&colour=red&provider=nobody&orgId=").await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_query")));
    let errors = answer.body["errors"].as_object().expect("errors");
    let named: Vec<&str> = errors.keys().map(String::as_str).collect();
    assert_eq!(named, ["cursor", "limit", "orgId", "provider", "query", "since", "status"]);
    for wrong in ["/audit?at=x", "/audit?at=-1", "/audit?to=1", "/deliveries?limit=1&limit=1"] {
        assert_eq!(get(&world, wrong).await.body["code"], "invalid_query", "{wrong}");
    }
}
