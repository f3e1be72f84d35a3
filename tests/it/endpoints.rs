//! Endpoints over HTTP and on the command line: their whole life, and that their secrets stay secret.

mod keys;
mod words;

use std::{fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, KEY, Postgres, Setup, World};

const URL: &str = "https://example.com/hook";

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{answer:?}");
    let media = answer.headers.get("content-type").map(String::as_str);
    assert_eq!(media, Some("application/problem+json"), "{answer:?}");
}

async fn narrowed(world: &World, org: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    world.api_with(method, path, body, &[("x-api-key", KEY), ("x-org-id", org)]).await
}

/// An organisation that nobody else has: a database may be shared.
fn org() -> String {
    format!("org_{}", rand::random::<u32>())
}

async fn made(world: &World, body: Value) -> Value {
    let made = world.api(Method::POST, "/endpoints", Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

fn id(shown: &Value) -> &str {
    shown["id"].as_str().expect("an id")
}

/// Every answer that an endpoint gives in its life.
async fn lives(world: &World, org: &str) {
    let mut shown = made(world, json!({ "orgId": org, "url": URL, "events": ["github:*"] })).await;
    let secret = shown.as_object_mut().and_then(|shown| shown.remove("secret")).expect("a secret");
    let path = format!("/endpoints/{}", id(&shown));
    assert_eq!(world.api(Method::GET, &path, None).await.body, shown);
    let listed = world.api(Method::GET, &format!("/endpoints?orgId={org}"), None).await;
    assert_eq!(listed.body, json!({ "endpoints": [shown] }));
    assert_eq!(narrowed(world, org, Method::GET, "/endpoints?status=active", None).await.body, listed.body);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/secret/rotate")),
    ] {
        let body = (method != Method::GET).then(|| json!({}));
        refused(&narrowed(world, "org_stranger", method, &path, body).await, 404, "not_found");
    }
    for unknown in ["/endpoints/ep_none", "/endpoints/a%00b"] {
        refused(&world.api(Method::GET, unknown, None).await, 404, "not_found");
    }
    let changed = world.api(Method::PATCH, &path, Some(json!({ "status": "paused", "ratePerSecond": 7 }))).await;
    assert_eq!((&changed.body["status"], &changed.body["ratePerSecond"]), (&json!("paused"), &json!(7)));
    let reset = world.api(Method::PATCH, &path, Some(json!({ "status": null, "ratePerSecond": null }))).await;
    assert_eq!(reset.body, shown);
    let rotated = world.api(Method::POST, &format!("{path}/secret/rotate"), None).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert!(rotated.body["secret"].is_string() && rotated.body["secret"] != secret);
    let mut later = shown.clone();
    later["previousSecretUntil"] = rotated.body["previousSecretUntil"].clone();
    assert!(later["previousSecretUntil"].is_string(), "{rotated:?}");
    assert_eq!(world.api(Method::GET, &path, None).await.body, later, "a secret is shown once");
    let deleted = world.api(Method::DELETE, &path, None).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({ "status": "deleted", "endpointId": id(&shown) })));
    refused(&world.api(Method::DELETE, &path, None).await, 404, "not_found");
    let listed = world.api(Method::GET, &format!("/endpoints?orgId={org}"), None).await;
    assert_eq!(listed.body["endpoints"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_what_the_api_says_it_is_from_its_first_day_to_its_last() {
    let mut world = World::start().await;
    lives(&world, "org_1").await;
    let kept = made(&world, json!({ "orgId": "org_1", "url": URL, "headers": { "authorization": "Bearer x" } })).await;
    world.kill_gateway();
    world.start_gateway();
    world.ready().await;
    let path = format!("/endpoints/{}", id(&kept));
    let shown = world.api(Method::GET, &path, None).await.body;
    assert_eq!((&shown["url"], &shown["headers"]["authorization"]), (&json!(URL), &json!("…")));
    assert_eq!(shown.get("statusReason"), None, "its secrets are opened with the key of the data folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_endpoints_and_keys_are_the_same() {
    let Some(postgres) = Postgres::start().await else { return };
    let world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    lives(&world, &org()).await;
    keys::live(&world, &org()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_wrong_with_an_endpoint_is_said_at_once_and_makes_none() {
    let world = World::start().await;
    let bad = json!({
        "url": "http://127.0.0.1/", "events": ["push"], "headers": { "Content-Length": "1" }, "timeoutSeconds": 0,
        "retrySchedule": vec![1; 21], "concurrency": 101, "secret": "whsec_c2hvcnQ=", "start": "soon",
    });
    let answer = world.api(Method::POST, "/endpoints", Some(bad)).await;
    refused(&answer, 400, "invalid_body");
    let errors = answer.body["errors"].as_object().expect("fields");
    let named: Vec<&str> = errors.keys().map(String::as_str).collect();
    for field in
        ["orgId", "url", "events", "headers", "timeoutSeconds", "retrySchedule", "concurrency", "secret", "start"]
    {
        assert!(named.contains(&field), "{field}: {named:?}");
    }
    let url = errors["url"].to_string();
    assert!(url.contains("GW_ENDPOINT_ALLOW"), "what to do is said: {url}");
    refused(&world.api(Method::GET, "/endpoints?limit=0&status=on&cursor=x", None).await, 400, "invalid_query");
    let key = ("x-api-key", KEY.as_bytes());
    let text = world.send(Method::POST, &format!("{}/endpoints", world.api_url()), &[key], "{").await;
    refused(&text, 400, "invalid_json");
    assert_eq!(world.api(Method::GET, "/endpoints", None).await.body["endpoints"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_allow_what_is_inside() {
    let setup = Setup::new().with("GW_ENDPOINT_ALLOW", "10.0.0.0/8,http://10.1.0.0/16,http://hooks.internal");
    let world = setup.start().await;
    for url in ["https://10.2.2.3/a", "http://10.1.2.3:8080/a", "http://hooks.internal/a"] {
        made(&world, json!({ "orgId": "org_1", "url": url })).await;
    }
    for url in ["http://10.2.2.3/a", "http://example.com/", "https://192.168.0.1/", "https://localhost/"] {
        let answer = world.api(Method::POST, "/endpoints", Some(json!({ "orgId": "org_1", "url": url }))).await;
        refused(&answer, 400, "invalid_body");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_an_endpoint_or_key_is_in_any_file_or_log() {
    const HEADER: &str = "Bearer a-header-value-of-the-suite";
    let mut world = World::start().await;
    let body = json!({ "orgId": "org_1", "url": URL, "headers": { "Authorization": HEADER, "x-plain": "a-plain-value-of-the-suite" } });
    let shown = made(&world, body).await;
    let rotate = format!("/endpoints/{}/secret/rotate", id(&shown));
    let rotated = world.api(Method::POST, &rotate, Some(json!({}))).await.body;
    let wrong = json!({ "headers": { "Host": "a-refused-value-of-the-suite" } });
    refused(&world.api(Method::PATCH, &format!("/endpoints/{}", id(&shown)), Some(wrong)).await, 400, "invalid_body");
    let key = world.api(Method::POST, "/keys", Some(json!({ "scope": "admin" }))).await.body;
    let used = world.api_with(Method::GET, "/keys", None, &[("x-api-key", key["key"].as_str().expect("a key"))]).await;
    assert_eq!(used.status, 200, "{used:?}");
    let text = |value: &Value| value.as_str().expect("a secret").to_owned();
    let mut secrets = vec![text(&shown["secret"]), text(&rotated["secret"]), text(&key["key"])];
    secrets.extend([HEADER, "a-plain-value-of-the-suite", "a-refused-value-of-the-suite"].map(str::to_owned));
    let log = world.gateway().log();
    world.stop_gateway();
    let mut looked = 0;
    for (name, bytes) in files(&world.folder().join("data")) {
        looked += usize::from(name.ends_with("gw.db"));
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found && !log.contains(secret), "{secret} is in {name} or in the log");
        }
    }
    assert_eq!(looked, 1, "the database is a file of the data folder");
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.display().to_string(), fs::read(&path).unwrap_or_default())),
        }
    }
    found
}
