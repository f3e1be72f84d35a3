//! Every kind of message the gateway stores, and the values of its buckets.

use nats::topology;
use reqwest::Method;
use schemas::{Provider, provider, provider::Received, route};
use serde_json::{Value, json};
use tests::{Link, Setup, Webhook, World};

use super::golden::Golden;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A webhook with nothing in it that differs from run to run.
fn still(provider: &str, event: &str, body: &str, id: &str) -> Webhook {
    let webhook = Webhook::new(provider, event, body)
        .with("user-agent", "Golden/1")
        .with("x-correlation-id", "golden-correlation");
    match provider::find(provider).and_then(|known| known.delivery_header) {
        Some(name) => webhook.with(name, id),
        None => webhook,
    }
}

/// The account that a provider's first sample names.
fn account(known: &Provider) -> String {
    let received = Received { header: &|_| None, body: known.samples[0].body.as_bytes(), body_sha256: "" };
    (known.identify)(&received).account.expect("an account")
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_are_as_the_golden_files_have_them() {
    let mut golden = Golden::open("messages");
    // The samples are as old as they are.
    let mut world = Setup::new().with("GW_FRESHNESS", "36500d").start().await;
    for known in provider::ALL {
        let account = account(known);
        let link = Link {
            org: "org_1",
            provider: known.id,
            account: &account,
            kind: known.account_kinds[0],
            target: &account,
            workspace: None,
            events: None,
        };
        world.link(&link).await;
        let sample = &known.samples[0];
        let webhook =
            still(known.id, sample.event, sample.body, &format!("golden-{}", known.id)).with("traceparent", TRACE);
        world.accept(&webhook).await;
        let stored = world.stored(topology::GW_WEBHOOK, &format!("gw.webhook.{}.>", known.id), 1).await.remove(0);
        assert_eq!(stored.payload, sample.body, "{}", known.id);
        golden.message_with(&format!("webhook-{}", known.id), &stored, json!("<the sample as it came>"));
        let event = world.stored(topology::GW_EVENT, &format!("gw.event.org_1.{}.>", known.id), 1).await.remove(0);
        let text = String::from_utf8(event.payload.to_vec()).expect("text");
        assert!(
            text.contains(&format!("\"payload\":{}", sample.body.trim())),
            "{}: the payload is not as it came",
            known.id
        );
        let mut body: Value = serde_json::from_str(&text).expect("JSON");
        body["payload"] = json!("<the sample as it came>");
        golden.message_with(&format!("event-{}", known.id), &event, body);
    }
    large(&mut world, &mut golden).await;
    outcomes(&mut world, &mut golden).await;
    connections(&mut world, &mut golden).await;
    golden.finish();
}

/// What travels beside its message, and what a service of ours brought.
async fn large(world: &mut World, golden: &mut Golden) {
    let (connection, _) = world.link(&Link { account: "5", ..Link::repository("org_5", "55") }).await;
    let body =
        json!({ "installation": { "id": 5 }, "repository": { "id": 55 }, "x": "x".repeat(600 * 1024) }).to_string();
    world.accept(&still("github", "push", &body, "golden-large")).await;
    let stored = world.stored(topology::GW_WEBHOOK, "gw.webhook.github.push.golden-large", 1).await.remove(0);
    golden.message("webhook-large", &stored);
    golden.message("event-large", &world.stored(topology::GW_EVENT, "gw.event.org_5.>", 1).await[0]);
    let form = json!({
        "connectionId": connection, "orgId": "org_5", "deliveryId": "golden-service", "eventType": "check_run",
        "payload": { "action": "completed" }, "receivedAt": 1_767_225_600_123_i64, "resourceId": "55",
    });
    let headers = [("x-api-key", tests::KEY), ("x-correlation-id", "golden-correlation")];
    let answer = world.api_with(Method::POST, "/deliveries/github", Some(form), &headers).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stored = world.stored(topology::GW_WEBHOOK, "gw.webhook.github.check_run.golden-service", 1).await.remove(0);
    golden.message("webhook-service", &stored);
}

/// What became of deliveries that were not simply an event.
async fn outcomes(world: &mut World, golden: &mut Golden) {
    world.link(&Link { account: "6", events: Some(&["push"]), ..Link::repository("org_6", "66") }).await;
    let filtered = r#"{"action":"opened","installation":{"id":6},"repository":{"id":66}}"#;
    world.accept(&still("github", "issues", filtered, "golden-filtered")).await;
    let outcome = world.stored(topology::GW_OUTCOME, "gw.outcome.github.golden-filtered", 1).await.remove(0);
    golden.message("outcome-filtered", &outcome);

    let both = ["org_9", "org_10"];
    for org in both {
        world.link(&Link { account: "9", ..Link::repository(org, "99") }).await;
    }
    let routed = r#"{"installation":{"id":9},"repository":{"id":99}}"#;
    world.accept(&still("github", "push", routed, "golden-routed")).await;
    let outcome = world.stored(topology::GW_OUTCOME, "gw.outcome.github.golden-routed", 1).await.remove(0);
    golden.message("outcome-routed", &outcome);

    let parked = r#"{"installation":{"id":7},"repository":{"id":77}}"#;
    world.accept(&still("github", "push", parked, "golden-parked").with("traceparent", TRACE)).await;
    golden.message("parked", &world.stored(topology::GW_PARKED, "gw.parked.>", 1).await[0]);
    let outcome = world.stored(topology::GW_OUTCOME, "gw.outcome.github.golden-parked", 1).await.remove(0);
    golden.message("outcome-parked", &outcome);
    world.link(&Link { account: "7", ..Link::repository("org_7", "77") }).await;
    let outcomes = world.stored(topology::GW_OUTCOME, "gw.outcome.github.golden-parked", 2).await;
    golden.message("outcome-released", &outcomes[1]);

    world.accept(&still("github", "", "not json", "golden-unreadable")).await;
    golden.message("dead-letter", &world.stored(topology::GW_DLQ, "gw.dlq.>", 1).await[0]);
    let outcome = world.stored(topology::GW_OUTCOME, "gw.outcome.github.golden-unreadable", 1).await.remove(0);
    golden.message("outcome-dead", &outcome);
}

/// What happened to connections and links, and what the buckets hold of them.
async fn connections(world: &mut World, golden: &mut Golden) {
    let link = Link {
        account: "8",
        workspace: Some("ws_1"),
        events: Some(&["github:push", "issues"]),
        ..Link::repository("org.8", "8/8")
    };
    let (connection, id) = world.link(&link).await;
    let told = world.stored(topology::GW_CONNECTION, "gw.connection.org~2E8.>", 2).await;
    golden.message("connection-connected", &told[0]);
    golden.message("connection-linked", &told[1]);
    let bucket = format!("KV_{}", route::ROUTES);
    let key = format!("$KV.{}.github.resource.8=2F8.>", route::ROUTES);
    golden.message("bucket-route", &world.stored(&bucket, &key, 1).await[0]);
    let states = format!("KV_{}", route::CONNECTIONS);
    let state = world.stored(&states, &format!("$KV.{}.{connection}", route::CONNECTIONS), 1).await.remove(0);
    golden.message("bucket-connection", &state);
    let removed = world.api(Method::DELETE, &format!("/connections/{connection}/resources/{id}"), None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    golden.message(
        "connection-unlinked",
        &world.stored(topology::GW_CONNECTION, "gw.connection.org~2E8.unlinked", 1).await[0],
    );
    golden.message("bucket-route-removed", &world.stored(&bucket, &key, 1).await[0]);
}
