//! What is no webhook of a provider we take: unknown names, methods and paths, empty and oversized bodies.

use reqwest::Method;
use serde_json::json;
use tests::{Answer, Setup, Webhook, World};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::marks;

const MAX: usize = 25 << 20;

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{what}: {answer:?}");
    assert_eq!(answer.body["status"], json!(status), "{what}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    assert!(answer.headers.contains_key("x-request-id"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_unknown_or_has_no_secret_is_not_found() {
    let mut world = Setup::new().with("GW_VERCEL_WEBHOOK_SECRET", "").start().await;
    let before = marks(&mut world).await;
    let long = "x".repeat(5_000);
    let names = [
        "bitbucket",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "GitHub",
        "github%00",
        "github%20",
        "..%2Fgithub",
        "%ff%fe",
        "vercel",
        &long,
    ];
    for name in names {
        for prefix in ["", "/api"] {
            let url = format!("{}{prefix}/webhooks/{name}", world.public_url());
            let answer = world.send(Method::POST, &url, &[("x-github-event", b"push")], "{}").await;
            check(&answer, 404, "unknown_provider", name);
        }
    }
    assert_eq!(marks(&mut world).await, before);
    let metric = r#"gw_ingest_rejected_total{provider="unknown",reason="unknown_provider"}"#;
    assert_eq!(world.metric(metric).await, 2.0 * names.len() as f64);
    let metrics = world.metrics().await;
    assert!(!metrics.contains("bitbucket") && !metrics.contains("__proto__"), "a client chose a label");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_are_refused_and_the_api_is_not_public() {
    let world = World::start().await;
    let public = world.public_url().to_owned();
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        for path in ["/webhooks/github", "/api/webhooks/github"] {
            let answer = world.send(method.clone(), &format!("{public}{path}"), &[], "").await;
            check(&answer, 405, "method_not_allowed", path);
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
    let key = ("x-api-key", tests::KEY.as_bytes());
    let paths = [
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/github/x",
        "/connections",
        "/deliveries/github",
        "/routes/rebuild",
        "/metrics",
        "/healthz",
        "/readyz",
    ];
    for path in paths {
        for method in [Method::GET, Method::POST] {
            let answer = world.send(method, &format!("{public}{path}"), &[key], "{}").await;
            check(&answer, 404, "no_such_path", path);
        }
    }
    let webhook = Webhook::push(42, 1);
    let headers: Vec<(&str, &[u8])> =
        webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let answer =
        world.send(Method::POST, &format!("{public}/api/webhooks/github"), &headers, webhook.body.clone()).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("accepted")));
    // A webhook's signature is no key of the API, and a provider's path is not there.
    let answer =
        world.send(Method::POST, &format!("{}/webhooks/github", world.api_url()), &headers, webhook.body.clone()).await;
    check(&answer, 401, "unauthorized", "the API listener");
    let answer =
        world.send(Method::POST, &format!("{}/api/webhooks/github", world.api_url()), &[key], webhook.body).await;
    check(&answer, 404, "no_such_path", "the API listener");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_body_is_refused_after_the_form_of_the_signature() {
    let mut world = World::start().await;
    let before = marks(&mut world).await;
    let empty = Webhook::new("github", "push", "");
    check(&world.post(&empty).await, 400, "missing_body", "signed");
    check(&world.post(&empty.signed_with("another")).await, 400, "missing_body", "of good form");
    check(
        &world.post(&Webhook::new("github", "push", "").without("x-hub-signature-256")).await,
        401,
        "invalid_signature",
        "unsigned",
    );
    assert_eq!(marks(&mut world).await, before);
}

/// Posts with nothing between us and the socket: what the client of the suite would not send.
async fn raw(world: &World, head: &str, body: &[u8]) -> String {
    let address = world.public_url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let signature = "0".repeat(64);
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: gw\r\nx-hub-signature-256: sha256={signature}\r\n{head}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    // The gateway may answer before it has read all.
    let _cut = stream.write_all(body).await.is_err();
    let mut answer = vec![0; 4_096];
    let read = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_whether_announced_or_found() {
    let mut world = World::start().await;
    let before = marks(&mut world).await;
    for length in [MAX + 1, usize::MAX >> 1] {
        let answer = raw(&world, &format!("content-length: {length}"), b"").await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
    }
    // In chunks of no announced sum; the last byte is the one too many.
    let mut chunks = Vec::with_capacity(MAX + (1 << 20));
    let mut left = MAX + 1;
    while left > 0 {
        let size = left.min(1 << 20);
        chunks.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        chunks.resize(chunks.len() + size, b'x');
        chunks.extend_from_slice(b"\r\n");
        left -= size;
    }
    let answer = raw(&world, "transfer-encoding: chunked", &chunks).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
    assert_eq!(marks(&mut world).await, before);
}
