//! An ordered reader of a stream. It outlives lost connections, restarts of the server and the loss of its consumer.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::debug;

use super::{Start, consumer_name, policy};
use crate::{connect::Broker, error::Error, message::Message, topology};

/// After so long without a message it is looked whether one waits.
const SILENCE: Duration = Duration::from_millis(250);
/// Messages asked for at a time, and for how long a request stands.
const BATCH: usize = 500;
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is there while it has nothing to send; twice this without a word is too long.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the server keeps a consumer that nobody asks.
const UNUSED: Duration = Duration::from_secs(30);
/// Between two tries to make a consumer.
const AGAIN: Duration = Duration::from_millis(250);

/// An ordered reader: every message once, in order. What its connection or its consumer loses on the way it asks for
/// again, from behind the last message that it gave.
pub struct Reader {
    broker: Broker,
    wanted: Wanted,
    source: Source,
    waiting: u64,
    /// The last message given; before the first, the one before where it was to begin.
    last: u64,
}

/// What is read.
#[derive(Clone, Debug)]
struct Wanted {
    stream: String,
    filters: Vec<String>,
    headers_only: bool,
}

enum Source {
    Open(Box<Opened>),
    /// The next consumer is made. Whoever waits for a message may stop waiting; this goes on.
    Opening(BoxFuture<'static, Opened>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("stream", &self.wanted.stream).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a reader of a stream's messages that match one of the filters; without filters, of all.
    pub async fn open(
        broker: &Broker,
        stream: &str,
        filters: &[String],
        start: Start,
        headers_only: bool,
    ) -> Result<Self, Error> {
        let wanted = Wanted { stream: stream.to_owned(), filters: filters.to_vec(), headers_only };
        let opened = Opened::make(broker, &wanted, start).await?;
        let (waiting, last) = (opened.waiting, opened.floor);
        Ok(Self { broker: broker.clone(), wanted, source: Source::Open(Box::new(opened)), waiting, last })
    }

    /// How many messages waited when the reader was opened.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The next message, however long it takes. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Message, Error> {
        loop {
            match &mut self.source {
                Source::Opening(opening) => self.source = Source::Open(Box::new(opening.await)),
                Source::Open(opened) => match opened.next().await {
                    Some(message) if message.sequence > self.last => {
                        self.last = message.sequence;
                        return Ok(message);
                    }
                    Some(_given) => {}
                    None => {
                        let pause = opened.given == 0;
                        self.source = Source::Opening(self.again(pause));
                    }
                },
            }
        }
    }

    /// Makes the next consumer, however long it takes; at once unless the last one gave nothing.
    fn again(&self, pause: bool) -> BoxFuture<'static, Opened> {
        let (broker, wanted, start) = (self.broker.clone(), self.wanted.clone(), Start::Sequence(self.last + 1));
        let opening = async move {
            if pause {
                sleep(AGAIN).await;
            }
            loop {
                broker.connected().await;
                match Opened::make(&broker, &wanted, start).await {
                    Ok(opened) => return opened,
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, stream = wanted.stream, "reader.again");
                        sleep(AGAIN).await;
                    }
                }
            }
        };
        opening.boxed()
    }

    /// The next message, if it comes within this time.
    pub async fn next_within(&mut self, patience: Duration) -> Result<Option<Message>, Error> {
        match timeout(patience, self.next()).await {
            Ok(message) => message.map(Some),
            Err(_elapsed) => Ok(None),
        }
    }

    /// The next of the messages that waited when the reader was opened; none when what was left of them is gone. That
    /// one waits and does not come within this time is an error, not the end.
    pub async fn next_waiting(&mut self, patience: Duration) -> Result<Option<Message>, Error> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(message) = self.next_within(SILENCE).await? {
                return Ok(Some(message));
            }
            if self.ended().await {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Err(Error::reading(&self.wanted.stream, "a message waits and does not come"));
            }
        }
    }

    /// Whether nothing waits, and all that was sent has come.
    async fn ended(&mut self) -> bool {
        let Source::Open(opened) = &self.source else { return false };
        let info = topology::consumer_info(&self.broker, &self.wanted.stream, &opened.name).await;
        info.is_ok_and(|info| info.num_pending == 0 && info.delivered.consumer_sequence <= opened.given)
    }
}

/// A consumer of the reader's own.
struct Opened {
    broker: Broker,
    stream: String,
    name: String,
    messages: pull::Stream,
    changes: watch::Receiver<bool>,
    waiting: u64,
    /// The message before where it begins.
    floor: u64,
    /// How many messages it gave.
    given: u64,
}

impl Opened {
    async fn make(broker: &Broker, wanted: &Wanted, start: Start) -> Result<Self, Error> {
        let Wanted { stream, filters, headers_only } = wanted;
        // From here on: what is lost while it is made is seen.
        let changes = broker.changes();
        let handle =
            broker.jetstream().get_stream_no_info(stream).await.map_err(|error| Error::reading(stream, error))?;
        let mut config = pull::Config {
            name: Some(consumer_name("reader")),
            description: Some("gangway reader".to_owned()),
            deliver_policy: policy(start),
            ack_policy: AckPolicy::None,
            headers_only: *headers_only,
            inactive_threshold: UNUSED,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        match filters.as_slice() {
            [only] => config.filter_subject.clone_from(only),
            several => config.filter_subjects = several.to_vec(),
        }
        let consumer = handle.create_consumer(config).await.map_err(|error| Error::reading(stream, error))?;
        let info = consumer.cached_info();
        let (name, waiting, floor) = (info.name.clone(), info.num_pending, info.delivered.stream_sequence);
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| Error::reading(stream, error))?;
        let (broker, stream) = (broker.clone(), stream.clone());
        Ok(Self { broker, stream, name, messages, changes, waiting, floor, given: 0 })
    }

    /// The next message; none where one is missing before it, or none can be had any more.
    async fn next(&mut self) -> Option<Message> {
        let message = tokio::select! {
            // What has come already is given before a lost connection counts.
            biased;
            message = self.messages.next() => message?,
            _ = self.changes.changed() => return None,
        };
        let message = match message {
            Ok(message) => Message::consumed(message.message)?,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, stream = self.stream, "reader.lost");
                return None;
            }
        };
        (message.order == self.given + 1).then(|| {
            self.given = message.order;
            message
        })
    }
}

impl Drop for Opened {
    /// The server would keep the consumer for half a minute more, and a stream has only so many.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (broker, what) = (self.broker.clone(), format!("CONSUMER.DELETE.{}.{}", self.stream, self.name));
        runtime.spawn(async move {
            if let Err(error) = broker.api::<serde_json::Value>(&what, &serde_json::Map::new()).await {
                debug!(error = &error as &dyn std::error::Error, "reader.delete");
            }
        });
    }
}
