//! An ordered reader of a stream. It outlives lost connections, restarts of the server and the loss of its consumer.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::{Ephemeral, Start, Wanted, look};
use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    requests::{Answer, Ask, Requests},
    topology,
};

/// After so long without a message it is looked whether one waits.
const SILENCE: Duration = Duration::from_millis(250);
/// Messages asked for at a time, their bytes at most, and for how long a request stands.
const BATCH: usize = 2_000;
const BATCH_BYTES: usize = 8 << 20;
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is there while it has nothing to send, and how long it may say nothing.
const HEARTBEAT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server keeps a consumer that nobody asks.
const UNUSED: Duration = Duration::from_secs(30);
/// Between two tries to make a consumer.
const AGAIN: Duration = Duration::from_millis(250);

/// An ordered reader: every message once, in order. What its connection or its consumer loses on the way it asks for
/// again, from behind the last message that it gave.
pub struct Reader {
    broker: Broker,
    wanted: Wanted,
    /// When the stream was made: another of its name has other messages at the same places.
    made: i64,
    source: Source,
    /// How many messages wait behind the last one given.
    waiting: u64,
    /// The last message given; before the first, the one before where it was to begin.
    last: u64,
}

enum Source {
    Open(Box<Opened>),
    /// The next consumer is made. Whoever waits for a message may stop waiting; this goes on.
    Opening(BoxFuture<'static, Result<Box<Opened>, Error>>),
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
        let made = topology::made(&topology::stream_info(broker, stream).await?);
        let opened = Opened::make(broker, &wanted, start).await?;
        let (waiting, last) = (opened.consumer.waiting, opened.consumer.floor);
        Ok(Self { broker: broker.clone(), wanted, made, source: Source::Open(Box::new(opened)), waiting, last })
    }

    /// How many messages wait: when the reader was opened, and then behind the last one that it gave.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The next message, however long it takes. May be dropped while it waits. An error is the last of the reader: the
    /// stream is another one now, or has lost what was read of it.
    pub async fn next(&mut self) -> Result<Message, Error> {
        loop {
            match &mut self.source {
                Source::Opening(opening) => {
                    let opened = opening.await;
                    // A future that has ended is not asked again.
                    self.source = match opened {
                        Ok(opened) => Source::Open(opened),
                        Err(error) => {
                            self.source = Source::Opening(self.again(true));
                            return Err(error);
                        }
                    }
                }
                Source::Open(opened) => match opened.next().await {
                    Ok(message) if message.sequence > self.last => {
                        (self.last, self.waiting) = (message.sequence, message.pending);
                        return Ok(message);
                    }
                    Ok(_given) => {}
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, stream = self.wanted.stream, "reader.lost");
                        let pause = opened.given == 0;
                        self.source = Source::Opening(self.again(pause));
                    }
                },
            }
        }
    }

    /// Makes the next consumer, however long it takes; at once unless the last one gave nothing.
    fn again(&self, pause: bool) -> BoxFuture<'static, Result<Box<Opened>, Error>> {
        let (broker, wanted, made, last) = (self.broker.clone(), self.wanted.clone(), self.made, self.last);
        let opening = async move {
            if pause {
                sleep(AGAIN).await;
            }
            let mut failing = false;
            loop {
                broker.connected().await;
                match reopen(&broker, &wanted, made, last).await {
                    Ok(Reopened::Open(opened)) => {
                        if failing {
                            info!(stream = wanted.stream, "reader.back");
                        }
                        return Ok(opened);
                    }
                    Ok(Reopened::Replaced(why)) => return Err(Error::reading(&wanted.stream, why)),
                    // Said once when it begins; a lost connection is said by itself.
                    Err(error) if !failing && broker.is_connected() => {
                        failing = true;
                        warn!(error = %schemas::cause::Chain(&error), stream = wanted.stream, "reader.lost: it is tried again");
                    }
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, stream = wanted.stream, "reader.again");
                    }
                }
                sleep(AGAIN).await;
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

    /// The next of the messages that wait; none when none does, or when what was left of them is gone. That one waits
    /// and does not come within this time is an error, not the end.
    pub async fn next_waiting(&mut self, patience: Duration) -> Result<Option<Message>, Error> {
        let deadline = Instant::now() + patience;
        while self.waiting > 0 {
            if let Some(message) = self.next_within(SILENCE).await? {
                return Ok(Some(message));
            }
            if self.ended().await {
                self.waiting = 0;
            } else if Instant::now() >= deadline {
                return Err(Error::reading(&self.wanted.stream, "a message waits and does not come"));
            }
        }
        Ok(None)
    }

    /// Whether nothing waits, and all that was sent has come.
    async fn ended(&mut self) -> bool {
        let Source::Open(opened) = &self.source else { return false };
        let info = topology::consumer_info(&self.broker, &self.wanted.stream, opened.consumer.name()).await;
        info.is_ok_and(|info| info.num_pending == 0 && info.delivered.consumer_sequence <= opened.given)
    }
}

/// What a stream was found to be.
enum Reopened {
    Open(Box<Opened>),
    /// Not the one that was read.
    Replaced(&'static str),
}

/// Opens a stream behind the last message that was read of it.
async fn reopen(broker: &Broker, wanted: &Wanted, made: i64, last: u64) -> Result<Reopened, Error> {
    let info = look(broker, &wanted.stream, last).await?;
    if topology::made(&info) != made {
        return Ok(Reopened::Replaced("it is another stream of this name now"));
    }
    if info.state.last_sequence < last {
        return Ok(Reopened::Replaced("it has lost messages that were read"));
    }
    Opened::make(broker, wanted, Start::Sequence(last + 1)).await.map(Box::new).map(Reopened::Open)
}

/// A consumer of the reader's own, and what it sends.
struct Opened {
    consumer: Ephemeral,
    requests: Requests,
    /// When the server was last heard, or asked.
    heard: Instant,
    /// How many messages it gave.
    given: u64,
}

impl Opened {
    async fn make(broker: &Broker, wanted: &Wanted, start: Start) -> Result<Self, Error> {
        let consumer = Ephemeral::create(broker, "reader", wanted, start, UNUSED).await?;
        let requests = Requests::open(broker, &wanted.stream, consumer.name()).await?;
        Ok(Self { consumer, requests, heard: Instant::now(), given: 0 })
    }

    /// The next message. An error where one is missing before it, or none can be had any more.
    async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if self.requests.wanted() == 0 {
                let (max_bytes, heartbeat) = (Some(BATCH_BYTES), Some(HEARTBEAT));
                let ask = Ask { batch: BATCH, max_bytes, expires: EXPIRES, grace: PATIENCE, heartbeat };
                self.requests.ask(ask).await?;
                self.heard = Instant::now();
            }
            let answer = self.requests.next(self.heard + PATIENCE).await?;
            self.heard = Instant::now();
            match answer {
                Answer::Message(message, _) if message.order == self.given + 1 => {
                    self.given = message.order;
                    return Ok(*message);
                }
                Answer::Alive(sent) if sent <= self.given => {}
                Answer::Message(..) | Answer::Alive(_) => return Err(self.requests.failed("a message is missing")),
                Answer::Over | Answer::Full => {}
                Answer::Silence => return Err(self.requests.failed("the server is silent")),
            }
        }
    }
}
