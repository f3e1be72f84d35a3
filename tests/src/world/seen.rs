//! What a subscriber sees of a world: streams, events, and that all is quiet.

use std::time::Duration;

use nats::{Broker, Message, Reader, Start, topology};
use serde_json::Value;

use super::World;
use crate::eventually;

impl World {
    /// All messages of a stream whose subject matches.
    pub async fn messages(&mut self, stream: &str, filter: &str) -> Vec<Message> {
        let broker = self.broker().await;
        // What is removed while it is read never comes: then it is read anew.
        eventually("the messages of a stream are read", || async {
            let mut reader =
                Reader::open(&broker, stream, &[filter.to_owned()], Start::First, false).await.expect("a reader");
            let mut messages = Vec::new();
            for _ in 0..reader.waiting() {
                messages.push(reader.next_within(Duration::from_secs(3)).await.expect("a message")?);
            }
            Some(messages)
        })
        .await
    }

    /// How many messages of a stream match.
    pub async fn count(&mut self, stream: &str, filter: &str) -> u64 {
        let broker = self.broker().await;
        Reader::open(&broker, stream, &[filter.to_owned()], Start::First, true).await.expect("a reader").waiting()
    }

    /// Waits until so many messages of a stream match, within this time.
    pub async fn counted(&mut self, stream: &str, filter: &str, count: u64, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let found = self.count(stream, filter).await;
            if found == count {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{stream} holds {found} messages on {filter}, not {count}, after {within:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The bodies of the events of an organisation, in order, once there are at least so many.
    pub async fn events(&mut self, org: &str, count: usize) -> Vec<Value> {
        let broker = self.broker().await;
        let filter = schemas::subject::events_of(Some(org), None, false);
        eventually(&format!("{org} has {count} events"), || async {
            let events = read(&broker, topology::GW_EVENT, &filter).await;
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// Waits until a stream holds at least so many messages whose subject matches, and gives them.
    pub async fn stored(&mut self, stream: &str, filter: &str, count: usize) -> Vec<Message> {
        for _ in 0..1_200 {
            let messages = self.messages(stream, filter).await;
            if messages.len() >= count {
                return messages;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{stream} did not hold {count} messages on {filter}");
    }

    /// Waits until the router has dealt with everything that is stored.
    pub async fn settled(&mut self) {
        let broker = self.broker().await;
        eventually("the router has caught up", || async {
            let info = topology::consumer_info(&broker, topology::GW_WEBHOOK, topology::ROUTER).await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }
}

async fn read(broker: &Broker, stream: &str, filter: &str) -> Vec<Value> {
    let mut reader = Reader::open(broker, stream, &[filter.to_owned()], Start::First, false).await.expect("a reader");
    let mut bodies = Vec::new();
    for _ in 0..reader.waiting() {
        let message = reader.next_within(Duration::from_secs(10)).await.expect("a message").expect("in time");
        bodies.push(serde_json::from_slice(&message.payload).expect("an event is JSON"));
    }
    bodies
}
