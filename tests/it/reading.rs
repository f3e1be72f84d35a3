//! Readers of what a stream holds, while it changes.

use std::time::Duration;

use nats::{
    Reader, Start,
    topology::{self, GW_DLQ},
};
use schemas::subject;
use tests::World;
use tokio::time::Instant;

use crate::replay::publisher;

/// Far more than a reader needs to see that nothing is left, far less than it waits for what is held.
const SOON: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_before_a_reader_comes_to_it_is_not_waited_for() {
    let mut world = World::start().await;
    let broker = world.broker().await;
    let publisher = publisher(&mut world).await;
    for number in 0..4 {
        let letter = nats::Outgoing {
            subject: subject::dead("test", "reason"),
            id: format!("letter-{number}"),
            payload: "{}".into(),
            ..nats::Outgoing::default()
        };
        publisher.publish(letter, Instant::now() + Duration::from_secs(5)).await.expect("stored");
    }
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
