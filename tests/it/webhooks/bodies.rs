//! The stored bytes are the received bytes, whatever they are and however many.

use bytes::Bytes;
use nats::{Payloads, topology};
use schemas::header;
use serde_json::{Value, json};
use tests::{Link, Webhook, World, eventually};

/// Above this a body travels beside its message.
const INLINE: usize = 512 * 1024;
const MAX: usize = 25 << 20;

/// The bytes that are stored of a delivery, and whether they stand beside the message.
async fn stored(world: &mut World, delivery: &str) -> (Bytes, bool) {
    let filter = format!("gw.webhook.github.push.{delivery}");
    let message = world.stored(topology::GW_WEBHOOK, &filter, 1).await.remove(0);
    let Some(name) = message.header(header::PAYLOAD_REF) else { return (message.payload, false) };
    assert!(message.payload.is_empty());
    let payloads = Payloads::new(&world.broker().await);
    (payloads.get(name).await.expect("a read").expect("an object"), true)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_bytes_are_the_received_bytes() {
    let mut world = World::start().await;
    let every: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 7] = [
        b"{\"a\": 1}\r\n ",
        b"\xEF\xBB\xBF{}",
        b"\xff\xfe not utf-8",
        b"not json",
        b"\0",
        b"{\"a\":1,\"a\":2,\"b\":1.0e2,\"c\":\"\\u00e9\"}",
        &every,
    ];
    for body in bodies {
        let webhook = Webhook::new("github", "push", body);
        world.accept(&webhook).await;
        assert_eq!(stored(&mut world, &webhook.delivery()).await, (Bytes::copy_from_slice(body), false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_stored_whole_beside_their_message_and_the_sender_sees_no_difference() {
    let mut world = World::start().await;
    for (size, beside) in [(INLINE, false), (INLINE + 1, true), (MAX, true)] {
        let body: Vec<u8> = (0..size).map(|at| (at * 31 + at / 251) as u8).collect();
        let webhook = Webhook::new("github", "push", body);
        // A slow disk may take longer than the sender waits: then the sender's next try is accepted.
        let answer = eventually("the body is taken", || async {
            let answer = world.post(&webhook).await;
            assert!(answer.status == 200 || answer.body["code"] == json!("not_stored"), "{answer:?}");
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!(answer.body, json!({ "status": "accepted", "deliveryId": webhook.delivery() }));
        assert_eq!(answer.headers["content-type"], "application/json");
        let (bytes, found) = stored(&mut world, &webhook.delivery()).await;
        assert!(bytes == webhook.body, "{size} bytes came back as other bytes");
        assert_eq!(found, beside, "{size}");
        let again = world.post(&webhook).await;
        assert_eq!((again.status, &again.body["status"]), (200, &json!("duplicate")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_embedded_as_it_came_or_named_where_it_is_large() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let with = |filling: &str| {
        format!(
            r#"{{ "repository":{{"id":42}}, "installation":{{"id":1}}, "n":1.50, "n":1e2 ,"é":"\u00e9", "x":"{filling}" }}"#
        )
    };
    let small = Webhook::new("github", "push", format!("\u{feff}{}\n", with("")));
    let large = Webhook::new("github", "push", with(&"x".repeat(600 * 1024)));
    world.accept(&small).await;
    world.accept(&large).await;
    let messages = world.stored(topology::GW_EVENT, "gw.event.org_1.>", 2).await;
    let text = String::from_utf8(messages[0].payload.to_vec()).expect("text");
    assert!(text.contains(&format!(r#""payload":{}"#, with(""))), "{text}");
    let event: Value = serde_json::from_slice(&messages[1].payload).expect("JSON");
    assert_eq!(event["payload"], Value::Null);
    let name = event["payloadRef"].as_str().expect("a name");
    assert_eq!(messages[1].header(header::PAYLOAD_REF), Some(name));
    let payloads = Payloads::new(&world.broker().await);
    let object = payloads.get(name).await.expect("a read").expect("an object");
    assert!(object == large.body, "the object is not what was sent");
    let consumers = nats::durable::names(&world.broker().await, "OBJ_gw_payload").await.expect("an answer");
    assert!(consumers.is_empty(), "to read it left a consumer behind: {consumers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_only_the_envelope_makes_too_large_is_named_in_the_event() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let body =
        json!({ "repository": { "id": 42 }, "installation": { "id": 1 }, "x": "x".repeat(INLINE - 100) }).to_string();
    let webhook = Webhook::new("github", "push", body);
    world.accept(&webhook).await;
    assert!(!stored(&mut world, &webhook.delivery()).await.1);
    let event = world.events("org_1", 1).await.remove(0);
    let payloads = Payloads::new(&world.broker().await);
    let object = payloads.get(event["payloadRef"].as_str().expect("a name")).await.expect("a read").expect("an object");
    assert!(object == webhook.body);
}
