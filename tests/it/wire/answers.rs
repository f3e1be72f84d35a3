//! Every body the gateway answers with.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, KEY, Setup, Webhook, World};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::golden::Golden;

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_kind_are_as_the_golden_files_have_them() {
    let mut golden = Golden::open("answers");
    let mut world = World::start().await;
    let webhook = Webhook::push(42, 1).with("x-github-delivery", "golden-delivery");
    golden.answer("webhook-accepted", &world.post(&webhook).await);
    golden.answer("webhook-duplicate", &world.post(&webhook).await);
    golden.answer("healthz", &world.get("/healthz").await);
    golden.answer("readyz", &world.get("/readyz").await);
    connections(&mut world, &mut golden).await;
    endpoints(&world, &mut golden).await;
    keys(&world, &mut golden).await;
    drop(world);
    refusals(&mut golden).await;
    golden.finish();
}

async fn connections(world: &mut World, golden: &mut Golden) {
    let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
    let connection = world.api(Method::POST, "/connections", Some(adopt.clone())).await;
    golden.answer("connection-created", &connection);
    golden.answer("connection-known", &world.api(Method::POST, "/connections", Some(adopt)).await);
    golden.answer("connection-list", &world.api(Method::GET, "/connections?orgId=org_1", None).await);
    let path = format!("/connections/{}", connection.body["id"].as_str().expect("an id"));
    golden.answer("connection", &world.api(Method::GET, &path, None).await);
    let wanted = json!({
        "kind": "repository", "providerResourceId": "42", "resourceName": "octo-org/hello", "workspaceId": "ws_1",
        "sync": { "events": ["github:push", "issues"], "autoSync": false },
    });
    let resources = format!("{path}/resources");
    let linked = world.api(Method::POST, &resources, Some(wanted.clone())).await;
    golden.answer("link-created", &linked);
    golden.answer("link-list", &world.api(Method::GET, &resources, None).await);
    let link = format!("{resources}/{}", linked.body["resource"]["id"].as_str().expect("an id"));
    golden.answer("link-removed", &world.api(Method::DELETE, &link, None).await);
    golden.answer("routes-rebuilt", &world.api(Method::POST, "/routes/rebuild", None).await);

    let good = json!({ "connectionId": "con_none", "orgId": "org_1", "deliveryId": "d", "eventType": "push", "payload": {}, "receivedAt": 1 });
    golden.answer("delivery-unknown-connection", &world.api(Method::POST, "/deliveries/github", Some(good)).await);
    golden.answer("delivery-invalid-body", &world.api(Method::POST, "/deliveries/github", Some(json!({}))).await);
    let url = format!("{}/deliveries/github", world.api_url());
    let key = ("x-api-key", KEY.as_bytes());
    golden.answer("delivery-invalid-json", &world.send(Method::POST, &url, &[key], "{").await);
    golden.answer("unauthorized", &world.get("/connections").await);
    let invalid = world.api_with(Method::GET, "/connections", None, &[("x-api-key", KEY), ("x-org-id", "")]).await;
    golden.answer("invalid-header", &invalid);
}

async fn endpoints(world: &World, golden: &mut Golden) {
    let wanted = json!({
        "orgId": "org_1", "url": "https://example.com/hook", "events": ["github:*"], "headers": { "Authorization": "x" },
        "secret": "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
    });
    let made = world.api(Method::POST, "/endpoints", Some(wanted)).await;
    golden.answer("endpoint-created", &made);
    let path = format!("/endpoints/{}", made.body["id"].as_str().expect("an id"));
    golden.answer("endpoint", &world.api(Method::GET, &path, None).await);
    golden.answer("endpoint-list", &world.api(Method::GET, "/endpoints?orgId=org_1", None).await);
    let rotation = json!({ "graceSeconds": 60, "secret": "whsec_AgICAgICAgICAgICAgICAgICAgICAgIC" });
    golden.answer("endpoint-rotated", &world.api(Method::POST, &format!("{path}/secret/rotate"), Some(rotation)).await);
    let change = json!({ "ordered": true, "status": "paused", "ratePerSecond": 10 });
    golden.answer("endpoint-changed", &world.api(Method::PATCH, &path, Some(change)).await);
    golden.answer("endpoint-deleted", &world.api(Method::DELETE, &path, None).await);
    golden.answer("endpoint-unknown", &world.api(Method::GET, &path, None).await);
    golden.answer("endpoint-invalid-body", &world.api(Method::POST, "/endpoints", Some(json!({}))).await);
    golden.answer("endpoint-invalid-query", &world.api(Method::GET, "/endpoints?limit=0", None).await);
}

