//! Storing messages. A publish has three outcomes: stored, duplicate, or unknown, and an unknown one is tried
//! again with the same id until the caller's deadline.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use async_nats::RequestErrorKind;
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use crate::{connect::Broker, error::Code, message::Outgoing, trace};

mod ack;
pub(crate) mod batch;
mod fast;
mod gate;
mod group;
mod measure;
mod pipeline;

use gate::Gate;
use group::Group;
use pipeline::Pipeline;

/// How long one try waits for the broker.
const TRY: Duration = Duration::from_secs(2);
/// Pause before another try, in milliseconds: between the two.
const PAUSE: std::ops::Range<u64> = 20..200;
/// So few messages in order are confirmed one after the other: on most brokers sooner than a batch of them is staged.
const SERIAL: usize = 4;
/// Messages of a fast-ingest batch.
const FAST: usize = 256;
/// Fast-ingest batches of one call that are sent before the first is confirmed.
const AHEAD: usize = 2;
/// Messages of a set that stays together, and their bytes: well below what the server takes in a batch.
const SET: usize = 500;
const SET_BYTES: usize = 3 << 20;

/// The broker has the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was stored now.
    New {
        /// Its place in the stream.
        sequence: u64,
    },
    /// It was there before.
    Duplicate {
        /// The place of the first.
        sequence: u64,
    },
}

impl Stored {
    /// The message's place in the stream.
    #[must_use]
    pub fn sequence(self) -> u64 {
        match self {
            Self::New { sequence } | Self::Duplicate { sequence } => sequence,
        }
    }
}

/// The broker did not confirm the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The stream holds as much as it may.
    #[error("the stream is full: raise its max_bytes or shorten its retention")]
    Full,
    /// The server or account has no storage left.
    #[error("the broker has no storage left")]
    StorageExceeded,
    /// The cluster has no leader for the stream.
    #[error("the stream has no leader")]
    NoQuorum,
    /// The message is larger than the server takes.
    #[error("the message is larger than the server's max_payload")]
    TooLarge,
    /// No answer came in time: the message may be stored or not.
    #[error("the broker did not confirm in time")]
    Unconfirmed,
    /// No stream listens, or the user may not publish there.
    #[error("no stream takes the subject")]
    NoStream,
    /// The broker refused for a reason that time does not cure.
    #[error("the broker refused: {description} ({code})")]
    Refused {
        /// Which error.
        code: Code,
        /// The broker's words.
        description: String,
    },
}

impl PublishError {
    /// Whether another try can succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unconfirmed | Self::NoStream => true,
            Self::Refused { code, .. } => matches!(
                code,
                Code::DuplicateInFlight
                    | Code::SubjectInFlight
                    | Code::TooManyRequests
                    | Code::TooManyBatches
                    | Code::BatchIncomplete
                    | Code::BatchDuplicate
                    | Code::WrongLastSequence
            ),
            Self::Full | Self::StorageExceeded | Self::NoQuorum | Self::TooLarge => false,
        }
    }

    fn of(code: Code, description: String) -> Self {
        match code {
            Code::StreamFull => Self::Full,
            Code::StorageExceeded => Self::StorageExceeded,
            Code::NotAvailable => Self::NoQuorum,
            code => Self::Refused { code, description },
        }
    }

    pub(crate) fn of_request(error: &async_nats::RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::NoResponders => Self::NoStream,
            RequestErrorKind::MaxPayloadExceeded => Self::TooLarge,
            _ => Self::Unconfirmed,
        }
    }
}

/// Reads a publish acknowledgement.
#[cfg(feature = "fuzz")]
pub fn read_ack(answer: &[u8]) -> Result<Stored, PublishError> {
    ack::read(answer)
}

/// How messages go to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What waits while a batch is in flight becomes the next atomic batch: one fsync for all of it.
    Batch {
        /// So many messages in flight still go each by itself: to stage a batch would cost more.
        single: usize,
    },
    /// Each message by itself, many in flight.
    Pipeline,
}

