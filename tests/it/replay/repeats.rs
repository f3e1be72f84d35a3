//! What a replay asked for and could not be tried yet: it waits beside the event's own push.

use nats::topology::{GW_DLQ, GW_RETRY};
use reqwest::Method;
use schemas::{attempt::Retry, subject};
use serde_json::{Value, json};
use tests::{Link, Reply, Webhook, eventually};

use super::Ground;
use crate::ledger::{audit, tells, term};

/// An endpoint that has got the first of two deliveries, has failed at the second, and is paused.
async fn paused(ground: &mut Ground) -> (String, [Webhook; 2]) {
    ground.world.link(&Link::repository("org_1", "42")).await;
    ground.receiver.on("/hook", |number, _| Reply::Status(if number == 0 { 204 } else { 500 }));
    let url = ground.receiver.url("/hook");
    let body = json!({ "orgId": "org_1", "url": url, "events": ["*"], "retrySchedule": [3_600] });
    let made = ground.world.api(Method::POST, "/endpoints", Some(body)).await;
    let endpoint = made.body["id"].as_str().expect("an id").to_owned();
    let webhooks = [1, 2].map(|number| Webhook::push_numbered(42, 1, number));
    for (webhook, status) in webhooks.iter().zip(["delivered", "scheduled"]) {
        ground.world.accept(webhook).await;
        tells(&ground.world, webhook, &[("/events/0/pushes/0/status", json!(status))]).await;
    }
    let paused = json!({ "status": "paused" });
    let answer = ground.world.api(Method::PATCH, &format!("/endpoints/{endpoint}"), Some(paused)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (endpoint, webhooks)
}

/// What a trace tells of a push that waits again for a replay.
fn again(status: &str, replay: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("/events/0/pushes/0/status", json!(status)),
        ("/events/0/pushes/0/waitsFor", json!("paused")),
        ("/events/0/pushes/0/repeats/0/replay", json!(replay)),
    ]
}

/// Waits until the second has ended so with its endpoint, and no timer is left; the first was delivered and stays so.
async fn ends(ground: &mut Ground, endpoint: &str, [first, second]: &[Webhook; 2], how: &str) {
    tells(&ground.world, second, &[("/events/0/pushes/0/status", json!(how))]).await;
    let broker = ground.world.broker().await;
    let waiting = subject::retries_waiting_of(endpoint);
    eventually("no timer is left", || async {
        nats::subjects(&broker, GW_RETRY, &waiting).await.is_ok_and(|left| left.is_empty()).then_some(())
    })
    .await;
    let first = tells(&ground.world, first, &[("/ledger/behind", json!(0))]).await;
    assert_eq!(first["events"][0]["pushes"][0]["status"], "delivered", "it was: {first}");
    let report = audit(&ground.world).await;
    let counts = term(&report["endpoints"], "endpointId", endpoint);
    assert_eq!((&report["error"], &counts["delivered"], &counts[how]), (&json!(0), &json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_that_waits_is_told_and_it_adds_up_also_when_its_endpoint_is_deleted() {
    let mut ground = Ground::start().await;
    let (endpoint, [first, second]) = paused(&mut ground).await;
    let replay = ground.replay(json!({ "mode": "redeliver", "endpointIds": [endpoint] })).await;
    assert_eq!(ground.ended(&replay).await["published"], 2);
    tells(&ground.world, &first, &again("delivered", &replay)).await;
    let told = tells(&ground.world, &second, &again("scheduled", &replay)).await;
    assert!(told["next"]["at"].as_str() < told["events"][0]["pushes"][0]["nextAt"].as_str(), "{told}");
    let report = audit(&ground.world).await;
    let counts = term(&report["endpoints"], "endpointId", &endpoint);
    assert_eq!((&report["error"], &counts["timers"], &counts["scheduled"]), (&json!(0), &json!(0), &json!(1)));
    let (code, text, _) = ground.world.gw(&["trace", &first.delivery()]).await;
    assert!(code == 0 && text.contains("the endpoint is paused") && text.contains(&replay), "{text}");

    let deleted = ground.world.api(Method::DELETE, &format!("/endpoints/{endpoint}"), None).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    ends(&mut ground, &endpoint, &[first, second], "dropped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_stays_delivered_where_its_endpoint_is_disabled_before_a_replay_gets_to_it() {
    let mut ground = Ground::start().await;
    let (endpoint, [first, second]) = paused(&mut ground).await;
    let replay = ground.replay(json!({ "mode": "redeliver", "endpointIds": [endpoint] })).await;
    assert_eq!(ground.ended(&replay).await["published"], 2);
    tells(&ground.world, &first, &again("delivered", &replay)).await;
    let disabled = json!({ "status": "disabled" });
    let answer = ground.world.api(Method::PATCH, &format!("/endpoints/{endpoint}"), Some(disabled)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    ends(&mut ground, &endpoint, &[first, second], "dead").await;
    assert_eq!(ground.world.count(GW_DLQ, "gw.dlq.>").await, 1, "the second's own push");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_cancelled_leaves_a_push_the_timer_it_had() {
    let mut ground = Ground::start().await;
    let (endpoint, [_, second]) = paused(&mut ground).await;
    ground.events("org_1", 100..120).await;
    let event = tells(&ground.world, &second, &[]).await["events"][0]["eventId"].as_str().expect("an id").to_owned();
    let wishes = json!({ "mode": "redeliver", "endpointIds": [endpoint], "ratePerSecond": 2, "fromSequence": 2 });
    let replay = ground.replay(wishes).await;
    tells(&ground.world, &second, &again("scheduled", &replay)).await;
    let cancelled = ground.world.api(Method::POST, &format!("/replays/{replay}/cancel"), None).await;
    assert_eq!(cancelled.body["status"], "cancelled", "{cancelled:?}");
    let broker = ground.world.broker().await;
    let own = nats::last(&broker, GW_RETRY, &subject::retry_wait(&endpoint, &event)).await.expect("an answer");
    let own: Retry = serde_json::from_slice(&own.expect("its timer").payload).expect("a timer");
    assert_eq!((own.attempt, own.replay), (2, None));
    assert_eq!(audit(&ground.world).await["error"], 0);
}