async fn keys(world: &World, golden: &mut Golden) {
    let wanted = json!({ "name": "stream", "scope": "read", "orgId": "org_1" });
    let made = world.api(Method::POST, "/keys", Some(wanted)).await;
    golden.answer("key-made", &made);
    golden.answer("key-list", &world.api(Method::GET, "/keys", None).await);
    let reader = [("x-api-key", made.body["key"].as_str().expect("a key"))];
    golden.answer("problem-admin-only", &world.api_with(Method::GET, "/keys", None, &reader).await);
    golden.answer("problem-read-only-key", &world.api_with(Method::POST, "/keys", None, &reader).await);
    let other = [reader[0], ("x-org-id", "org_2")];
    golden.answer("problem-other-organisation", &world.api_with(Method::GET, "/endpoints", None, &other).await);
    let path = format!("/keys/{}", made.body["id"].as_str().expect("an id"));
    golden.answer("key-revoked", &world.api(Method::DELETE, &path, None).await);
}

/// What a gateway with little room says.
async fn refusals(golden: &mut Golden) {
    let setup = Setup::new().with("GW_MAX_BYTES", "GW_WEBHOOK=1KiB").with("GW_MAX_INFLIGHT_BYTES", "64KiB");
    let world = setup.with("GW_BODY_TIMEOUT", "1s").with("GW_SENTRY_RATE_LIMIT", "1").start().await;
    let sized = |size: usize| Webhook::new("github", "push", vec![b' '; size]);
    let unsigned = sized(1).without("x-hub-signature-256");
    let stale = Webhook::new("linear", "", r#"{"webhookTimestamp":1}"#);
    let unknown = Webhook { provider: "bitbucket".to_owned(), ..sized(1) };
    golden.answer("problem-unknown-provider", &world.post(&unknown).await);
    golden.answer("problem-invalid-signature", &world.post(&unsigned).await);
    golden.answer("problem-stale-signature", &world.post(&stale).await);
    golden.answer("problem-missing-body", &world.post(&sized(0)).await);
    golden.answer("problem-body-too-large", &raw(&world, (25 << 20) + 1).await);
    golden.answer("problem-body-timeout", &raw(&world, 10).await);
    golden.answer("problem-overloaded", &world.post(&sized(100 * 1024)).await);
    golden.answer("problem-not-stored", &world.post(&sized(2_000)).await);
    let sentry = world.post_all(&vec![Webhook::new("sentry", "issue", "{}"); 2]).await;
    let limited = sentry.iter().find(|answer| answer.status == 429).expect("one too many");
    golden.answer("problem-rate-limited", limited);
    let public = world.public_url().to_owned();
    golden.answer("problem-not-found", &world.send(Method::GET, &format!("{public}/nothing"), &[], "").await);
    golden.answer(
        "problem-method-not-allowed",
        &world.send(Method::GET, &format!("{public}/webhooks/github"), &[], "").await,
    );
}

/// The answer to a webhook whose body was announced and is not sent.
async fn raw(world: &World, length: usize) -> Answer {
    let mut stream = TcpStream::connect(world.public_url().trim_start_matches("http://")).await.expect("a connection");
    let signature = "0".repeat(64);
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: gw\r\nx-hub-signature-256: {signature}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer {
        status,
        headers: headers.collect::<HashMap<_, _>>(),
        body: serde_json::from_str::<Value>(body).expect("JSON"),
    }
}
