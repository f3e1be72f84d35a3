//! How old a signed time may be.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::{PREVIOUS, Setup, Webhook, World};

use super::marks;

const HOUR: i64 = 3_600_000;

#[expect(clippy::disallowed_methods, reason = "the suite lives in real time")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_millis()).expect("in range")
}

fn issue(sent: &Value) -> Webhook {
    let mut body = json!({ "type": "Issue", "action": "create", "organizationId": "o", "data": { "id": "i" } });
    if !sent.is_null() {
        body["webhookTimestamp"] = sent.clone();
    }
    Webhook::new("linear", "", body.to_string())
}

async fn check(world: &World, sent: Value, expected: &[(u16, &str)]) {
    let answer = world.post(&issue(&sent)).await;
    let found = (answer.status, answer.body["code"].as_str().unwrap_or("accepted"));
    assert!(expected.contains(&found), "{sent}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_signed_more_than_eight_hours_ago_is_refused_and_one_without_a_time_is_not() {
    let mut world = World::start().await;
    let (ok, stale) = (&[(200, "accepted")][..], &[(401, "stale_signature")][..]);
    // Linear's own last retry comes six hours after the first try.
    for sent in [
        json!(now()),
        json!(now() - 6 * HOUR),
        json!(now() - 8 * HOUR + 60_000),
        json!(now() + HOUR),
        Value::Null,
        json!("yesterday"),
    ] {
        check(&world, sent, ok).await;
    }
    world.settled().await;
    let before = marks(&mut world).await;
    for sent in [json!(now() - 8 * HOUR - 1), json!(now() - 30 * 24 * HOUR), json!(0), json!(-1), json!(1.0)] {
        check(&world, sent, stale).await;
    }
    let old = issue(&json!(now() - 9 * HOUR));
    assert_eq!(world.post(&old.clone().signed_with(PREVIOUS)).await.body["code"], json!("stale_signature"));
    let forged = world.post(&old.signed_with("another")).await;
    assert_eq!(forged.body["code"], json!("invalid_signature"), "the time of an unsigned body is nobody's business");
    assert_eq!(marks(&mut world).await, before);
    assert_eq!(world.metric(r#"gw_ingest_rejected_total{provider="linear",reason="stale_signature"}"#).await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_old_is_a_setting_and_only_of_providers_that_sign_a_time() {
    let world = Setup::new().with("GW_FRESHNESS", "1m").start().await;
    check(&world, json!(now() - 50_000), &[(200, "accepted")]).await;
    check(&world, json!(now() - 61_000), &[(401, "stale_signature")]).await;
    world.accept(&Webhook::new("github", "push", r#"{"webhookTimestamp":1}"#)).await;
    let sentry = Webhook::new("sentry", "issue", r#"{"webhookTimestamp":1}"#).with("sentry-hook-timestamp", "1");
    world.accept(&sentry).await;
}
