//! The consumer loop on a stream of the test's own: how a message may end, and in which order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use nats::{
    Broker, Message, Mode, Outgoing, PublishError, Publisher, Verdict,
    consume::{self, Consumer, DeadLetters, Dying, Handler, Slots},
    topology,
};
use schemas::header;
use serde_json::json;
use tests::{World, eventually};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::raw::Raw;

const STREAM: &str = "T_CONSUME";
const NAME: &str = "test";

/// Does what a message's body says, and remembers it. The lane is the last token of the subject.
#[derive(Default)]
struct Script {
    seen: Mutex<Vec<(String, String)>>,
    tries: Mutex<BTreeMap<u64, usize>>,
    /// Lanes and reasons.
    dying: Mutex<Vec<(String, &'static str)>>,
}

impl Script {
    fn seen(&self, lane: &str) -> Vec<String> {
        self.seen
            .lock()
            .expect("nobody panicked with it")
            .iter()
            .filter(|(of, _)| of == lane)
            .map(|(_, body)| body.clone())
            .collect()
    }

    async fn one(&self, message: &Message) -> Option<Verdict> {
        let body = String::from_utf8_lossy(&message.payload).into_owned();
        self.seen.lock().expect("nobody panicked with it").push((lane_of(message).to_owned(), body.clone()));
        let tries = *self
            .tries
            .lock()
            .expect("nobody panicked with it")
            .entry(message.sequence)
            .and_modify(|tries| *tries += 1)
            .or_insert(1);
        match body.split(' ').next() {
            Some("never") => None,
            Some("panic") => panic!("as told"),
            Some("slow") => {
                tokio::time::sleep(Duration::from_millis(600)).await;
                Some(Verdict::Done)
            }
            Some("later") if tries < 3 => Some(Verdict::Retry { after: Duration::from_millis(100) }),
            Some("dead") => Some(Verdict::Dead { reason: "unreadable", detail: "as told".to_owned() }),
            _ => Some(Verdict::Done),
        }
    }
}

fn lane_of(message: &Message) -> &str {
    message.subject.rsplit('.').next().unwrap_or_default()
}

impl Handler for Script {
    fn lane(&self, message: &Message) -> u64 {
        lane_of(message).bytes().fold(0, |lane, byte| lane * 256 + u64::from(byte))
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for message in messages.iter() {
            match self.one(message).await {
                Some(verdict @ Verdict::Retry { .. }) => {
                    verdicts.push(verdict);
                    break;
                }
                Some(verdict) => verdicts.push(verdict),
                None => break,
            }
        }
        verdicts
    }

