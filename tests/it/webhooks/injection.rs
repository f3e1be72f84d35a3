//! What a sender writes into ids and headers stays a value: it never becomes a header, a token or a setting of ours.

use nats::{Message, topology};
use reqwest::Method;
use schemas::{Delivery, header};
use serde_json::json;
use tests::{Link, SECRET, Webhook, World, sign};

use super::marks;

/// Posts a push with header values of any bytes and gives what was stored.
async fn stored(world: &mut World, event: &[u8], delivery: &[u8], extra: &[(&str, &[u8])]) -> Message {
    let known = schemas::provider::find("github").expect("github");
    let body = format!(r#"{{"nonce":"{}"}}"#, Webhook::push(1, 1).delivery());
    let signature = sign(known, SECRET, body.as_bytes());
    let mut headers: Vec<(&str, &[u8])> =
        vec![("x-github-event", event), ("x-github-delivery", delivery), ("x-hub-signature-256", signature.as_bytes())];
    headers.extend_from_slice(extra);
    let url = format!("{}/webhooks/github", world.public_url());
    let answer = world.send(Method::POST, &url, &headers, body.clone()).await;
    let shown = String::from_utf8_lossy(&delivery[..delivery.len().min(80)]);
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("accepted")), "{shown:?}: {answer:?}");
    let message = world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.pop().expect("a message");
    assert_eq!(message.payload, body.as_bytes());
    message
}

