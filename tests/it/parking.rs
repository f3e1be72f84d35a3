//! What nobody claims: kept whole, and said.

use std::time::Duration;

use nats::{Payloads, topology};
use reqwest::Method;
use schemas::{Delivery, header, subject};
use serde_json::{Value, json};
use tests::{Link, Webhook, World, never};

/// What the outcomes say of a delivery, in order.
async fn outcomes(world: &mut World, webhook: &Webhook) -> Vec<Value> {
    let messages = world.messages(topology::GW_OUTCOME, &subject::outcome("github", &webhook.delivery())).await;
    messages.iter().map(|message| serde_json::from_slice(&message.payload).expect("an outcome")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_nobody_claims_is_parked_whole_and_counted() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "43")).await;
    let webhook = Webhook::push(42, 1).with("user-agent", "GitHub-Hookshot/x");
    world.accept(&webhook).await;
    let subject = format!("gw.parked.github.1.{}", webhook.delivery());
    let parked = world.stored(topology::GW_PARKED, subject::PARKED, 1).await;
    assert_eq!((parked[0].subject.as_str(), parked[0].payload.as_ref()), (subject.as_str(), webhook.body.as_slice()));
    let stored = world.messages(topology::GW_WEBHOOK, subject::WEBHOOKS).await;
    let [delivery, original] = [&parked[0], &stored[0]].map(|message| {
        let mut delivery = Delivery::from_headers(&message.header_list()).expect("a delivery");
        delivery.kept.sort();
        delivery
    });
    assert_eq!(delivery, original);
    assert_eq!(delivery.resources, ["42"]);
    assert!(delivery.kept.contains(&("user-agent".to_owned(), "GitHub-Hookshot/x".to_owned())));
    assert_eq!(parked[0].header(header::SEQUENCE), Some(stored[0].sequence.to_string().as_str()));
    world.settled().await;
    let outcomes = outcomes(&mut world, &webhook).await;
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert_eq!((&outcomes[0]["outcome"], &outcomes[0]["sequence"]), (&json!("parked"), &json!(stored[0].sequence)));
    assert_eq!(outcomes[0]["reason"], "no link claims resource 42 or account 1");
    assert_eq!(world.metric("gw_route_unresolved_total{provider=\"github\"}").await, 1.0);
    assert_eq!(world.count(topology::GW_EVENT, subject::EVENTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_releases_what_was_parked_once_and_only_what_it_claims() {
    let mut world = World::start().await;
    let (wanted, other) = (Webhook::push(42, 1), Webhook::push(43, 1));
    for webhook in [&wanted, &other] {
        world.accept(webhook).await;
    }
    world.stored(topology::GW_PARKED, subject::PARKED, 2).await;
    world.link(&Link::repository("org_1", "42")).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 1, Duration::from_secs(3)).await;
    let events = world.events("org_1", 1).await;
    assert_eq!((events.len(), &events[0]["deliveryId"]), (1, &json!(wanted.delivery())));
    assert_eq!(events[0]["sequence"], json!(world.messages(topology::GW_WEBHOOK, subject::WEBHOOKS).await[0].sequence));
    let said: Vec<Value> =
        outcomes(&mut world, &wanted).await.iter().map(|outcome| outcome["outcome"].clone()).collect();
    assert_eq!(said, [json!("parked"), json!("released")]);
    assert_eq!(world.metric("gw_route_released_total").await, 1.0);
    world.link(&Link::repository("org_2", "42")).await;
    world.link(&Link::repository("org_3", "44")).await;
    let world = &world;
    never("more is released", Duration::from_millis(500), || async {
        (world.metric("gw_route_released_total").await > 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn organisations_that_link_at_the_same_time_each_get_what_was_parked_at_most_once() {
    let mut world = World::start().await;
    let webhooks: Vec<Webhook> = (0..40).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    for webhook in &webhooks {
        world.accept(webhook).await;
    }
    world.stored(topology::GW_PARKED, subject::PARKED, 40).await;
    let link = |org: &'static str| {
        let world = &world;
        async move {
            let adopt = json!({ "provider": "github", "externalId": "1", "orgId": org });
            let id = world.api(Method::POST, "/connections", Some(adopt)).await.body["id"].clone();
            let path = format!("/connections/{}/resources", id.as_str().expect("an id"));
            world.api(Method::POST, &path, Some(json!({ "providerResourceId": "42" }))).await
        }
    };
    let (first, second) = tokio::join!(link("org_1"), link("org_2"));
    assert_eq!((first.status, second.status), (200, 200));
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(5)).await;
    let mut all = std::collections::HashSet::new();
    for org in ["org_1", "org_2"] {
        let events = world.events(org, 0).await;
        let ids: std::collections::HashSet<String> =
            events.iter().map(|event| event["deliveryId"].to_string()).collect();
        assert_eq!(ids.len(), events.len(), "{org} has one twice");
        all.extend(ids);
    }
    assert_eq!(all.len(), 40, "each was released to somebody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_whose_link_refuses_it_is_filtered() {
    let mut world = World::start().await;
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    world.stored(topology::GW_PARKED, subject::PARKED, 1).await;
    let (_, link) = world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_1", "42") }).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(3)).await;
    let outcomes = outcomes(&mut world, &webhook).await;
    let filtered = outcomes.iter().find(|outcome| outcome["outcome"] == "filtered").expect("filtered");
    assert_eq!(filtered["filtered"], json!([{ "orgId": "org_1", "linkIds": [link] }]));
    assert_eq!(world.count(topology::GW_EVENT, subject::EVENTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_delivery_is_parked_and_released_with_all_its_bytes() {
    let mut world = World::start().await;
    let mut push: Value = serde_json::from_slice(&Webhook::push(42, 1).body).expect("JSON");
    push["filler"] = json!("é".repeat(400 * 1024));
    let webhook = Webhook::new("github", "push", push.to_string());
    world.accept(&webhook).await;
    let parked = world.stored(topology::GW_PARKED, subject::PARKED, 1).await;
    let reference = parked[0].header(header::PAYLOAD_REF).expect("a reference").to_owned();
    assert!(parked[0].payload.is_empty());
    world.link(&Link::repository("org_1", "42")).await;
    let events = world.events("org_1", 1).await;
    assert_eq!((&events[0]["payloadRef"], &events[0]["payload"]), (&json!(reference), &Value::Null));
    let body = Payloads::new(&world.broker().await).get(&reference).await.expect("the store answers").expect("a body");
    assert_eq!(body.as_ref(), webhook.body.as_slice());
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_with_more_resources_than_headers_hold_is_released_by_its_last() {
    let mut world = World::start().await;
    let repositories: Vec<Value> = (1000..1400).map(|id| json!({ "id": id })).collect();
    let body = json!({ "action": "added", "installation": { "id": 1 }, "repositories_added": repositories });
    world.accept(&Webhook::new("github", "installation_repositories", body.to_string())).await;
    world.stored(topology::GW_PARKED, subject::PARKED, 1).await;
    world.link(&Link::repository("org_1", "2000")).await;
    world.link(&Link { events: Some(&["*"]), ..Link::repository("org_2", "1399") }).await;
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(5)).await;
    assert_eq!(world.events("org_2", 1).await.len(), 1);
    assert_eq!(world.events("org_1", 0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_comes_at_the_moment_of_the_webhook_misses_nothing() {
    let mut world = World::start().await;
    let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
    let connection =
        world.api(Method::POST, "/connections", Some(adopt)).await.body["id"].as_str().expect("an id").to_owned();
    for repository in 0..50 {
        let webhook = Webhook::push(repository, 1);
        let linking = async {
            // Each time a little later, so that every order of the two happens.
            tokio::time::sleep(Duration::from_micros(repository * 100)).await;
            let body = json!({ "providerResourceId": repository.to_string() });
            world.api(Method::POST, &format!("/connections/{connection}/resources"), Some(body)).await
        };
        let (_, linked) = tokio::join!(world.accept(&webhook), linking);
        assert_eq!(linked.status, 200, "{linked:?}");
    }
    world.counted(topology::GW_PARKED, subject::PARKED, 0, Duration::from_secs(10)).await;
    world.settled().await;
    assert_eq!(world.count(topology::GW_EVENT, subject::EVENTS).await, 50);
}
