//! Following a stream at the pace of who reads: a few messages are asked for at a time, and only when they are wanted.

use std::time::Duration;

use tracing::debug;

use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    read::{self, Ephemeral, Start, Wanted},
    requests::{Answer, Ask, Requests},
    topology,
};

/// Messages asked for at once, and their bytes at most.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 2 << 20;
/// The broker forgets a follower that asks for nothing for so long; it is made anew where it stood.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// A request that the broker has not ended this long after its time is lost.
const GRACE: Duration = Duration::from_secs(3);
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
    /// The reader's place is not one of this stream: it is another one of its name now, or it lost its end in a crash.
    Unknown {
        /// The last sequence of the stream.
        last: u64,
    },
}

/// A place in a stream, and what follows it.
#[derive(Debug)]
pub struct Follower {
    broker: Broker,
    wanted: Wanted,
    /// When the stream was made, once it was asked.
    made: Option<i64>,
    /// Everything up to here was read or looked at.
    place: u64,
    opened: Option<Opened>,
}

/// A consumer of the follower's own.
#[derive(Debug)]
struct Opened {
    _consumer: Ephemeral,
    requests: Requests,
    /// How many messages it handed out.
    given: u64,
    asked: Option<Asked>,
}

/// A request that stands. It is read to its end: what the broker sent to nobody would be missed.
#[derive(Debug)]
struct Asked {
    /// How many messages it gave.
    got: usize,
    /// The last sequence of the stream when it was made.
    last: u64,
    /// Whether the stream has replicas. The consumer is at one of them, which may lag.
    replicated: bool,
}

impl Follower {
    /// Follows a stream's messages that match one of the filters, beginning behind a sequence.
    #[must_use]
    pub fn after(broker: &Broker, stream: &str, filters: Vec<String>, place: u64) -> Self {
        let wanted = Wanted { stream: stream.to_owned(), filters, headers_only: false };
        Self { broker: broker.clone(), wanted, made: None, place, opened: None }
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
                    debug!(%error, stream = self.wanted.stream, "follower.again");
                    tries += 1;
                    self.opened = None;
                    tokio::time::sleep(AGAIN).await;
                    self.broker.connected().await;
                }
            }
        }
    }

    async fn step(&mut self, patience: Duration) -> Result<Option<Next>, Error> {
        let Some(Opened { requests, given, asked, .. }) = &mut self.opened else { return self.ask(patience).await };
        let Some(request) = asked else { return self.ask(patience).await };
        let answer = requests.next(requests.over()).await?;
        let over = requests.wanted() == 0;
        match answer {
            Answer::Message(message, _) => {
                if message.order != *given + 1 {
                    return Err(requests.failed("a message is missing"));
                }
                (*given, request.got) = (message.order, request.got + 1);
                if over {
                    *asked = None;
                }
                self.place = self.place.max(message.sequence);
                Ok(Some(Next::Message(message)))
            }
            Answer::Over if over && request.got == 0 => match asked.take() {
                Some(asked) => self.quiet(asked).await,
                None => Ok(None),
            },
            Answer::Over | Answer::Full | Answer::Alive(_) => {
                if over {
                    *asked = None;
                }
                Ok(None)
            }
            Answer::Silence => Err(requests.failed("the server does not end the request")),
        }
    }

    /// Nothing came, though it may be that nothing came to this replica yet.
    async fn quiet(&mut self, asked: Asked) -> Result<Option<Next>, Error> {
        let Wanted { stream, filters, .. } = &self.wanted;
        if asked.replicated && read::holds(&self.broker, stream, filters, self.place + 1..=asked.last).await? {
            return Ok(None);
        }
        self.place = self.place.max(asked.last);
        Ok(Some(Next::Quiet { sequence: self.place }))
    }

    /// Asks for more, unless what is behind the reader's place is not all there any more.
    async fn ask(&mut self, patience: Duration) -> Result<Option<Next>, Error> {
        let info = read::look(&self.broker, &self.wanted.stream, self.place).await?;
        let (made, state) = (topology::made(&info), info.state);
        if *self.made.get_or_insert(made) != made || state.last_sequence < self.place {
            return Ok(Some(Next::Unknown { last: state.last_sequence }));
        }
        if state.first_sequence > self.place.saturating_add(1) {
            return Ok(Some(Next::Expired { first: state.first_sequence }));
        }
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => {
                let start = Start::Sequence(self.place + 1);
                let consumer = Ephemeral::create(&self.broker, "follower", &self.wanted, start, FORGOTTEN).await?;
                let requests = Requests::open(&self.broker, &self.wanted.stream, consumer.name()).await?;
                self.opened.insert(Opened { _consumer: consumer, requests, given: 0, asked: None })
            }
        };
        let (max_bytes, expires) = (Some(BATCH_BYTES), patience);
        opened.requests.ask(Ask { batch: BATCH, max_bytes, expires, grace: GRACE, heartbeat: None }).await?;
        let replicated = info.config.num_replicas > 1;
        opened.asked = Some(Asked { got: 0, last: state.last_sequence, replicated });
        Ok(None)
    }
}