    async fn dying(&self, message: &Message, reason: &'static str) -> Result<Dying, PublishError> {
        self.dying.lock().expect("nobody panicked with it").push((lane_of(message).to_owned(), reason));
        Ok(Dying::Bury)
    }
}

/// A stream, its consumer, and a loop that reads it.
struct Ground {
    world: World,
    broker: Broker,
    publisher: Publisher,
    script: Arc<Script>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Ground {
    async fn start() -> Self {
        let mut world = World::start().await;
        let mut raw = Raw::connect(&world.nats_url()).await;
        let stream = json!({ "name": STREAM, "subjects": ["t.>"], "storage": "file", "retention": "limits" });
        raw.request(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &stream).await.expect("a stream");
        let config = json!({ "durable_name": NAME, "ack_policy": "explicit", "ack_wait": 500_000_000, "max_deliver": topology::MAX_DELIVER });
        let create = json!({ "stream_name": STREAM, "config": config });
        raw.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{NAME}"), &create).await.expect("a consumer");
        let broker = world.broker().await;
        let (publisher, task) = Publisher::new(&broker, Mode::Pipeline);
        tokio::spawn(task);
        let (script, stop) = (Arc::new(Script::default()), CancellationToken::new());
        let consumer = Consumer {
            broker: broker.clone(),
            stream: STREAM,
            name: NAME,
            slots: Slots::live(100),
            dead: DeadLetters::new(publisher.clone(), "test"),
            redelivered: Default::default(),
            recreate: false,
        };
        let running = tokio::spawn(consume::run(consumer, script.clone(), stop.clone()));
        Self { world, broker, publisher, script, stop, running }
    }

    async fn publish(&self, lane: &str, body: &str) {
        let id = format!("{:x}", rand::random::<u64>());
        let message =
            Outgoing { subject: format!("t.{lane}"), id, payload: body.to_owned().into(), ..Outgoing::default() };
        self.publisher.publish(message, Instant::now() + Duration::from_secs(5)).await.expect("it is stored");
    }

    async fn settled(&self) {
        eventually("all is settled", || async { self.held().await.then_some(()) }).await;
    }

    /// Whether nothing waits and nothing is unacknowledged.
    async fn held(&self) -> bool {
        let info = topology::consumer_info(&self.broker, STREAM, NAME).await.expect("a consumer");
        info.num_pending == 0 && info.num_ack_pending == 0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_ends_done_or_is_tried_again_in_its_place_or_is_buried_with_its_reason() {
    let mut ground = Ground::start().await;
    for body in ["done 1", "later 2", "done 3", "dead 4", "done 5"] {
        ground.publish("a", body).await;
    }
    ground.settled().await;
    assert_eq!(ground.script.seen("a"), ["done 1", "later 2", "later 2", "later 2", "done 3", "dead 4", "done 5"]);
    let letters = ground.world.messages(topology::GW_DLQ, "gw.dlq.test.unreadable").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].payload.as_ref(), b"dead 4");
    for (name, value) in [
        (header::DLQ_REASON, "unreadable"),
        (header::DLQ_DETAIL, "as told"),
        (header::DLQ_STREAM, STREAM),
        (header::DLQ_SEQUENCE, "4"),
        (header::DLQ_SUBJECT, "t.a"),
    ] {
        assert_eq!(letters[0].header(name), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_within_a_lane_and_a_slow_lane_delays_no_other() {
    let ground = Ground::start().await;
    ground.publish("slow", "slow 0").await;
    for number in 0..20 {
        ground.publish("slow", &format!("done {number}")).await;
        ground.publish("fast", &format!("done {number}")).await;
    }
    eventually("the fast lane is done", || async { (ground.script.seen("fast").len() == 20).then_some(()) }).await;
    assert_eq!(ground.script.seen("slow"), ["slow 0"], "the slow lane is still with its first");
    // Longer than the broker waits, so some come again; the first time of each is in order.
    ground.settled().await;
    let mut seen = ground.script.seen("slow");
    seen.dedup();
    let mut firsts: Vec<String> = Vec::new();
    for body in seen.into_iter().skip(1) {
        if !firsts.contains(&body) && body.starts_with("done") {
            firsts.push(body);
        }
    }
    assert_eq!(firsts, (0..20).map(|number| format!("done {number}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_survives_is_buried_unread_at_the_last_try_and_delays_no_other_lane() {
    let mut ground = Ground::start().await;
    ground.publish("poison", "panic").await;
    ground.publish("silence", "never").await;
    ground.publish("fine", "done").await;
    eventually("the others are done", || async { (ground.script.seen("fine").len() == 1).then_some(()) }).await;
    ground.settled().await;
    let mut letters = ground.world.messages(topology::GW_DLQ, "gw.dlq.test.exhausted").await;
    letters.sort_by_key(|letter| letter.payload.clone());
    let bodies: Vec<&[u8]> = letters.iter().map(|letter| letter.payload.as_ref()).collect();
    assert_eq!(bodies, [&b"never"[..], b"panic"]);
    let tries = usize::try_from(topology::MAX_DELIVER).expect("a few") - 1;
    assert_eq!(ground.script.seen("poison").len(), tries, "the last time it is not tried");
    assert_eq!(ground.script.seen("silence").len(), tries);
    let mut dying = ground.script.dying.lock().expect("nobody panicked with it").clone();
    dying.sort();
    assert_eq!(dying, [("poison".to_owned(), "exhausted"), ("silence".to_owned(), "exhausted")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_is_told_to_stop_finishes_what_it_holds_first() {
    let ground = Ground::start().await;
    for lane in ["a", "b", "c"] {
        ground.publish(lane, "slow").await;
    }
    eventually("all are in hand", || async {
        (ground.script.seen.lock().expect("nobody panicked with it").len() == 3).then_some(())
    })
    .await;
    ground.stop.cancel();
    let Ground { script, running, broker, world, .. } = ground;
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("it ends").expect("well");
    let info = topology::consumer_info(&broker, STREAM, NAME).await.expect("a consumer");
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0), "what was in hand is acknowledged");
    assert!(script.seen("a").contains(&"slow".to_owned()));
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_is_told_to_stop_leaves_to_the_broker_what_does_not_succeed() {
    let ground = Ground::start().await;
    ground.publish("a", "later").await;
    eventually("it is in hand", || async { (!ground.script.seen("a").is_empty()).then_some(()) }).await;
    ground.script.tries.lock().expect("nobody panicked with it").clear();
    ground.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), ground.running).await.expect("it ends").expect("well");
}
