//! What the server says died becomes a letter.

use std::sync::Arc;

use nats::{
    Message, Verdict,
    consume::{self, Consumer, DeadLetters, Handler, Slots},
    topology::{GW_ADVISORY, GW_DLQ, GW_EVENT},
};
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    raw::Raw,
    replay::{Ground, publisher},
};

async fn consumer(raw: &mut Raw, name: &str, max_deliver: i64) {
    let config = json!({
        "durable_name": name, "ack_policy": "explicit", "ack_wait": 300_000_000, "max_deliver": max_deliver,
    });
    let create = json!({ "stream_name": GW_EVENT, "config": config });
    raw.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{GW_EVENT}.{name}"), &create).await.expect("a consumer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_subscriber_never_settled_becomes_one_whole_letter() {
    let mut ground = Ground::start().await;
    let ids = ground.events("org_1", 0..1).await;
    let mut raw = Raw::connect(&ground.world.nats_url()).await;
    consumer(&mut raw, "billing", 1).await;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{GW_EVENT}.billing");
    raw.request(&next, &json!({ "batch": 1, "expires": 2_000_000_000_u64 })).await.expect("the event");
    let letter = ground.world.stored(GW_DLQ, "gw.dlq.billing.max-deliveries", 1).await.remove(0);
    assert_eq!(letter.header("ce-id"), Some(ids[0].as_str()));
    assert!(letter.payload.starts_with(b"{\"deliveryId\":\"delivery-0\""));
    let body = Some(json!({ "ids": [letter.sequence] }));
    let answer = ground.world.api(Method::POST, "/dead-letters/redrive", body).await;
    assert_eq!(answer.body["skipped"]["not-redrivable"], 1, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_subscriber_ended_becomes_one_whole_letter() {
    let mut ground = Ground::start().await;
    let ids = ground.events("org_1", 0..1).await;
    let mut raw = Raw::connect(&ground.world.nats_url()).await;
    consumer(&mut raw, "billing", 8).await;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{GW_EVENT}.billing");
    raw.request(&next, &json!({ "batch": 1, "expires": 2_000_000_000_u64 })).await.expect("the event");
    raw.publish(&format!("$JS.ACK.{GW_EVENT}.billing.1.1.1.1780000000000000000.0"), "+TERM not for us")
        .await
        .expect("ours");
    let letter = ground.world.stored(GW_DLQ, "gw.dlq.billing.terminated", 1).await.remove(0);
    assert_eq!(letter.header("ce-id"), Some(ids[0].as_str()));
    assert!(letter.payload.starts_with(b"{\"deliveryId\":\"delivery-0\""));
}

/// Ends everything.
struct Enders;

impl Handler for Enders {
    fn lane(&self, message: &Message) -> u64 {
        message.sequence
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        vec![Verdict::Dead { reason: "unwanted", detail: "as told".to_owned() }; messages.len()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_buried_before_it_was_ended_gets_no_second_letter() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..3).await;
    let mut raw = Raw::connect(&ground.world.nats_url()).await;
    consumer(&mut raw, "enders", 8).await;
    let broker = ground.world.broker().await;
    let publisher = publisher(&mut ground.world).await;
    let stop = CancellationToken::new();
    let consumer = Consumer {
        broker,
        stream: GW_EVENT,
        name: "enders",
        slots: Slots::live(10),
        dead: DeadLetters::new(publisher, "enders"),
        redelivered: Default::default(),
        recreate: false,
    };
    let running = tokio::spawn(consume::run(consumer, Arc::new(Enders), stop.clone()));
    ground.world.stored(GW_ADVISORY, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>", 3).await;
    let broker = ground.world.broker().await;
    tests::eventually("the server's words are dealt with", || async {
        let info = nats::topology::consumer_info(&broker, GW_ADVISORY, "advisories").await.ok()?;
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
    stop.cancel();
    running.await.expect("it ends");
    let letters = ground.world.messages(GW_DLQ, "gw.dlq.>").await;
    let subjects: Vec<&str> = letters.iter().map(|letter| letter.subject.as_str()).collect();
    assert_eq!(subjects, ["gw.dlq.enders.unwanted"; 3]);
}
