//! A light pull, for thousands of consumers in a process: one subscription each, few and long requests, no
//! heartbeats. How much is handed out is the consumer's own `max_ack_pending`.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    requests::{Answer, Ask, Requests},
};

/// How long a request waits at the server, in seconds: between the two, so that those of many consumers spread.
const EXPIRES: std::ops::Range<u64> = 24..36;
/// A request that the server has not ended this long after its time is lost.
const GRACE: Duration = Duration::from_secs(5);
/// At the end: how long the broker may be silent before nothing more is on its way.
const LAST: Duration = Duration::from_millis(200);

/// Reads a durable consumer's messages.
#[derive(Debug)]
pub struct Pull {
    requests: Requests,
}

impl Pull {
    /// Listens; nothing is asked for yet.
    pub async fn open(broker: &Broker, stream: &str, consumer: &str) -> Result<Self, Error> {
        Ok(Self { requests: Requests::open(broker, stream, consumer).await? })
    }

    /// The next message; asks for up to `room` at a time. May be dropped while it waits. An error ends the pull: the
    /// connection or the consumer is gone, or another server leads it.
    pub async fn next(&mut self, room: usize) -> Result<Message, Error> {
        loop {
            let wanted = self.requests.wanted();
            if Instant::now() >= self.requests.over() {
                self.ask(room).await?;
            } else if wanted <= room / 2 {
                self.ask(room.saturating_sub(wanted)).await?;
            }
            if let Answer::Message(message, _) = self.requests.next(self.requests.over()).await? {
                return Ok(*message);
            }
        }
    }

    /// Gives what the broker has already sent and nobody took: to be given back, or the broker keeps it for its
    /// `ack_wait`.
    pub async fn close(mut self) -> Vec<Message> {
        let mut left = Vec::new();
        while self.requests.wanted() > 0 {
            match self.requests.next(Instant::now() + LAST).await {
                Ok(Answer::Message(message, _)) => left.push(*message),
                Ok(Answer::Over | Answer::Full | Answer::Alive(_)) => {}
                Ok(Answer::Silence) | Err(_) => break,
            }
        }
        left
    }

    async fn ask(&mut self, batch: usize) -> Result<(), Error> {
        let expires = Duration::from_secs(rand::random_range(EXPIRES));
        self.requests.ask(Ask { batch, max_bytes: None, expires, grace: GRACE, heartbeat: None }).await
    }
}
