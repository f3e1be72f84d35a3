//! Requests for a consumer's messages, and what the server says of them.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures_util::StreamExt;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{connect::Broker, error::Error, message::Message};

/// Why the server may end a request before its time, as it says so (`consumer.go` of nats-server 2.15).
const TOO_LARGE: &str = "Message Size Exceeds MaxBytes";
const FULL: &str = "Batch Completed";

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Messages at most.
    pub(crate) batch: usize,
    /// Bytes at most; a message that is larger is asked for alone. None for no limit. With a limit one request stands at
    /// a time: the server says nothing where the bytes are used up to the last one.
    pub(crate) max_bytes: Option<usize>,
    /// How long the server waits for messages.
    pub(crate) expires: Duration,
    /// How late the server's word of its end may be.
    pub(crate) grace: Duration,
    /// How often the server says that it is there, while it has nothing to send. None for never.
    pub(crate) heartbeat: Option<Duration>,
}

/// What comes.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A message, and its bytes with subject and headers.
    Message(Box<Message>, usize),
    /// The time of a request is over.
    Over,
    /// A request is full.
    Full,
    /// The server is there, and has sent so many messages of the consumer.
    Alive(u64),
    /// Nothing until the time that was given.
    Silence,
}

/// The requests to one consumer, over one connection: what a connection lost on its way nobody sends again.
#[derive(Debug)]
pub(crate) struct Requests {
    broker: Broker,
    stream: String,
    consumer: String,
    answers: Subscriber,
    inbox: String,
    /// Requests so far. Each is answered at a subject of its own: by it the server tells them apart.
    asked: u64,
    /// Of the connection, since these were opened.
    changes: watch::Receiver<bool>,
    wanted: usize,
    /// What is left of the bytes of a request that has a limit.
    bytes: Option<usize>,
    over: Instant,
    /// Whether the last request gave something.
    fruitful: bool,
    /// Whether the next message is larger than a request.
    large: bool,
}

impl Requests {
    /// Listens; nothing is asked for yet.
    pub(crate) async fn open(broker: &Broker, stream: &str, consumer: &str) -> Result<Self, Error> {
        // From here on: what is lost while it is opened is seen.
        let changes = broker.changes();
        let inbox = broker.client.new_inbox();
        let answers =
            broker.client.subscribe(format!("{inbox}.*")).await.map_err(|error| Error::reading(stream, error))?;
        Ok(Self {
            broker: broker.clone(),
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            answers,
            inbox,
            asked: 0,
            changes,
            wanted: 0,
            bytes: None,
            over: Instant::now(),
            fruitful: true,
            large: false,
        })
    }

    /// Messages that were asked for and may come still.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// When the last request is over at the latest.
    pub(crate) fn over(&self) -> Instant {
        self.over
    }

    /// Asks. May be dropped while it waits: it has asked then, or it has not.
    pub(crate) async fn ask(&mut self, ask: Ask) -> Result<(), Error> {
        if self.changes.has_changed().unwrap_or(true) {
            return Err(self.failed("the connection was lost"));
        }
        let now = Instant::now();
        if now >= self.over {
            self.wanted = 0;
        }
        let (batch, max_bytes) = if self.large { (1, None) } else { (ask.batch.max(1), ask.max_bytes) };
        let request = json!({
            "batch": batch,
            "max_bytes": max_bytes.unwrap_or_default(),
            "expires": nanos(ask.expires),
            "idle_heartbeat": nanos(ask.heartbeat.unwrap_or_default()),
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let reply = format!("{}.{}", self.inbox, self.asked);
        self.asked += 1;
        let sent = self.broker.client.publish_with_reply(subject, reply, request.to_string().into());
        sent.await.map_err(|error| Error::reading(&self.stream, error))?;
        (self.fruitful, self.large, self.bytes) = (false, false, max_bytes);
        self.wanted += batch;
        self.over = self.over.max(now + ask.expires + ask.grace);
        Ok(())
    }

    /// What comes next, until a time. May be dropped while it waits. An error is the last of it: the connection was
    /// lost, the consumer is gone, or another server leads it.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Answer, Error> {
        let answer = tokio::select! {
            // What has come is given before a lost connection counts: its sender does not send it soon again.
            biased;
            answer = self.answers.next() => answer,
            _ = self.changes.changed() => return Err(self.failed("the connection was lost")),
            () = sleep_until(until) => return Ok(Answer::Silence),
        };
        let Some(answer) = answer else { return Err(self.failed("the connection is closed")) };
        let Some(status) = answer.status else {
            (self.wanted, self.fruitful) = (self.wanted.saturating_sub(1), true);
            let bytes = answer.length;
            if self.bytes == Some(bytes) {
                self.wanted = 0;
            }
            self.bytes = self.bytes.map(|left| left.saturating_sub(bytes));
            return match Message::consumed(answer) {
                Some(message) => Ok(Answer::Message(Box::new(message), bytes)),
                None => Err(self.failed("a message does not say where it stands")),
            };
        };
        let words = answer.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => Ok(Answer::Alive(number(&answer, "Nats-Last-Consumer").unwrap_or(0))),
            StatusCode::TIMEOUT => self.end(&answer).map(|()| Answer::Over),
            StatusCode::REQUEST_TERMINATED if words == TOO_LARGE => {
                self.large = !self.fruitful;
                self.end(&answer).map(|()| Answer::Full)
            }
            StatusCode::REQUEST_TERMINATED if words == FULL => self.end(&answer).map(|()| Answer::Full),
            _ => Err(self.failed(&format!("the server ended the request: {status} {words}"))),
        }
    }

    /// A request is over; the server says how much of it was left.
    fn end(&mut self, answer: &async_nats::Message) -> Result<(), Error> {
        // It may be of a request whose messages went with the connection.
        if self.changes.has_changed().unwrap_or(true) {
            return Err(self.failed("the connection was lost"));
        }
        let left = number(answer, "Nats-Pending-Messages").and_then(|left| usize::try_from(left).ok());
        self.wanted = self.wanted.saturating_sub(left.unwrap_or(self.wanted));
        Ok(())
    }

    /// An error of these requests.
    pub(crate) fn failed(&self, why: &str) -> Error {
        Error::reading(&self.stream, format!("{}: {why}", self.consumer))
    }
}

/// A number that the server says.
fn number(answer: &async_nats::Message, name: &str) -> Option<u64> {
    answer.headers.as_ref()?.get(name)?.as_str().parse().ok()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
