//! Readers and followers of a stream, where the broker, the network or somebody else is in the way.

use std::{collections::BTreeMap, time::Duration};

use nats::{Broker, Follower, Next, Pull, Reader, Start, durable::Durable};
use serde_json::{Value, json};
use tests::eventually_within;
use tokio::time::{Instant, timeout};

use crate::{
    raw::Raw,
    relay::{Fault, Relay},
    server::Server,
};

const STREAM: &str = "LETTERS";
/// Far longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a follower may find nothing.
const QUIET: Duration = Duration::from_secs(1);

/// A server with a stream, and a connection to it.
struct Post {
    server: Server,
    raw: Raw,
}

impl Post {
    async fn open() -> Self {
        let conf = "max_payload: 16MB\njetstream { store_dir: $STORE }\n";
        let store =
            |folder: &std::path::Path, _| vec![("STORE".to_owned(), folder.join("store").display().to_string())];
        let server = Server::start(conf, store).await;
        let mut post = Self { raw: Raw::connect(&server.url(None)).await, server };
        post.make().await;
        post
    }

    async fn make(&mut self) {
        let stream = json!({ "name": STREAM, "subjects": ["letters.>"], "storage": "file", "allow_direct": true });
        self.ask(&format!("STREAM.CREATE.{STREAM}"), &stream).await;
    }

    async fn ask(&mut self, what: &str, body: &Value) -> Value {
        self.raw.request(&format!("$JS.API.{what}"), body).await.expect("the server does it")
    }

    /// Stores letters of these sizes, each under its own subject.
    async fn send(&mut self, sizes: impl IntoIterator<Item = usize>) {
        for (number, size) in sizes.into_iter().enumerate() {
            let letter = Value::String("x".repeat(size));
            self.raw.request(&format!("letters.{number}"), &letter).await.expect("stored");
        }
    }

    /// The names of the consumers that a kind of reader made.
    async fn consumers(&mut self, who: &str) -> Vec<String> {
        let listed = self.ask(&format!("CONSUMER.LIST.{STREAM}"), &json!({})).await;
        let all = listed["consumers"].as_array().expect("consumers").clone();
        let theirs = all.iter().filter(|one| one["config"]["description"] == format!("gangway {who}"));
        theirs.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    }

    async fn broker(&self) -> Broker {
        tests::connect(&self.server.url(None)).await
    }
}

fn letters() -> Vec<String> {
    vec!["letters.>".to_owned()]
}

async fn follow(follower: &mut Follower) -> Next {
    timeout(PATIENCE, follower.next(QUIET)).await.expect("in time").expect("no failure")
}

