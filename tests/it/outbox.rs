//! A link whose row is there comes to the router, whatever dies between the two.

use std::{collections::HashSet, time::Duration};

use nats::topology;
use reqwest::Method;
use schemas::subject;
use serde_json::json;
use tests::{Webhook, World, eventually};

/// Within this time a link is known after its broker died: before routing would stop for want of news.
const SOON: Duration = Duration::from_secs(5);

async fn adopt(world: &World) -> String {
    let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
    let adopted = world.api(Method::POST, "/connections", Some(adopt)).await;
    adopted.body["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_made_while_the_broker_is_down_arrives_when_it_is_back() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        tests::skip("killing the broker", "it is shared");
        return;
    }
    let path = format!("/connections/{}/resources", adopt(&world).await);
    for repository in 1..=3 {
        world.kill_nats();
        let body = json!({ "providerResourceId": repository.to_string() });
        let linked = world.api(Method::POST, &path, Some(body)).await;
        assert_eq!(linked.status, 200, "{linked:?}");
        let known = f64::from(repository) - 0.5;
        let route =
            eventually("the route appears", || async { (world.metric("gw_routes").await > known).then_some(()) });
        let soon = tokio::time::timeout(SOON, route).await;
        let log = world.gateway().log();
        assert!(soon.is_ok(), "the route of {repository} did not appear in {SOON:?}:\n{log}");
    }
    world.ready().await;
    world.accept(&Webhook::push(2, 1)).await;
    assert_eq!(world.events("org_1", 1).await.len(), 1);
    let told = world.messages(topology::GW_CONNECTION, subject::CONNECTIONS).await;
    // A crash may repeat what was in flight, under the same id.
    let ids: HashSet<&str> = told.iter().filter_map(nats::Message::id).collect();
    assert_eq!(ids.len(), 4, "one connected, three linked: {ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_answered_survives_the_death_of_the_gateway() {
    let mut world = World::start().await;
    let path = format!("/connections/{}/resources", adopt(&world).await);
    let mut links = Vec::new();
    for repository in 1..=20 {
        let body = json!({ "providerResourceId": repository.to_string() });
        let linked = world.api(Method::POST, &path, Some(body)).await;
        world.kill_gateway();
        assert_eq!(linked.status, 200, "{linked:?}");
        links.push(linked.body["resource"]["id"].as_str().expect("an id").to_owned());
        world.start_gateway();
        let known = f64::from(repository) - 0.5;
        eventually("the route appears", || async { (world.metric("gw_routes").await > known).then_some(()) }).await;
    }
    // The same for the end of a link: a route that stays would go on giving events.
    for (done, link) in links.iter().take(5).enumerate() {
        let removed = world.api(Method::DELETE, &format!("{path}/{link}"), None).await;
        world.kill_gateway();
        assert_eq!(removed.status, 200, "{removed:?}");
        world.start_gateway();
        world.ready().await;
        let left = 19 - u32::try_from(done).expect("a small number");
        let line = format!("\ngw_routes {left}\n");
        eventually("the route is gone", || async { world.metrics().await.contains(&line).then_some(()) }).await;
    }
    world.accept(&Webhook::push(1, 1)).await;
    world.accept(&Webhook::push(20, 1)).await;
    assert_eq!(world.events("org_1", 1).await.len(), 1);
    world.settled().await;
    assert_eq!(world.count(topology::GW_PARKED, subject::PARKED).await, 1);
}
