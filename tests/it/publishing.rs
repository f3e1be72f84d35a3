//! What is stored many at a time, on a stream of the test's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nats::{Broker, Message, Mode, Outgoing, PublishError, Publisher};
use rustix::process::Signal;
use schemas::header;
use serde_json::json;
use tests::{World, eventually, kill};
use tokio::time::{Instant, sleep, timeout};

use crate::{raw::Raw, server::cluster};

const STREAM: &str = "T_PUBLISH";
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream, and a publisher that sends each message by itself.
struct Ground {
    world: World,
    broker: Broker,
    publisher: Publisher,
}

impl Ground {
    async fn start() -> Self {
        let mut world = World::start().await;
        let mut raw = Raw::connect(&world.nats_url()).await;
        let stream = json!({
            "name": STREAM, "subjects": ["t.>"], "storage": "file", "retention": "limits", "allow_direct": true,
            "allow_batched": true, "allow_atomic": true, "max_msg_size": 10_000,
        });
        raw.request(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &stream).await.expect("a stream");
        let broker = world.broker().await;
        let (publisher, task) = Publisher::new(&broker, Mode::Pipeline);
        tokio::spawn(task);
        Self { world, broker, publisher }
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Result<u64, PublishError> {
        self.publisher.publish_all(messages, Instant::now() + PATIENCE).await
    }

    /// The bodies that the stream holds, in its order.
    async fn bodies(&self) -> Vec<String> {
        let messages = nats::batch(&self.broker, STREAM, 1..=u64::MAX, 1_000).await.expect("a stream");
        messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }
}

fn numbered(numbers: impl IntoIterator<Item = usize>) -> Vec<Outgoing> {
    let message = |number: usize| Outgoing {
        subject: format!("t.{number}"),
        id: format!("id-{number}-{:x}", rand::random::<u64>()),
        payload: number.to_string().into(),
        ..Outgoing::default()
    };
    numbers.into_iter().map(message).collect()
}

fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_stored_in_order_and_the_place_of_the_last_is_told() {
    let ground = Ground::start().await;
    assert_eq!(ground.publish(numbered([])).await, Ok(0), "nothing is to be done");
    assert_eq!(ground.publish(numbered([0])).await, Ok(1));
    assert_eq!(ground.publish(numbered(1..600)).await, Ok(600), "three batches are stored");
    assert_eq!(ground.bodies().await, texts(0..600));
    let (batches, task) = Publisher::new(&ground.broker, Mode::Batch { single: 0 });
    tokio::spawn(task);
    let stored = batches.publish_all(numbered(600..700), Instant::now() + PATIENCE).await;
    assert_eq!(stored, Ok(700), "where every write is synced, as atomic batches");
    assert_eq!(ground.bodies().await, texts(0..700));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_among_many_that_is_refused_fails_them_at_once_and_the_others_may_stand() {
    let ground = Ground::start().await;
    let mut messages = numbered(0..100);
    messages[50].payload = vec![b'x'; 20_000].into();
    let begun = Instant::now();
    let refused = ground.publish(messages).await.expect_err("one is too large for the stream");
    assert!(matches!(refused, PublishError::Refused { .. }), "{refused:?}");
    let nobody = ground.publish(vec![Outgoing { subject: "nobody.listens".to_owned(), ..Outgoing::default() }]).await;
    assert_eq!(nobody, Err(PublishError::NoStream));
    assert!(begun.elapsed() < PATIENCE, "nothing waits for an answer that does not come");
    let bodies = ground.bodies().await;
    assert!(bodies.iter().all(|body| body.len() < 3), "what was refused does not stand");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_on_their_way_to_a_broker_that_dies_are_not_waited_for() {
    let ground = Ground::start().await;
    if !ground.world.owns_broker() {
        return tests::skip("killing the broker", "the broker is shared");
    }
    let broker = ground.world.nats_pid().expect("a server of our own");
    kill(broker, Signal::STOP);
    let deadline = Instant::now() + PATIENCE;
    let landing = ground.publisher.launch_all(numbered(0..100), deadline).await.expect("they are sent");
    kill(broker, Signal::KILL);
    assert_eq!(landing.landed(deadline).await, Err(PublishError::Unconfirmed));
    assert!(Instant::now() < deadline, "nothing was said of them until the end");
    ground.publish(numbered(0..100)).await.expect("it is back");
    assert!(ground.bodies().await.ends_with(&texts(0..100)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_its_headers_along_but_nothing_that_the_broker_wrote_of_the_first() {
    let ground = Ground::start().await;
    let (batches, task) = Publisher::new(&ground.broker, Mode::Batch { single: 0 });
    tokio::spawn(task);
    let headers = [("Gw-Org", "org_1"), (header::LINK, "a"), (header::LINK, "b"), (header::ORIGIN, "live")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut firsts = numbered(0..10);
    firsts.iter_mut().for_each(|first| first.headers = headers.to_vec());
    batches.publish_in_order(firsts, Instant::now() + PATIENCE).await.expect("a batch is stored");
    let stored = nats::batch(&ground.broker, STREAM, 1..=u64::MAX, 10).await.expect("a stream");
    assert!(stored[0].header("Nats-Batch-Id").is_some(), "the broker keeps what it was told of the batch");
    let copies = |origin: &str, stored: Vec<Message>| -> Vec<Outgoing> {
        let copy = |message: Message| {
            let subject = format!("{}.{origin}", message.subject);
            let (copied, payload) = message.into_copy();
            let headers = vec![(header::ORIGIN.to_owned(), origin.to_owned())];
            Outgoing { subject: subject.clone(), id: subject, headers, copied, payload, once: true, timer: None }
        };
        stored.into_iter().map(copy).collect()
    };
    ground.publish(copies("replay", stored.clone())).await.expect("copies are stored by themselves");
    let again = copies("again", stored);
    batches.publish_in_order(again, Instant::now() + PATIENCE).await.expect("copies are stored as a batch");
    for (origin, first) in [("replay", 11), ("again", 21)] {
        let copies = nats::batch(&ground.broker, STREAM, first..=u64::MAX, 10).await.expect("a stream");
        assert_eq!(copies.len(), 10);
        for (number, copy) in copies.iter().enumerate() {
            assert_eq!(copy.subject, format!("t.{number}.{origin}"));
            let mut ours: Vec<(&str, &str)> = copy.headers().filter(|(name, _)| name.starts_with("Gw-")).collect();
            ours.sort_unstable();
            let links = [(header::LINK, "a"), (header::LINK, "b")];
            assert_eq!(ours, [links[0], links[1], ("Gw-Org", "org_1"), (header::ORIGIN, origin)]);
            assert_eq!(copy.payload, number.to_string());
            assert!(origin == "again" || copy.header("Nats-Batch-Id").is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_confirms_it_holds_though_its_leader_changes_all_the_while() {
    const CHANGES: usize = 5;
    const EACH: usize = 300;
    let (_servers, addresses) = cluster().await;
    let config = nats::Config {
        url: addresses,
        credentials: nats::Credentials::Address,
        name: "test".to_owned(),
        wait: false,
        server: None,
    };
    let broker = Broker::connect(&config).await.expect("a broker");
    let mut raw = Raw::connect(config.url.split(',').next().expect("an address")).await;
    let stream = json!({
        "name": STREAM, "subjects": ["t.>"], "storage": "file", "retention": "limits", "allow_direct": true,
        "allow_batched": true, "num_replicas": 3,
    });
    let (create, begun) = (format!("$JS.API.STREAM.CREATE.{STREAM}"), Instant::now());
    let second = Duration::from_secs(1);
    while !matches!(timeout(second, raw.request(&create, &stream)).await, Ok(Ok(_))) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the cluster makes no stream");
        sleep(Duration::from_millis(200)).await;
    }
    let (publisher, task) = Publisher::new(&broker, Mode::Pipeline);
    tokio::spawn(task);
    let changes = Arc::new(AtomicUsize::new(0));
    let changed = changes.clone();
    let change = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(300)).await;
            // Between two leaders there is none to ask.
            if raw.request(&format!("$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}"), &json!({})).await.is_ok() {
                changed.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (mut failed, mut sent) = (0, 0);
    while changes.load(Ordering::Relaxed) < CHANGES {
        let numbers = sent..sent + EACH;
        while let Err(error) = publisher.publish_all(numbered(numbers.clone()), Instant::now() + PATIENCE).await {
            failed += 1;
            assert!(failed < 100, "{error}");
            sleep(Duration::from_millis(100)).await;
        }
        sent += EACH;
    }
    change.abort();
    let state = eventually("the stream has a leader", || async {
        nats::topology::stream_info(&broker, STREAM).await.ok().map(|info| info.state)
    })
    .await;
    assert_eq!(state.subjects_count, sent as u64, "after {failed} failures");
}
