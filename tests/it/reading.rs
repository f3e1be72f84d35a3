//! Readers of what a stream holds, while it changes.

use std::{ops::Range, time::Duration};

use futures_util::future::join_all;
use nats::{
    Follower, Next, Publisher, Reader, Start,
    topology::{self, GW_DLQ},
};
use schemas::subject;
use serde_json::json;
use tests::World;
use tokio::time::Instant;

use crate::{
    raw::Raw,
    relay::{Fault, Relay},
    replay::publisher,
};

/// Far more than a reader needs to see that nothing is left, far less than it waits for what is held.
const SOON: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_before_a_reader_comes_to_it_is_not_waited_for() {
    let mut world = World::start().await;
    let broker = world.broker().await;
    let publisher = publisher(&mut world).await;
    store(&publisher, 0..4, "{}").await;
    let first = topology::stream_info(&broker, GW_DLQ).await.expect("the stream").state.first_sequence;
    let filter = [subject::dead_of(Some("test"), None)];
    let mut reader = Reader::open(&broker, GW_DLQ, &filter, Start::First, true).await.expect("a reader");
    assert_eq!(reader.waiting(), 4);
    for gone in [first, first + 2, first + 3] {
        nats::delete(&broker, GW_DLQ, gone).await.expect("deleted");
    }
    let begun = Instant::now();
    let mut seen = Vec::new();
    while let Some(message) = reader.next_waiting(PATIENCE).await.expect("no failure") {
        seen.push(message.sequence);
    }
    // The client may have asked for some before they were deleted.
    assert!(seen.contains(&(first + 1)), "{seen:?}");
    assert!(begun.elapsed() < SOON, "it waited {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_what_is_new_that_loses_its_consumer_does_not_begin_with_what_is_old() {
    let mut world = World::start().await;
    let broker = world.broker().await;
    let publisher = publisher(&mut world).await;
    store(&publisher, 0..3, "{}").await;
    let filter = [subject::dead_of(Some("test"), None)];
    let mut reader = Reader::open(&broker, GW_DLQ, &filter, Start::New, true).await.expect("a reader");
    assert!(reader.next_within(Duration::from_millis(200)).await.expect("no failure").is_none());
    let mut raw = Raw::connect(&world.nats_url()).await;
    let listed = raw.request(&format!("$JS.API.CONSUMER.LIST.{GW_DLQ}"), &json!({})).await.expect("a list");
    let consumers = listed["consumers"].as_array().expect("consumers").clone();
    let ours: Vec<_> = consumers.iter().filter(|one| one["config"]["filter_subject"] == filter[0]).collect();
    assert_eq!(ours.len(), 1, "{consumers:?}");
    let name = ours[0]["name"].as_str().expect("a name");
    raw.request(&format!("$JS.API.CONSUMER.DELETE.{GW_DLQ}.{name}"), &json!({})).await.expect("deleted");
    store(&publisher, 3..4, "{}").await;
    let message = reader.next_within(PATIENCE).await.expect("no failure").expect("a message");
    assert_eq!(message.id(), Some("letter-3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_connection_is_cut_in_mid_message_gives_every_message_once_and_in_order() {
    const LETTERS: usize = 1_000;
    let mut world = World::start().await;
    let publisher = publisher(&mut world).await;
    store(&publisher, 0..LETTERS, &"x".repeat(1_000)).await;
    let relay = Relay::before(&world.nats_url(), Fault::Cut(150_000)).await;
    let broker = tests::connect(&relay.url()).await;
    let filter = [subject::dead_of(Some("test"), None)];
    let mut reader = Reader::open(&broker, GW_DLQ, &filter, Start::First, false).await.expect("a reader");
    let mut seen = Vec::with_capacity(LETTERS);
    while seen.len() < LETTERS {
        let message = reader.next_within(PATIENCE).await.expect("no failure").expect("a message");
        seen.push(message.sequence);
    }
    let first = seen[0];
    assert_eq!(seen, (first..first + LETTERS as u64).collect::<Vec<_>>());
    assert!(relay.faults() >= 3, "too few cuts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connection_lost_while_nobody_read_is_not_passed_over_by_a_follower() {
    const LETTERS: usize = 300;
    let mut world = World::start().await;
    let publisher = publisher(&mut world).await;
    store(&publisher, 0..LETTERS, &"x".repeat(1_000)).await;
    let relay = Relay::before(&world.nats_url(), Fault::Cut(100_000)).await;
    let broker = tests::connect(&relay.url()).await;
    let mut follower = Follower::after(&broker, GW_DLQ, vec![subject::dead_of(Some("test"), None)], 0);
    let mut seen = Vec::with_capacity(LETTERS);
    while seen.len() < LETTERS {
        match follower.next(Duration::from_secs(1)).await.expect("no failure") {
            Next::Message(message) => seen.push(message.sequence),
            Next::Quiet { .. } => break,
            Next::Expired { .. } | Next::Unknown { .. } => panic!("its place is there"),
        }
        // An answer comes behind what the server sent before it, or over the next connection.
        while topology::stream_info(&broker, GW_DLQ).await.is_err() {
            tokio::task::yield_now().await;
            broker.connected().await;
        }
    }
    assert_eq!(seen, (seen[0]..seen[0] + LETTERS as u64).collect::<Vec<_>>());
    assert!(relay.faults() >= 3, "too few cuts");
}

async fn store(publisher: &Publisher, letters: Range<usize>, body: &str) {
    let deadline = Instant::now() + PATIENCE;
    let letters = letters.map(|number| nats::Outgoing {
        subject: subject::dead("test", "reason"),
        id: format!("letter-{number}"),
        payload: body.to_owned().into(),
        ..nats::Outgoing::default()
    });
    for stored in join_all(letters.map(|letter| publisher.publish(letter, deadline))).await {
        stored.expect("stored");
    }
}
