//! Letters of pushes.

use nats::topology::{GW_ATTEMPT, GW_DLQ, GW_EVENT};
use reqwest::Method;
use schemas::attempt::{Attempt, PushOutcome};
use serde_json::{Value, json};
use tests::{Answer, KEY, Link, Reply, Webhook, eventually};

use crate::replay::Ground;

/// A push of an organisation that died, and the letter's id.
async fn dead(ground: &mut Ground, path: &str) -> (String, String, u64) {
    ground.receiver.always(path, Reply::Status(500));
    let endpoint = ground.endpoint("org_1", path).await;
    let event = ground.events("org_1", 0..1).await.remove(0);
    let letter = ground.world.stored(GW_DLQ, "gw.dlq.endpoint.exhausted", 1).await.remove(0);
    (endpoint, event, letter.sequence)
}

async fn post(ground: &Ground, what: &str, body: Value) -> Answer {
    ground.world.api(Method::POST, &format!("/dead-letters/{what}"), Some(body)).await
}

async fn outcomes(ground: &mut Ground) -> Vec<PushOutcome> {
    let messages = ground.world.messages(GW_ATTEMPT, "gw.attempt.>").await;
    messages
        .iter()
        .map(|message| serde_json::from_slice::<Attempt>(&message.payload).expect("an attempt").outcome)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_sent_back_twice_at_once_is_pushed_once_with_its_id_and_is_gone_then() {
    let mut ground = Ground::start().await;
    let (_, event, letter) = dead(&mut ground, "/hook").await;
    let before = ground.receiver.seen("/hook").len();
    ground.receiver.always("/hook", Reply::Status(200));
    let body = || json!({ "ids": [letter] });
    let (one, other) = tokio::join!(post(&ground, "redrive", body()), post(&ground, "redrive", body()));
    // The later of the two may find it gone.
    let statuses = [one.status, other.status];
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 404].contains(status)), "{one:?} {other:?}");
    let seen = ground.receiver.got("/hook", before + 1).await;
    assert_eq!(seen[before].id(), event);
    ground.world.counted(GW_DLQ, "gw.dlq.>", 0, std::time::Duration::from_secs(10)).await;
    let again = post(&ground, "redrive", body()).await;
    assert_eq!((again.status, &again.body["code"]), (404, &json!("not_found")), "{again:?}");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(ground.receiver.seen("/hook").len(), before + 1);
    let outcomes = outcomes(&mut ground).await;
    assert_eq!(outcomes.last(), Some(&PushOutcome::Delivered), "{outcomes:?}");
    assert!(outcomes.contains(&PushOutcome::Redriven));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_dies_again_leaves_one_letter() {
    let mut ground = Ground::start().await;
    let (endpoint, event, letter) = dead(&mut ground, "/hook").await;
    let (code, said, err) = ground.world.gw(&["dlq", "redrive", "--until", "1h"]).await;
    assert_eq!((code, said.trim()), (0, "sent back 0"), "an hour ago there was none: {err}");
    let chosen = ["--endpoint", &endpoint, "--reason", "exhausted", "--since", "1h"];
    let (code, said, err) = ground.world.gw(&[&["dlq", "redrive"], &chosen[..]].concat()).await;
    assert_eq!((code, said.trim()), (0, "sent back 1"), "{err}");
    let world = &mut ground.world;
    let mut found = Vec::new();
    for _ in 0..400 {
        found = world.messages(GW_DLQ, "gw.dlq.>").await;
        if found.len() == 1 && found[0].sequence > letter {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(found.len(), 1);
    assert!(found[0].sequence > letter, "the new letter took the old one's place");
    assert_eq!(found[0].header("ce-id"), Some(event.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_letters_of_one_event_that_are_sent_back_together_are_pushed_once() {
    let mut ground = Ground::start().await;
    let (endpoint, _, _) = dead(&mut ground, "/hook").await;
    ground.replayed(json!({ "mode": "redeliver", "endpointIds": [endpoint] })).await;
    ground.world.stored(GW_DLQ, "gw.dlq.endpoint.exhausted", 2).await;
    let before = ground.receiver.seen("/hook").len();
    ground.receiver.always("/hook", Reply::Status(200));
    let sent = post(&ground, "redrive", json!({ "endpointId": endpoint })).await;
    assert_eq!((sent.status, &sent.body["redriven"]), (200, &json!(1)), "{sent:?}");
    ground.receiver.got("/hook", before + 1).await;
    eventually("the other is known to be delivered", || async {
        let again = post(&ground, "redrive", json!({ "endpointId": endpoint })).await;
        assert_eq!(again.body["redriven"], 0, "{again:?}");
        (ground.world.api(Method::GET, "/dead-letters", None).await.body["deadLetters"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(ground.receiver.seen("/hook").len(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_sent_back_leads_its_receiver_to_a_large_payload_though_its_event_has_expired() {
    let mut ground = Ground::start().await;
    ground.world.link(&Link::repository("org_1", "42")).await;
    ground.receiver.always("/hook", Reply::Status(500));
    ground.endpoint("org_1", "/hook").await;
    let sent = format!(r#"{{"repository":{{"id":42}},"x":"{}"}}"#, "x".repeat(600 * 1024));
    ground.world.accept(&Webhook::new("github", "push", sent.clone())).await;
    let letter = ground.world.stored(GW_DLQ, "gw.dlq.endpoint.exhausted", 1).await.remove(0);
    ground.world.stored(GW_ATTEMPT, "gw.attempt.>", 2).await;
    // As after the retention, which a letter outlives: neither the event nor what was told of its first push.
    let broker = ground.world.broker().await;
    for stream in [GW_EVENT, GW_ATTEMPT] {
        nats::durable::purge(&broker, stream, ">", None).await.expect("purged");
    }
    let event = letter.header("ce-id").expect("an id").to_owned();
    let payload = async |org: &str| {
        let (path, headers) = (format!("/events/{event}/payload"), [("x-api-key", KEY), ("x-org-id", org)]);
        ground.world.api_with(Method::GET, &path, None, &headers).await
    };
    assert_eq!(payload("org_1").await.status, 404, "nothing tells of it");

    let before = ground.receiver.seen("/hook").len();
    ground.receiver.always("/hook", Reply::Status(200));
    assert_eq!(post(&ground, "redrive", json!({ "ids": [letter.sequence] })).await.status, 200);
    let seen = ground.receiver.got("/hook", before + 1).await;
    assert_eq!((seen[before].id(), &seen[before].json()["payload"]), (event.clone(), &Value::Null));
    let found = payload("org_1").await;
    assert_eq!((found.status, found.body.to_string().len()), (200, sent.len()));
    assert_eq!(payload("org_2").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_found_by_what_they_say_read_whole_and_dropped() {
    let mut ground = Ground::start().await;
    let (endpoint, event, letter) = dead(&mut ground, "/hook").await;
    let list = async |query: &str| {
        let answer = ground.world.api(Method::GET, &format!("/dead-letters{query}"), None).await;
        assert_eq!(answer.status, 200, "{query}: {:?}", answer.body);
        answer.body["deadLetters"].as_array().expect("a list").len()
    };
    for (query, found) in [
        (String::new(), 1),
        (format!("?endpointId={endpoint}&reason=exhausted&stage=endpoint&orgId=org_1&since=1h"), 1),
        ("?reason=permanent".to_owned(), 0),
        ("?orgId=org_2".to_owned(), 0),
        ("?until=1h".to_owned(), 0),
        (format!("?cursor={}", letter + 1), 0),
    ] {
        assert_eq!(list(&query).await, found, "{query}");
    }
    let shown = ground.world.api(Method::GET, &format!("/dead-letters/{letter}"), None).await.body;
    assert_eq!((&shown["eventId"], &shown["endpointId"]), (&json!(event), &json!(endpoint)));
    let body: Value = serde_json::from_str(shown["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(body["number"], 0);
    for (bad, status) in [
        ("/dead-letters?limit=0", 400),
        ("/dead-letters?since=soon", 400),
        ("/dead-letters?since=1h&until=2h", 400),
        ("/dead-letters?cursor=0", 400),
        ("/dead-letters/999", 404),
        ("/dead-letters/0", 404),
    ] {
        assert_eq!(ground.world.api(Method::GET, bad, None).await.status, status, "{bad}");
    }
    for bad in [json!({}), json!({ "ids": [1], "reason": "x" }), json!({ "ids": "all" })] {
        assert_eq!(post(&ground, "drop", bad.clone()).await.status, 400, "{bad}");
    }
    let negative = post(&ground, "redrive", json!({ "ids": [-1] })).await;
    assert_eq!(negative.body["errors"], json!({ "ids": ["must be a list of numbers"] }));
    let many = post(&ground, "redrive", json!({ "ids": (1..=1_001).collect::<Vec<_>>() })).await;
    assert_eq!((many.status, many.body["errors"]["ids"].is_array()), (400, true), "{many:?}");
    let nothing = post(&ground, "drop", json!({ "ids": [0, 999] })).await;
    assert_eq!((nothing.status, &nothing.body["errors"]["ids"]), (404, &json!(["name no dead letter"])));
    let (code, _, said) = ground.world.gw(&["dlq", "redrive", "999"]).await;
    assert!(code == 1 && said.contains("no dead letter 999: `gw dlq list`"), "{code} {said}");
    let (code, _, said) = ground.world.gw(&["dlq", "show", "999"]).await;
    assert!(code == 1 && said.contains("no dead letter 999: `gw dlq list`"), "{code} {said}");
    let foreign = [("x-api-key", KEY), ("x-org-id", "org_2")];
    let path = format!("/dead-letters/{letter}");
    assert_eq!(ground.world.api_with(Method::GET, &path, None, &foreign).await.status, 404);
    let drop = Some(json!({ "all": true }));
    let dropped = ground.world.api_with(Method::POST, "/dead-letters/drop", drop, &foreign).await;
    assert_eq!(dropped.body["dropped"], 0);
    let (_, said, _) = ground.world.gw(&["dlq", "list"]).await;
    assert!(said.contains("exhausted") && said.contains(&endpoint), "{said}");
    let (_, said, _) = ground.world.gw(&["dlq", "show", &letter.to_string()]).await;
    assert!(said.contains("\"number\":0"), "{said}");
    let (code, said, _) = ground.world.gw(&["dlq", "drop", &letter.to_string()]).await;
    assert_eq!((code, said.trim()), (0, "dropped 1"));
    eventually("it is gone", || async { (list("").await == 0).then_some(()) }).await;
}
