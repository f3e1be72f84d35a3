//! Very many endpoints in one process.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use nats::topology;
use reqwest::Method;
use schemas::delivery::Origin;
use serde_json::json;
use tests::{Reply, eventually_within};

use super::{Pushes, event_of};

const ORGANISATIONS: usize = 20;
const EACH: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_endpoints_of_which_a_tenth_hangs_get_their_events() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/bad", Reply::Hang);
    let (world, receiver) = (&pushes.world, &pushes.receiver);
    stream::iter(0..ORGANISATIONS * EACH)
        .for_each_concurrent(16, |number| async move {
            let path = if number % 10 == 0 { "/bad" } else { "/good" };
            let org = format!("org_{}", number % ORGANISATIONS);
            let body = json!({ "orgId": org, "url": receiver.url(path), "events": ["*"] });
            let made = world.api(Method::POST, "/endpoints", Some(body)).await;
            assert_eq!(made.status, 201, "{:?}", made.body);
        })
        .await;
    let broker = pushes.broker().await;
    eventually_within(Duration::from_secs(180), "each has its consumer", || async {
        let names = nats::durable::names(&broker, topology::GW_EVENT).await.ok()?;
        let of_endpoints = names.iter().filter(|name| name.starts_with("ep_")).count();
        (of_endpoints == ORGANISATIONS * EACH).then_some(())
    })
    .await;
    // Organisations are even or odd by their number, and so are the endpoints that hang.
    let events = (0..ORGANISATIONS).map(|org| event_of(&format!("org_{org}"), Origin::Live, 1)).collect();
    pushes.publish(events).await;
    let seen = pushes.receiver.got("/good", ORGANISATIONS * EACH * 9 / 10).await;
    assert_eq!(seen.len(), ORGANISATIONS * EACH * 9 / 10);
    let rss = tests::memory(pushes.world.gateway().pid());
    assert!(rss < 400 << 20, "the gateway takes {} MiB", rss >> 20);
}
