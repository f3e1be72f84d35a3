//! Ids that lead from a request to its messages: request id, correlation id, trace context.

use nats::{Message, topology};
use reqwest::Method;
use schemas::header;
use serde_json::json;
use tests::{Link, Webhook, World};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_good_form_are_echoed_and_others_replaced_on_every_answer() {
    let world = World::start().await;
    let longest = "a".repeat(128);
    let too_long = "a".repeat(129);
    for good in ["a", "abc-1.2_3", "...", &longest] {
        let webhook = Webhook::push(42, 1).with("x-request-id", good).with("x-correlation-id", "corr-1");
        let answer = world.accept(&webhook).await;
        assert_eq!(
            (answer.headers["x-request-id"].as_str(), answer.headers["x-correlation-id"].as_str()),
            (good, "corr-1")
        );
    }
    for bad in ["", "a b", "a/b", "a%0d%0ab", "a\"b", "é", "<script>", &too_long] {
        let webhook = Webhook::push(42, 1).with("x-request-id", bad).with("x-correlation-id", bad);
        let answer = world.accept(&webhook).await;
        let made = &answer.headers["x-request-id"];
        assert!(
            made != bad && made.len() == 26 && made.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{bad}: {made}"
        );
        assert_eq!(&answer.headers["x-correlation-id"], made, "without a correlation the request is its own");
    }
    let (public, api) = (world.public_url().to_owned(), world.api_url().to_owned());
    let urls = [
        (Method::GET, format!("{public}/nothing"), 404),
        (Method::GET, format!("{public}/webhooks/github"), 405),
        (Method::POST, format!("{public}/webhooks/github"), 401),
        (Method::GET, format!("{api}/connections"), 401),
        (Method::GET, format!("{api}/healthz"), 200),
    ];
    for (method, url, status) in urls {
        let answer = world.send(method, &url, &[("x-request-id", b"req-1"), ("x-correlation-id", b"corr-1")], "").await;
        assert_eq!(answer.status, status, "{url}");
        assert_eq!(
            (answer.headers["x-request-id"].as_str(), answer.headers["x-correlation-id"].as_str()),
            ("req-1", "corr-1"),
            "{url}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn correlation_and_trace_reach_the_stored_webhook_and_its_event() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let one = Webhook::push(42, 1)
        .with("x-correlation-id", "corr-1")
        .with("x-request-id", "req-1")
        .with("traceparent", TRACE);
    let two = Webhook::push(42, 1).with("x-request-id", "req-2");
    let parked = Webhook::push(7, 7).with("x-correlation-id", "corr-3").with("traceparent", TRACE);
    for webhook in [&one, &two, &parked] {
        world.accept(webhook).await;
    }
    let webhooks = world.stored(topology::GW_WEBHOOK, "gw.webhook.>", 3).await;
    let events = world.stored(topology::GW_EVENT, "gw.event.>", 2).await;
    let parked = world.stored(topology::GW_PARKED, "gw.parked.>", 1).await;
    let ids = |message: &Message| (message.header(header::CORRELATION).map(str::to_owned), trace(message));
    let expected = [
        (Some("corr-1".to_owned()), Some(TRACE.to_owned())),
        (Some("req-2".to_owned()), None),
        (Some("corr-3".to_owned()), Some(TRACE.to_owned())),
    ];
    assert_eq!(webhooks.iter().map(ids).collect::<Vec<_>>(), expected);
    assert_eq!(events.iter().map(ids).collect::<Vec<_>>(), expected[..2]);
    assert_eq!(ids(&parked[0]), expected[2]);
    let bodies = world.events("org_1", 2).await;
    assert_eq!((&bodies[0]["correlationId"], &bodies[1]["correlationId"]), (&json!("corr-1"), &json!("req-2")));
    world.link(&Link { account: "7", ..Link::repository("org_7", "7") }).await;
    let released = world.stored(topology::GW_EVENT, "gw.event.org_7.>", 1).await;
    assert_eq!(ids(&released[0]), expected[2]);
}

fn trace(message: &Message) -> Option<String> {
    message.header(header::TRACEPARENT).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_context_of_bad_form_is_not_kept() {
    let mut world = World::start().await;
    let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
    let long = format!("{TRACE}-{}", "x".repeat(40_000));
    let bad = [
        "",
        "nonsense",
        zero,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf9-00f0-01",
        "%0d%0aNats-TTL: 1s",
        &long,
    ];
    for value in bad {
        world.accept(&Webhook::push(42, 1).with("traceparent", value)).await;
        let stored = world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.pop().expect("a message");
        assert_eq!(trace(&stored), None, "{:.60}", value);
    }
}
