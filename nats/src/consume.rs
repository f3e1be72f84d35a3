//! The consumer loop: takes only what it has slots for, keeps order within a lane and runs lanes side by side,
//! and ends every message in one of three ways.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{connect::Broker, message::Message, publish::PublishError};

mod dead;
mod lanes;
mod pull;

pub use dead::{DeadLetters, letter};

/// How a message ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is dealt with.
    Done,
    /// Time may help; the lane waits and tries again.
    Retry {
        /// How long.
        after: Duration,
    },
    /// It will not succeed by itself.
    Dead {
        /// Stable, a token of the dead letter's subject: `unreadable`.
        reason: &'static str,
        /// For a person.
        detail: String,
    },
}

/// What becomes of a message that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dying {
    /// It becomes a dead letter as it is.
    Bury,
    /// The handler has kept what is to be kept of it.
    Done,
}

/// Deals with a lane's next messages, in order, and says how each ended.
pub trait Handler: Send + Sync + 'static {
    /// Messages with the same lane are handled in their order, one call at a time.
    fn lane(&self, message: &Message) -> u64;

    /// Whether messages can be handled now. While not, none is taken: each time it is handed out counts.
    fn ready(&self) -> bool {
        true
    }

    /// One verdict for each message. After a [`Verdict::Retry`] the message and all behind it come again;
    /// `attempt` says how often the first of them was retried before.
    fn handle(&self, messages: Arc<[Message]>, attempt: u32) -> impl Future<Output = Vec<Verdict>> + Send;

    /// Called before a message becomes a dead letter, whoever gave it up. Where it fails, both are tried again.
    fn dying(
        &self,
        _message: &Message,
        _reason: &'static str,
    ) -> impl Future<Output = Result<Dying, PublishError>> + Send {
        std::future::ready(Ok(Dying::Bury))
    }
}

/// Which consumer, and how much at once.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// The connection.
    pub broker: Broker,
    /// The stream.
    pub stream: &'static str,
    /// Its durable consumer.
    pub name: &'static str,
    /// How many messages are held at once.
    pub slots: Slots,
    /// Where the dead go.
    pub dead: DeadLetters,
    /// Counts messages that were handed out again.
    pub redelivered: Counter,
    /// Whether it may be made anew when somebody deleted it.
    pub recreate: bool,
}

/// Bytes of messages that live traffic holds at once.
const BYTES: usize = 256 << 20;
/// Bytes of one pull at most, so that many large bodies do not come at once.
const PULL: usize = 32 << 20;

/// Room for messages, shared by live traffic and history. History gets what live traffic leaves.
#[derive(Clone, Debug)]
pub struct Slots {
    own: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    total: usize,
    held: Arc<AtomicUsize>,
    /// The lane that goes first.
    ahead: Option<Arc<AtomicUsize>>,
}

impl Slots {
    /// Room for live traffic.
    #[must_use]
    pub fn live(total: usize) -> Self {
        Self::new(total, BYTES, None)
    }

    /// What these leave free: half the room, and only while little of theirs is in use.
    #[must_use]
    pub fn behind(&self) -> Self {
        let total = (self.total / 2).max(1);
        Self::new(total, BYTES / 2, Some(self.held.clone()))
    }

    fn new(total: usize, bytes: usize, ahead: Option<Arc<AtomicUsize>>) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { own: semaphore(total), bytes: semaphore(bytes), total, held: Arc::default(), ahead }
    }

    /// Waits for room and takes as much as there is, a quarter of all slots at least, and the bytes of one pull.
    async fn take(&self) -> Room {
        while self.ahead.as_ref().is_some_and(|ahead| ahead.load(Ordering::Relaxed) > self.total / 4) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let least = (self.total / 4).max(1);
        // Nobody closes them.
        let mut slots = self.own.clone().acquire_many_owned(least as u32).await.ok();
        let bytes = self.bytes.clone().acquire_many_owned(PULL as u32).await.ok();
        let more = self.own.clone().try_acquire_many_owned(self.own.available_permits() as u32);
        if let (Some(slots), Ok(more)) = (&mut slots, more) {
            slots.merge(more);
        }
        Room { slots, bytes }
    }
}

/// Room for the messages of one pull; what they do not need is given back with it.
#[derive(Debug)]
struct Room {
    slots: Option<OwnedSemaphorePermit>,
    bytes: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For how many messages.
    fn slots(&self) -> usize {
        self.slots.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Takes a message's part of it.
    fn fill(&mut self, slots: &Slots, size: usize) -> Option<Slot> {
        let slot = self.slots.as_mut()?.split(1)?;
        let bytes = self.bytes.as_mut()?;
        let bytes = bytes.split(size.min(bytes.num_permits()))?;
        slots.held.fetch_add(1, Ordering::Relaxed);
        Some(Slot { _slot: slot, _bytes: bytes, held: slots.held.clone() })
    }
}

/// Room for one message.
#[derive(Debug)]
struct Slot {
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    held: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Consumes until told to stop; then what is held is dealt with first.
pub async fn run(consumer: Consumer, handler: Arc<impl Handler>, stop: CancellationToken) {
    let (sender, messages) = tokio::sync::mpsc::channel(consumer.slots.total);
    let ready = {
        let handler = handler.clone();
        move || handler.ready()
    };
    let pulling = pull::run(consumer.clone(), sender, stop.clone(), ready);
    let handling = lanes::run(consumer, handler, messages, stop);
    tokio::join!(pulling, handling);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_bounded_in_messages_and_in_bytes_and_comes_back() {
        let slots = Slots::live(100);
        let mut held = Vec::new();
        for _ in 0..BYTES / PULL {
            let mut room = slots.take().await;
            held.push(room.fill(&slots, PULL).expect("there is room"));
        }
        let full = tokio::time::timeout(Duration::from_millis(20), slots.take()).await;
        assert!(full.is_err(), "few messages, but many bytes");
        held.pop();
        let mut room = slots.take().await;
        assert_eq!(room.slots(), 100 - held.len());
        while let Some(slot) = room.fill(&slots, 1) {
            held.push(slot);
        }
        assert_eq!((held.len(), slots.held.load(Ordering::Relaxed)), (100, 100));
        drop((held, room));
        assert_eq!(slots.own.available_permits(), 100);
        assert_eq!((slots.bytes.available_permits(), slots.held.load(Ordering::Relaxed)), (BYTES, 0));
    }
}
