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

use crate::{connect::Broker, message::Message};

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

/// Room for messages, shared by live traffic and history. History gets what live traffic leaves.
#[derive(Clone, Debug)]
pub struct Slots {
    own: Arc<Semaphore>,
    total: usize,
    held: Arc<AtomicUsize>,
    /// The lane that goes first.
    ahead: Option<Arc<AtomicUsize>>,
}

impl Slots {
    /// Room for live traffic.
    #[must_use]
    pub fn live(total: usize) -> Self {
        Self { own: Arc::new(Semaphore::new(total)), total, held: Arc::default(), ahead: None }
    }

    /// What these leave free: half the room, and only while little of theirs is in use.
    #[must_use]
    pub fn behind(&self) -> Self {
        let total = (self.total / 2).max(1);
        Self { own: Arc::new(Semaphore::new(total)), total, held: Arc::default(), ahead: Some(self.held.clone()) }
    }

    /// Waits for room and takes as much as there is, a quarter of all at least.
    async fn take(&self) -> Vec<Slot> {
        while self.ahead.as_ref().is_some_and(|ahead| ahead.load(Ordering::Relaxed) > self.total / 4) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let least = (self.total / 4).max(1);
        let Ok(mut permits) = self.own.clone().acquire_many_owned(least as u32).await else { return Vec::new() };
        if let Ok(more) = self.own.clone().try_acquire_many_owned(self.own.available_permits() as u32) {
            permits.merge(more);
        }
        let mut slots = Vec::with_capacity(permits.num_permits());
        while let Some(permit) = permits.split(1) {
            slots.push(Slot { _permit: permit, held: None });
        }
        slots
    }
}

/// Room for one message.
#[derive(Debug)]
struct Slot {
    _permit: OwnedSemaphorePermit,
    held: Option<Arc<AtomicUsize>>,
}

impl Slot {
    /// The slot holds a message from now on.
    fn fill(mut self, slots: &Slots) -> Self {
        slots.held.fetch_add(1, Ordering::Relaxed);
        self.held = Some(slots.held.clone());
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.fetch_sub(1, Ordering::Relaxed);
        }
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
