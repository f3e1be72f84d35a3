//! Following a stream at the pace of who reads: a few messages are asked for at a time, and only when they are wanted.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use futures_util::StreamExt;
use tokio::{sync::watch, time::Instant};
use tracing::debug;

use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    read::{Start, consumer_name, policy},
    topology,
};

/// Messages asked for at once, and their bytes at most.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 2 << 20;
/// The broker forgets a follower that asks for nothing for so long; it is made anew where it stood.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// How late the broker's word that a request has ended may be: less than the client waits for it.
const LATE: Duration = Duration::from_secs(3);
/// Pause before a follower is made anew.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one that can neither be asked nor made anew is kept at it.
const TRIES: u32 = 60;

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A message.
    Message(Box<Message>),
    /// Nothing matched for a while: everything up to this sequence was looked at.
    Quiet {
        /// The last sequence that was looked at.
        sequence: u64,
    },
    /// Messages behind the reader's place expired before they were read; some of them may have matched.
    Expired {
        /// The first sequence that the stream still holds.
        first: u64,
    },
}

/// A place in a stream, and what follows it.
#[derive(Debug)]
pub struct Follower {
    broker: Broker,
    stream: &'static str,
    filters: Vec<String>,
    /// Everything up to here was read or looked at.
    place: u64,
    /// Where to begin instead, until something was read: a time, milliseconds since the epoch.
    since: Option<i64>,
    consumer: Option<PullConsumer>,
    /// How many messages it handed out.
    given: u64,
    pull: Option<Pull>,
}

/// Messages that were asked for. It is read to its end: what the broker sent to nobody would be missed.
struct Pull {
    messages: pull::Batch,
    /// Of the connection, since it was asked: what the broker sent meanwhile may have reached nobody.
    changes: watch::Receiver<bool>,
    /// How many messages it gave.
    got: usize,
    /// Until when the broker ends it. The client ends it too, some seconds later, and drops what had come.
    until: Instant,
    /// The last sequence of the stream when it was asked.
    asked_at: u64,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("asked_at", &self.asked_at).finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows a stream's messages that match one of the filters, beginning behind a sequence.
    #[must_use]
    pub fn after(broker: &Broker, stream: &'static str, filters: Vec<String>, place: u64) -> Self {
        Self { broker: broker.clone(), stream, filters, place, since: None, consumer: None, given: 0, pull: None }
    }

    /// Follows what was stored at or after a time, milliseconds since the epoch, as far as the stream holds it.
    #[must_use]
    pub fn since(broker: &Broker, stream: &'static str, filters: Vec<String>, time: i64) -> Self {
        let mut follower = Self::after(broker, stream, filters, 0);
        follower.since = Some(time);
        follower
    }

    /// What comes next; quiet after this time. A restart of the server is waited for.
    pub async fn next(&mut self, patience: Duration) -> Result<Next, Error> {
        let mut tries = 0;
        loop {
            match self.step(patience).await {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                Err(error) if tries >= TRIES => return Err(error),
                Err(error) => {
                    debug!(%error, stream = self.stream, "follower.again");
                    tries += 1;
                    self.leave();
                    tokio::time::sleep(AGAIN).await;
                    self.broker.connected().await;
                }
            }
        }
    }

    async fn step(&mut self, patience: Duration) -> Result<Option<Next>, Error> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Read { stream: self.stream.to_owned(), source };
        let Some(pull) = &mut self.pull else { return self.ask(patience).await };
        let message = tokio::select! {
            // What came over another connection may stand behind what never came.
            biased;
            _ = pull.changes.changed() => return Err(failed("the connection was down".into())),
            message = pull.messages.next() => message.transpose().map_err(failed)?,
        };
        let Some(message) = message else {
            let (got, asked_at, until) = (pull.got, pull.asked_at, pull.until);
            self.pull = None;
            if got < BATCH && Instant::now() > until {
                return Err(failed("who ended the request is not known".into()));
            }
            if got > 0 {
                return Ok(None);
            }
            (self.place, self.since) = (self.place.max(asked_at), None);
            return Ok(Some(Next::Quiet { sequence: self.place }));
        };
        pull.got += 1;
        let Some(message) = Message::consumed(message.message) else { return Ok(None) };
        if message.order != self.given + 1 {
            return Err(failed("a message is missing".into()));
        }
        self.given = message.order;
        if message.sequence <= self.place {
            return Ok(None);
        }
        (self.place, self.since) = (message.sequence, None);
        Ok(Some(Next::Message(Box::new(message))))
    }

    /// Asks for more, unless what is behind the reader's place is not all there any more.
    async fn ask(&mut self, patience: Duration) -> Result<Option<Next>, Error> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Read { stream: self.stream.to_owned(), source };
        let state = topology::stream_info(&self.broker, self.stream).await?.state;
        if self.since.is_none() && state.first_sequence > self.place.saturating_add(1) {
            return Ok(Some(Next::Expired { first: state.first_sequence }));
        }
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => {
                self.given = 0;
                self.open().await?
            }
        };
        let (changes, until) = (self.broker.changes(), Instant::now() + patience + LATE);
        let asked = consumer.batch().max_messages(BATCH).max_bytes(BATCH_BYTES).expires(patience).messages().await;
        let messages = asked.map_err(|error| failed(Box::new(error)))?;
        self.consumer = Some(consumer);
        self.pull = Some(Pull { messages, changes, got: 0, until, asked_at: state.last_sequence });
        Ok(None)
    }

    /// Takes the consumer off the server, which would keep it for minutes more: a stream has only so many.
    fn leave(&mut self) {
        self.pull = None;
        let (Some(consumer), Ok(runtime)) = (self.consumer.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let what = format!("CONSUMER.DELETE.{}.{}", self.stream, consumer.cached_info().name);
        let broker = self.broker.clone();
        runtime.spawn(async move {
            if let Err(error) = broker.api::<serde_json::Value>(&what, &serde_json::Map::new()).await {
                debug!(error = &error as &dyn std::error::Error, "follower.delete");
            }
        });
    }

    async fn open(&self) -> Result<PullConsumer, Error> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Read { stream: self.stream.to_owned(), source };
        let stream =
            self.broker.jetstream().get_stream_no_info(self.stream).await.map_err(|error| failed(Box::new(error)))?;
        let mut config = pull::Config {
            name: Some(consumer_name("follower")),
            description: Some("gangway follower".to_owned()),
            deliver_policy: policy(self.since.map_or(Start::Sequence(self.place + 1), Start::Since)),
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        match self.filters.as_slice() {
            [only] => config.filter_subject.clone_from(only),
            several => config.filter_subjects = several.to_vec(),
        }
        stream.create_consumer(config).await.map_err(|error| failed(Box::new(error)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.leave();
    }
}
