//! A light pull, for thousands of consumers in a process: one subscription each, few and long requests, no
//! heartbeats. How much is handed out is the consumer's own `max_ack_pending`.

use std::time::Duration;

use async_nats::{Client, StatusCode, Subject, Subscriber};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{connect::Broker, error::Error, message::Message};

/// How long a request waits at the server, in seconds: between the two, so that those of many consumers spread.
const EXPIRES: std::ops::Range<u64> = 24..36;
/// A request that the server has not ended this long after its time is lost.
const GRACE: Duration = Duration::from_secs(5);
/// At the end: how long the broker may be silent before nothing more is on its way.
const LAST: Duration = Duration::from_millis(200);

/// Reads a durable consumer's messages.
#[derive(Debug)]
pub struct Pull {
    broker: Broker,
    stream: String,
    consumer: String,
    messages: Subscriber,
    inbox: Subject,
    /// Messages asked for and not yet received.
    wanted: usize,
    /// When the last request is over at the latest.
    over: Instant,
}

impl Pull {
    /// Listens; nothing is asked for yet.
    pub async fn open(broker: &Broker, stream: &str, consumer: &str) -> Result<Self, Error> {
        let inbox: Subject = broker.client.new_inbox().into();
        let messages = broker
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| Error::Read { stream: stream.to_owned(), source: Box::new(error) })?;
        Ok(Self {
            broker: broker.clone(),
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            messages,
            inbox,
            wanted: 0,
            over: Instant::now(),
        })
    }

    /// The next message; asks for up to `room` at a time. May be dropped while it waits. An error ends the pull: the
    /// connection or the consumer is gone, or another server leads it.
    pub async fn next(&mut self, room: usize) -> Result<Message, Error> {
        let broker = self.broker.clone();
        let mut lost = std::pin::pin!(broker.lost());
        loop {
            if self.wanted <= room / 2 || Instant::now() >= self.over {
                self.ask(room).await?;
            }
            let message = tokio::select! {
                biased;
                message = self.messages.next() => message.ok_or_else(|| self.failed("the connection is closed"))?,
                () = &mut lost => return Err(self.failed("the connection is down")),
                () = sleep_until(self.over) => continue,
            };
            if let Some(message) = self.take(message)? {
                return Ok(message);
            }
        }
    }

    /// Gives what the broker has already sent and nobody took: to be given back, or the broker keeps it for its
    /// `ack_wait`.
    pub async fn close(mut self) -> Vec<Message> {
        let mut left = Vec::new();
        while self.wanted > 0
            && let Ok(Some(message)) = timeout(LAST, self.messages.next()).await
        {
            match self.take(message) {
                Ok(message) => left.extend(message),
                Err(_ended) => break,
            }
        }
        left
    }

    async fn ask(&mut self, room: usize) -> Result<(), Error> {
        let now = Instant::now();
        if now >= self.over {
            self.wanted = 0;
        }
        let batch = room.saturating_sub(self.wanted).max(1);
        let expires = Duration::from_secs(rand::random_range(EXPIRES));
        let request = format!(r#"{{"batch":{batch},"expires":{}}}"#, expires.as_nanos());
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let client: &Client = &self.broker.client;
        client
            .publish_with_reply(subject, self.inbox.clone(), request.into())
            .await
            .map_err(|error| Error::Read { stream: self.stream.clone(), source: Box::new(error) })?;
        self.wanted += batch;
        self.over = now + expires + GRACE;
        Ok(())
    }

    /// A message, or what the server says of a request.
    fn take(&mut self, message: async_nats::Message) -> Result<Option<Message>, Error> {
        let Some(status) = message.status else {
            self.wanted = self.wanted.saturating_sub(1);
            return Ok(Message::consumed(message));
        };
        let header = |name: &str| message.headers.as_ref()?.get(name)?.as_str().parse::<usize>().ok();
        let words = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => {}
            // The request is over: its time has come, or its message is too large for it.
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => {
                let rest = header("Nats-Pending-Messages").unwrap_or(self.wanted);
                self.wanted = self.wanted.saturating_sub(rest);
            }
            _ => return Err(self.failed(&format!("the server ended the pull: {status} {words}"))),
        }
        Ok(None)
    }

    fn failed(&self, why: &str) -> Error {
        Error::Read { stream: self.stream.clone(), source: format!("{}: {why}", self.consumer).into() }
    }
}