/// The places of so many messages, one after the other.
async fn followed(follower: &mut Follower, count: usize) -> Vec<u64> {
    let mut seen = Vec::with_capacity(count);
    while seen.len() < count {
        match follow(follower).await {
            Next::Message(message) => seen.push(message.sequence),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
    seen
}

async fn reader(broker: &Broker) -> Reader {
    Reader::open(broker, STREAM, &letters(), Start::First, false).await.expect("a reader")
}

async fn read(reader: &mut Reader, count: usize) -> Vec<u64> {
    let mut seen = Vec::with_capacity(count);
    while seen.len() < count {
        let message = reader.next_within(PATIENCE).await.expect("no failure").expect("a message");
        seen.push(message.sequence);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_messages_are_followed_with_one_consumer() {
    let mut post = Post::open().await;
    post.send([900_000; 12]).await;
    let mut follower = Follower::after(&post.broker().await, STREAM, letters(), 0);
    assert_eq!(followed(&mut follower, 1).await, [1]);
    let first = post.consumers("follower").await;
    assert_eq!(followed(&mut follower, 11).await, (2..=12).collect::<Vec<_>>());
    assert_eq!((first.len(), post.consumers("follower").await), (1, first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_a_request_is_read_too() {
    const LARGE: usize = 9 << 20;
    let mut post = Post::open().await;
    post.send([10, LARGE, 10, 10, LARGE, LARGE, 10]).await;
    let broker = post.broker().await;
    let all: Vec<u64> = (1..=7).collect();
    let (mut reader, mut follower) = (reader(&broker).await, Follower::after(&broker, STREAM, letters(), 0));
    let mut seen = (read(&mut reader, 1).await, followed(&mut follower, 1).await);
    let first = (post.consumers("reader").await, post.consumers("follower").await);
    seen.0.extend(read(&mut reader, 6).await);
    seen.1.extend(followed(&mut follower, 6).await);
    assert_eq!(seen, (all.clone(), all));
    assert_eq!((first.0.len(), first.1.len()), (1, 1));
    assert_eq!((post.consumers("reader").await, post.consumers("follower").await), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_network_holds_back_is_not_taken_for_nothing() {
    let mut post = Post::open().await;
    post.send([10; 5]).await;
    let relay = Relay::before(&post.server.url(None), Fault::Hold(Duration::from_secs(8))).await;
    let mut follower = Follower::after(&tests::connect(&relay.url()).await, STREAM, letters(), 0);
    assert_eq!(followed(&mut follower, 5).await, [1, 2, 3, 4, 5]);
    assert!(matches!(follow(&mut follower).await, Next::Quiet { sequence: 5 }));
    assert_eq!(relay.faults(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_on_the_way_is_read_again_or_is_an_error_and_no_hole() {
    const LETTERS: u64 = 400;
    let mut post = Post::open().await;
    post.send([10; LETTERS as usize]).await;
    let relay = Relay::before(&post.server.url(None), Fault::Lose(150)).await;
    let broker = tests::connect(&relay.url()).await;
    let all: Vec<u64> = (1..=LETTERS).collect();
    assert_eq!(read(&mut reader(&broker).await, all.len()).await, all);
    let lost = relay.faults();
    assert!(lost >= 2, "the reader was to lose some");
    let mut follower = Follower::after(&broker, STREAM, letters(), 0);
    assert_eq!(followed(&mut follower, all.len()).await, all);
    let then = relay.faults();
    assert!(then >= lost + 2, "the follower was to lose some");
    let (mut next, mut failed) = (1, 0);
    while next <= LETTERS {
        match nats::batch(&broker, STREAM, next..=LETTERS, 100).await {
            Ok(batch) => {
                let end = next + batch.len() as u64;
                assert_eq!(
                    batch.iter().map(|message| message.sequence).collect::<Vec<_>>(),
                    (next..end).collect::<Vec<_>>()
                );
                assert!(end > next, "a batch is not empty before the end");
                next = end;
            }
            Err(_missing) => failed += 1,
        }
    }
    assert_eq!((next - 1, failed), (LETTERS, relay.faults() - then), "each loss was told");
    assert!(failed >= 2, "a batch was to lose some");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_message_that_is_lost_is_missed_though_none_follows() {
    let mut post = Post::open().await;
    post.send([10; 3]).await;
    let relay = Relay::before(&post.server.url(None), Fault::Lose(3)).await;
    let broker = tests::connect(&relay.url()).await;
    let mut reader = reader(&broker).await;
    assert_eq!(read(&mut reader, 2).await, [1, 2]);
    // Two of the server's signs of life.
    let third = reader.next_within(Duration::from_secs(12)).await.expect("no failure").expect("the last");
    assert_eq!((third.sequence, relay.faults()), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_is_not_taken_for_the_one_that_was_read() {
    let mut post = Post::open().await;
    post.send([10; 3]).await;
    let broker = post.broker().await;
    let (mut reader, mut follower) = (reader(&broker).await, Follower::after(&broker, STREAM, letters(), 0));
    assert_eq!((read(&mut reader, 3).await, followed(&mut follower, 3).await), (vec![1, 2, 3], vec![1, 2, 3]));
    post.ask(&format!("STREAM.DELETE.{STREAM}"), &json!({})).await;
    post.make().await;
    // As many and more: its places alone do not tell.
    post.send([10; 5]).await;
    let ended = reader.next_within(PATIENCE).await.expect_err("it is another stream");
    assert!(format!("{ended:?}").contains("another stream of this name"), "{ended:?}");
    assert!(matches!(follow(&mut follower).await, Next::Unknown { last: 5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_given_up_while_it_opens_leaves_no_consumer() {
    let mut post = Post::open().await;
    post.send([10]).await;
    let broker = post.broker().await;
    for micros in (0..3_000).step_by(25) {
        let opening = Reader::open(&broker, STREAM, &[], Start::First, true);
        let _given_up = timeout(Duration::from_micros(micros), opening).await.is_err();
    }
    // The server would remove them too, but half a minute later.
    let soon = Duration::from_secs(10);
    let post = tokio::sync::Mutex::new(post);
    eventually_within(soon, "no consumer is left", || async {
        post.lock().await.consumers("reader").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_time_on_nothing_is_left_out_whichever_filter_it_matches() {
    let mut post = Post::open().await;
    for (number, subject) in ["letters.a", "letters.a", "letters.a", "letters.b", "letters.a"].iter().enumerate() {
        if number == 1 {
            // Times are told in milliseconds.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        post.raw.request(subject, &json!("a letter")).await.expect("stored");
    }
    let broker = post.broker().await;
    let since = nats::get(&broker, STREAM, 2).await.expect("a read").expect("a letter").stored_at;
    let (filters, all) = (vec!["letters.a".to_owned(), "letters.b".to_owned()], vec![2, 3, 4, 5]);
    let mut reader = Reader::open(&broker, STREAM, &filters, Start::Since(since), false).await.expect("a reader");
    assert_eq!(read(&mut reader, 4).await, all);
    let durable = Durable {
        stream: STREAM,
        name: "endpoint".to_owned(),
        description: String::new(),
        filters,
        max_ack_pending: 10,
        start: Start::Since(since),
        metadata: BTreeMap::new(),
    };
    nats::durable::put(&broker, &durable, None).await.expect("a consumer");
    let mut pull = Pull::open(&broker, STREAM, "endpoint").await.expect("a pull");
    let mut pulled = Vec::new();
    while pulled.len() < 4 {
        pulled.push(timeout(PATIENCE, pull.next(10)).await.expect("in time").expect("a letter").sequence);
    }
    assert_eq!(pulled, all);
    assert_eq!(nats::first_since(&broker, STREAM, since).await.expect("an answer"), Some(2));
    assert_eq!(nats::first_since(&broker, STREAM, since + 60_000).await.expect("an answer"), None);
}

/// A request may be used up to its last byte, and the server does not say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_bytes_fit_exactly_is_not_waited_for() {
    let mut post = Post::open().await;
    let broker = post.broker().await;
    // What comes with each of the first five: its subject and where it stands.
    let beside =
        "letters.0".len() + format!("$JS.ACK.{STREAM}.follower-0123456789abcdef.1.1.1.1700000000000000000.4").len();
    let quotes = 2;
    post.send([(1 << 20) - beside - quotes; 2]).await;
    post.send([10; 3]).await;
    let begun = Instant::now();
    let mut follower = Follower::after(&broker, STREAM, letters(), 0);
    assert_eq!(followed(&mut follower, 5).await, [1, 2, 3, 4, 5]);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_stream_holds_more_is_told_by_filter_and_range() {
    let mut post = Post::open().await;
    post.send([10; 4]).await;
    let broker = post.broker().await;
    nats::delete(&broker, STREAM, 2).await.expect("deleted");
    let third = ["letters.2".to_owned()];
    for (filters, range, held) in [
        (letters().as_slice(), 1..=u64::MAX, true),
        (letters().as_slice(), 2..=2, false),
        (letters().as_slice(), 5..=u64::MAX, false),
        (third.as_slice(), 1..=3, true),
        (third.as_slice(), 1..=2, false),
        (third.as_slice(), 4..=4, false),
        (["other.>".to_owned(), "letters.3".to_owned()].as_slice(), 1..=4, true),
        (["other.>".to_owned()].as_slice(), 1..=4, false),
    ] {
        assert_eq!(
            nats::holds(&broker, STREAM, filters, range.clone()).await.expect("an answer"),
            held,
            "{filters:?} {range:?}"
        );
    }
}