impl Mode {
    /// Measures on the broker which of the two is faster: a client cannot see how the server syncs.
    pub async fn measure(broker: &Broker, instance: &str) -> Self {
        measure::fastest(broker, instance).await
    }
}

/// Stores messages in one stream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Broker(Arc<Roads>),
    #[cfg(feature = "bench")]
    Null,
}

/// Both ways to the broker, and which is open.
#[derive(Debug)]
struct Roads {
    broker: Broker,
    group: mpsc::Sender<group::Unit>,
    pipeline: Pipeline,
    gate: Gate,
}

impl Publisher {
    /// A publisher, and the task that sends its messages: it ends when the last clone of the publisher is gone.
    pub fn new(broker: &Broker, mode: Mode) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (pipeline, pump) = Pipeline::new(broker);
        let gate = Gate::new(mode);
        let (grouping, group) = Group::new(broker.clone(), pipeline.clone(), gate.most());
        let task = async move {
            tokio::join!(grouping.run(), pump.run());
        };
        let roads = Roads { broker: broker.clone(), group, pipeline, gate };
        (Self { way: Way::Broker(Arc::new(roads)) }, task)
    }

    /// Confirms at once and stores nothing: shows what the edge itself costs.
    #[cfg(feature = "bench")]
    #[must_use]
    pub fn null() -> Self {
        Self { way: Way::Null }
    }

    /// Stores a message, trying again with the same id until the deadline.
    pub async fn publish(&self, mut message: Outgoing, deadline: Instant) -> Result<Stored, PublishError> {
        trace::inject(&mut message.headers);
        match &self.way {
            Way::Broker(roads) => match roads.gate.pass(1) {
                Some(_pass) => roads.single(&message, deadline).await,
                None => {
                    let stored = roads.grouped(vec![message], deadline).await?;
                    stored.into_iter().next().ok_or(PublishError::Unconfirmed)
                }
            },
            #[cfg(feature = "bench")]
            Way::Null => {
                std::hint::black_box(message.header_map());
                Ok(Stored::New { sequence: 1 })
            }
        }
    }

    /// Stores messages so that none stands before one that was given earlier: a few one after the other, more in atomic
    /// batches.
    pub async fn publish_in_order(
        &self,
        mut messages: Vec<Outgoing>,
        deadline: Instant,
    ) -> Result<Vec<Stored>, PublishError> {
        messages.iter_mut().for_each(|message| trace::inject(&mut message.headers));
        match &self.way {
            Way::Broker(roads) => roads.in_order(messages, deadline).await,
            #[cfg(feature = "bench")]
            Way::Null => Ok(messages.iter().map(|_| Stored::New { sequence: 1 }).collect()),
        }
    }

    /// Sends messages as fast as the broker takes them, and gives those whose confirmation it did not wait for. They
    /// stand in the order given, also behind those that were sent before. What is not confirmed is not sent again: some
    /// may be stored and others not.
    pub async fn launch_all(&self, mut messages: Vec<Outgoing>, deadline: Instant) -> Result<Landing, PublishError> {
        messages.iter_mut().for_each(|message| trace::inject(&mut message.headers));
        match &self.way {
            Way::Broker(roads) if roads.gate.is_open() => {
                let launched = tokio::time::timeout_at(deadline, roads.launch(messages, deadline));
                launched.await.map_err(|_elapsed| PublishError::Unconfirmed)?
            }
            Way::Broker(roads) => {
                let stored = roads.in_order(messages, deadline).await?;
                Ok(Landing {
                    flights: VecDeque::new(),
                    last: stored.into_iter().map(Stored::sequence).max().unwrap_or(0),
                })
            }
            #[cfg(feature = "bench")]
            Way::Null => Ok(Landing::done()),
        }
    }

    /// Stores messages as [`Self::launch_all`] sends them; gives the place of the last, 0 without any.
    pub async fn publish_all(&self, messages: Vec<Outgoing>, deadline: Instant) -> Result<u64, PublishError> {
        self.launch_all(messages, deadline).await?.landed(deadline).await
    }
}