/// That a message has nothing in it but what we put there.
#[track_caller]
fn check_sound(message: &Message) {
    let tokens: Vec<&str> = message.subject.split('.').collect();
    assert_eq!(tokens.len(), 5, "{}", message.subject);
    assert_eq!(tokens[..3], ["gw", "webhook", "github"]);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-~".contains(&byte);
    assert!(
        tokens.iter().all(|token| (1..=64).contains(&token.len()) && token.bytes().all(plain)),
        "{}",
        message.subject
    );
    for (name, value) in message.headers() {
        let ours = ["Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence", "traceparent"].contains(&name)
            || name.starts_with("Gw-")
            || name.starts_with("Nats-Batch-");
        assert!(ours, "{name}: {value}");
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {value:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_delivery_id_or_event_can_end_a_header_or_add_a_token() {
    let mut world = World::start().await;
    let long = "x".repeat(1_000);
    let dots = "a.b.".repeat(100);
    let values = [
        "a%0d%0aNats-TTL: 1s",
        "a\\r\\nNats-Rollup: all",
        "a b",
        "a\tb",
        "*",
        ">",
        ".",
        "..",
        "a.b.c",
        "gw.event.org_1.>",
        "$JS.API.STREAM.DELETE.GW_WEBHOOK",
        "~",
        "~h0123456789abcdef",
        "%",
        "%2",
        "%25",
        "\"quoted\"",
        "{}",
        "a:b",
        "a,b",
        &long,
        &dots,
    ];
    for value in values {
        let message = stored(&mut world, b"push", value.as_bytes(), &[]).await;
        check_sound(&message);
        let delivery = Delivery::from_headers(&message.header_list()).expect("a delivery");
        assert_eq!((delivery.id.as_str(), delivery.event.as_deref()), (value, Some("push")));
        let own = format!("{value}-as-event");
        let message = stored(&mut world, value.as_bytes(), own.as_bytes(), &[]).await;
        check_sound(&message);
        let delivery = Delivery::from_headers(&message.header_list()).expect("a delivery");
        assert_eq!((delivery.id, delivery.event.as_deref()), (own, Some(value)));
    }
    // Bytes that are no text are no id: the body's hash is.
    let message = stored(&mut world, b"push", b"caf\xe9\xff", &[]).await;
    check_sound(&message);
    assert_eq!(message.header(header::DELIVERY), message.header(header::BODY_SHA256));
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_in_the_broker_s_or_our_names_are_dropped_and_secrets_never_kept() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let before = marks(&mut world).await;
    let extra: &[(&str, &[u8])] = &[
        ("nats-msg-id", b"another"),
        ("nats-ttl", b"1s"),
        ("nats-rollup", b"all"),
        ("nats-expected-stream", b"GW_EVENT"),
        ("nats-schedule", b"@every 1s"),
        ("gw-org", b"org_1"),
        ("gw-connection", b"con_1"),
        ("gw-origin", b"replay"),
        ("gw-account", b"7"),
        ("gw-resource", b"42"),
        ("gw-payload-ref", b"github/x/y"),
        ("gw-sequence", b"1"),
        ("gw-received-at", b"0"),
        ("gw-delivery", b"another"),
        ("gw-event", b"another"),
        ("gw-h-user-agent", b"another"),
        ("authorization", b"Bearer of-the-suite"),
        ("cookie", b"session=of-the-suite"),
        ("x-api-key", b"of-the-suite"),
        ("x-hub-signature", b"sha1=of-the-suite"),
        ("x-strange", b"of-the-suite"),
    ];
    let message = stored(&mut world, b"push", b"the-delivery", extra).await;
    check_sound(&message);
    let delivery = Delivery::from_headers(&message.header_list()).expect("a delivery");
    assert_eq!(
        (delivery.id.as_str(), delivery.event.as_deref(), delivery.origin.as_str()),
        ("the-delivery", Some("push"), "live")
    );
    assert_eq!(
        (delivery.bound, delivery.account, delivery.resources.len(), delivery.payload_ref),
        (None, None, 0, None)
    );
    assert!(delivery.received_at > 1_700_000_000_000);
    assert_eq!(message.id(), Some("github:the-delivery"));
    let text: String = message.headers().map(|(name, value)| format!("{name}: {value}\n")).collect();
    assert!(!text.contains("of-the-suite") && !text.contains("another"), "{text}");
    assert!(!text.to_lowercase().contains("signature: ") && !text.contains("sha256="), "{text}");
    world.settled().await;
    assert_eq!(marks(&mut world).await["GW_EVENT"], before["GW_EVENT"], "a header made a claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_length_of_an_id_or_header_keeps_a_verified_delivery_out() {
    let mut world = World::start().await;
    let long = "x".repeat(70_000);
    let agent: &[(&str, &[u8])] = &[("user-agent", long.as_bytes())];
    let message = stored(&mut world, b"push", b"with-a-long-header", agent).await;
    check_sound(&message);
    let message = stored(&mut world, b"push", long.as_bytes(), &[]).await;
    check_sound(&message);
    // The same long id is the same delivery, and one that differs at its end is not.
    let other = format!("{}y", &long[1..]);
    let message = stored(&mut world, b"push", other.as_bytes(), &[]).await;
    check_sound(&message);
    let again = Webhook::new("github", "push", "{}").with("x-github-delivery", &long);
    assert_eq!(world.post(&again).await.body["status"], json!("duplicate"));
    let message = stored(&mut world, long.as_bytes(), b"with-a-long-event", &[]).await;
    check_sound(&message);
    for (name, body) in [
        ("account", json!({ "installation": { "id": long } })),
        ("resource", json!({ "repository": { "id": long }, "installation": { "id": 1 } })),
        (
            "resources",
            json!({ "installation": { "id": 1 }, "repositories": (0..600).map(|id| json!({ "id": format!("{id}-{}", "r".repeat(300)) })).collect::<Vec<_>>() }),
        ),
    ] {
        let answer = world.post(&Webhook::new("github", "push", body.to_string())).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("accepted")), "{name}: {answer:?}");
    }
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_payload_holds_up_the_account_it_names() {
    let mut world = World::start().await;
    world
        .link(&Link { kind: "installation", target: "1", events: Some(&["*"]), ..Link::repository("org_1", "1") })
        .await;
    let long = "x".repeat(70_000);
    let with = |field: &str, value: serde_json::Value| {
        let mut body = json!({ "action": "opened", "installation": { "id": 1 }, "repository": { "id": 42, "full_name": "a/b" }, "issue": { "number": 1 } });
        body[field] = value;
        Webhook::new("github", "issues", body.to_string())
    };
    let webhooks = [
        with("action", json!(long)),
        with("action", json!("\r\nNats-TTL: 1s")),
        with("issue", json!({ "number": 1, "title": long, "updated_at": long, "html_url": long })),
        with("repository", json!({ "id": long, "full_name": long })),
        with("sender", json!({ "id": long, "login": long })),
    ];
    for webhook in &webhooks {
        world.accept(webhook).await;
    }
    world.accept(&Webhook::push(42, 1)).await;
    let events = world.events("org_1", webhooks.len() + 1).await;
    assert_eq!(events.last().expect("an event")["type"], json!("github:push"));
    assert!(events[0]["type"].as_str().expect("a type").len() < 200);
    world.settled().await;
}
