//! What arrives, and how it is signed.

use std::time::Duration;

use nats::topology;
use reqwest::Method;
use schemas::{attempt::PushOutcome, instant};
use serde_json::{Value, json};
use tests::{Link, Reply, Webhook, eventually};

use super::Pushes;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_arrives_as_a_signed_event_that_the_public_library_verifies() {
    let mut pushes = Pushes::start().await;
    pushes.world.link(&Link::repository("org_1", "42")).await;
    let endpoint = pushes.endpoint("/hook", json!({ "headers": { "x-own": "mine" } })).await;
    let webhook = Webhook::push(42, 1);
    pushes.world.accept(&webhook).await;
    let seen = pushes.receiver.got("/hook", 1).await.remove(0);
    assert!(seen.is_signed_with(&endpoint.secret));
    assert!(!seen.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["x-own"], "mine");
    assert!(seen.headers["user-agent"].starts_with("Gangway/"));
    let stored = pushes.world.stored(topology::GW_EVENT, "gw.event.org_1.>", 1).await.remove(0);
    assert_eq!(seen.body, stored.payload, "the body is the stored event, byte for byte");
    assert_eq!(seen.json()["deliveryId"], json!(webhook.delivery()));
    assert_eq!(Some(seen.id().as_str()), stored.header("ce-id"));
    let attempt = pushes.attempts(&endpoint, 1).await.remove(0);
    assert_eq!((attempt.outcome, attempt.attempt, attempt.status_code), (PushOutcome::Delivered, 1, Some(200)));
    assert_eq!((attempt.event_id, attempt.sequence), (seen.id(), stored.sequence));
    assert_eq!((attempt.provider.as_str(), attempt.delivery_id), ("github", webhook.delivery()));
    pushes.idle(&endpoint).await;
    assert_eq!(pushes.world.count(topology::GW_RETRY, "gw.retry.>").await, 0, "a first attempt costs no timer");
    assert!(
        (pushes.world.metric(r#"gw_delivery_attempts_total{outcome="delivered",class="none"}"#).await - 1.0).abs()
            < 0.1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_arrive_in_binary_mode() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({ "format": "cloudevents" })).await;
    let id = pushes.event(1).await;
    let seen = pushes.receiver.got("/hook", 1).await.remove(0);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-type", "github:push"),
        ("ce-source", "/github/1"),
        ("ce-orgid", "org_1"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(seen.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!seen.headers.contains_key("ce-datacontenttype"), "in binary mode that is the content type");
    assert!(!seen.headers.keys().any(|name| name.starts_with("gw-") || name.starts_with("nats-")));
    assert_eq!(seen.json()["number"], 1);
    assert!(seen.is_signed_with(&endpoint.secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_both_secrets_sign() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    let path = format!("/endpoints/{}/secret/rotate", endpoint.id);
    let rotated = pushes.world.api(Method::POST, &path, Some(json!({}))).await;
    assert_eq!(rotated.status, 200, "{:?}", rotated.body);
    let new = rotated.body["secret"].as_str().expect("a secret").to_owned();
    let mut number = 0;
    let seen = loop {
        pushes.event(number).await;
        number += 1;
        let seen = pushes.receiver.got("/hook", number).await.remove(number - 1);
        if seen.is_signed_with(&new) {
            break seen;
        }
    };
    assert!(seen.is_signed_with(&endpoint.secret), "the one before signs as well");
    assert_eq!(seen.headers["webhook-signature"].split(' ').count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_does_not_admit_is_acknowledged_and_leaves_no_attempt() {
    let mut pushes = Pushes::start().await;
    // Nine patterns are more than a consumer takes as subjects.
    let events: Vec<String> = (0..9).map(|index| format!("github:issue.action-{index}")).collect();
    let endpoint = pushes.endpoint("/hook", json!({ "events": events })).await;
    pushes.events(0..5).await;
    pushes.idle(&endpoint).await;
    assert!(pushes.receiver.seen("/hook").is_empty());
    assert!(pushes.attempts(&endpoint, 0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_no_more_at_once_than_it_wants() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::After(Duration::from_millis(50), 200));
    let endpoint = pushes.endpoint("/hook", json!({ "concurrency": 3 })).await;
    pushes.events(0..30).await;
    pushes.receiver.got("/hook", 30).await;
    assert_eq!(pushes.receiver.most_at_once("/hook"), 3);
    let broker = pushes.broker().await;
    let info = topology::consumer_info(&broker, topology::GW_EVENT, &endpoint.id).await.expect("a consumer");
    assert_eq!(info.config.max_ack_pending, 3);
    pushes.change(&endpoint, json!({ "concurrency": 7 })).await;
    eventually("the consumer follows", || async {
        let info = topology::consumer_info(&broker, topology::GW_EVENT, &endpoint.id).await.ok()?;
        (info.config.max_ack_pending == 7).then_some(())
    })
    .await;
    pushes.events(30..80).await;
    pushes.receiver.got("/hook", 80).await;
    assert_eq!(pushes.receiver.most_at_once("/hook"), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept() {
    let mut pushes = Pushes::start().await;
    pushes.endpoint("/hook", json!({ "ratePerSecond": 10, "concurrency": 10 })).await;
    pushes.events(0..25).await;
    let seen = pushes.receiver.got("/hook", 25).await;
    let took = seen[24].at - seen[0].at;
    assert!(took >= 2_000, "25 requests at 10 a second took {took} ms");
    for window in seen.windows(16) {
        let span = window[15].at - window[0].at;
        assert!(span >= 1_000, "16 requests within {span} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_starts_where_it_is_told() {
    let mut pushes = Pushes::start().await;
    pushes.events(0..5).await;
    pushes.endpoint("/now", json!({})).await;
    pushes.endpoint("/third", json!({ "start": 3 })).await;
    pushes.event(5).await;
    let numbers = |path: &str| {
        let mut numbers: Vec<Value> =
            pushes.receiver.seen(path).iter().map(|seen| seen.json()["number"].clone()).collect();
        numbers.sort_by_key(Value::as_i64);
        numbers
    };
    pushes.receiver.got("/now", 1).await;
    pushes.receiver.got("/third", 4).await;
    assert_eq!(numbers("/now"), [5]);
    assert_eq!(numbers("/third"), [2, 3, 4, 5]);
    // The last one alone was stored in its millisecond or after it.
    tokio::time::sleep(Duration::from_millis(5)).await;
    pushes.event(6).await;
    let last = pushes.world.stored(topology::GW_EVENT, "gw.event.>", 7).await.remove(6);
    pushes.endpoint("/time", json!({ "start": instant::rfc3339(last.stored_at) })).await;
    pushes.event(7).await;
    pushes.receiver.got("/time", 2).await;
    let mut numbers: Vec<Value> =
        pushes.receiver.seen("/time").iter().map(|seen| seen.json()["number"].clone()).collect();
    numbers.sort_by_key(Value::as_i64);
    assert_eq!(numbers, [6, 7]);
}