/// Messages that were sent and not confirmed yet. Dropped, nobody waits for them any more.
#[derive(Debug, Default)]
pub struct Landing {
    flights: VecDeque<fast::Flight>,
    /// The place of the last that is stored.
    last: u64,
}

impl Landing {
    /// Nothing is on its way.
    #[must_use]
    pub fn done() -> Self {
        Self::default()
    }

    /// Waits until all are stored; gives the place of the last, 0 without any.
    pub async fn landed(mut self, deadline: Instant) -> Result<u64, PublishError> {
        while let Some(flight) = self.flights.pop_front() {
            self.last = flight.landed(deadline).await?;
        }
        Ok(self.last)
    }
}

impl Roads {
    async fn launch(&self, messages: Vec<Outgoing>, deadline: Instant) -> Result<Landing, PublishError> {
        connected(&self.broker, deadline).await?;
        let (mut landing, mut messages) = (Landing::done(), messages.into_iter());
        loop {
            let batch: Vec<Outgoing> = messages.by_ref().take(FAST).collect();
            if batch.is_empty() {
                return Ok(landing);
            }
            if landing.flights.len() >= AHEAD
                && let Some(first) = landing.flights.pop_front()
            {
                landing.last = first.landed(deadline).await?;
            }
            landing.flights.push_back(fast::launch(&self.broker, batch).await?);
        }
    }

    /// Stores a message by itself.
    async fn single(&self, message: &Outgoing, deadline: Instant) -> Result<Stored, PublishError> {
        retry(deadline, || async {
            connected(&self.broker, deadline).await?;
            self.pipeline.publish(message, Instant::now() + limit(deadline)).await
        })
        .await
    }

    async fn in_order(&self, messages: Vec<Outgoing>, deadline: Instant) -> Result<Vec<Stored>, PublishError> {
        let pass = if messages.len() <= SERIAL { self.gate.pass(messages.len()) } else { None };
        let mut stored = Vec::with_capacity(messages.len());
        if pass.is_some() {
            for message in &messages {
                stored.push(self.single(message, deadline).await?);
            }
            return Ok(stored);
        }
        for set in sets(messages) {
            stored.extend(self.grouped(set, deadline).await?);
        }
        Ok(stored)
    }

    /// Stores messages with those of others. All of them are one unit: if one is not stored, all are tried again.
    async fn grouped(&self, messages: Vec<Outgoing>, deadline: Instant) -> Result<Vec<Stored>, PublishError> {
        let _queued = self.gate.queue();
        let messages: Arc<[Outgoing]> = messages.into();
        retry(deadline, || async {
            connected(&self.broker, deadline).await?;
            group::submit(&self.group, messages.clone(), deadline).await?.into_iter().collect()
        })
        .await
    }
}

/// Messages in sets that a server takes as one batch.
fn sets(messages: Vec<Outgoing>) -> Vec<Vec<Outgoing>> {
    let mut sets: Vec<Vec<Outgoing>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let size = message.size();
        match sets.last_mut().filter(|set| set.len() < SET && bytes + size <= SET_BYTES) {
            Some(set) => set.push(message),
            None => {
                bytes = 0;
                sets.push(vec![message]);
            }
        }
        bytes += size;
    }
    sets
}

async fn retry<T, F: Future<Output = Result<T, PublishError>>>(
    deadline: Instant,
    attempt: impl Fn() -> F,
) -> Result<T, PublishError> {
    loop {
        match attempt().await {
            Err(error) if error.is_transient() => {
                let pause = Duration::from_millis(rand::random_range(PAUSE));
                if Instant::now() + pause >= deadline {
                    return Err(error);
                }
                debug!(%error, "publish.retry");
                tokio::time::sleep(pause).await;
            }
            settled => return settled,
        }
    }
}

/// A message given to a client that is not connected would wait there past its deadline, and be stored after all.
async fn connected(broker: &Broker, deadline: Instant) -> Result<(), PublishError> {
    if broker.is_connected() {
        return Ok(());
    }
    tokio::time::timeout_at(deadline, broker.connected()).await.map_err(|_elapsed| PublishError::Unconfirmed)
}

fn limit(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).min(TRY)
}
