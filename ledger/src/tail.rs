//! Reads each stream in order from where the ledger stands, whatever happens to the broker or the stream.

use std::time::Duration;

use nats::{Broker, Message, Reader, Start, topology};
use schemas::cause::Chain;
use tokio::{
    sync::mpsc::{Sender, error::SendError},
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use crate::{metrics::Metrics, position::Position, source::Source};

/// How often a stream is asked what it is: another of its name begins anew.
const LOOK: Duration = Duration::from_secs(2);
/// Messages that are read again when a stream is opened. A broker that dies may have handed out what it had not written
/// yet: that is gone, and its place another message's. An atomic batch has at most so many.
const BACK: i64 = 1_000;
/// Pause before a stream is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a stream told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) source: Source,
    /// Where it stands now.
    pub(crate) position: Position,
    /// None where there was nothing to read, and the place moved all the same.
    pub(crate) message: Option<Message>,
    /// Whether a message at this place was read before.
    pub(crate) again: bool,
}

/// One stream, read into a channel that its writer empties.
pub(crate) struct Tail {
    pub(crate) broker: Broker,
    pub(crate) source: Source,
    /// How far it is read. What is read again when it is opened is not read yet: rows of it may be of messages that are
    /// gone.
    pub(crate) position: Position,
    /// How far it was read before it was opened.
    pub(crate) read: i64,
    /// Up to where rows may be of messages that are gone.
    pub(crate) known: i64,
    /// The last message that was read.
    pub(crate) place: i64,
    pub(crate) told: Sender<Told>,
    pub(crate) metrics: Metrics,
}

/// Why reading ended.
enum End {
    /// Nobody listens any more.
    Unheard,
    /// The stream is to be opened again.
    Reopen,
}

impl From<SendError<Told>> for End {
    fn from(_: SendError<Told>) -> Self {
        Self::Unheard
    }
}

impl Tail {
    /// Reads until nobody listens.
    pub(crate) async fn run(mut self) {
        let mut complained = false;
        loop {
            self.broker.connected().await;
            match self.open().await {
                Ok(None) => return,
                Ok(Some(mut reader)) => {
                    complained = false;
                    if let Err(End::Unheard) = self.read(&mut reader).await {
                        return;
                    }
                }
                Err(error) if !complained => {
                    complained = true;
                    warn!(stream = self.source.stream(), error = %Chain(&error), "ledger.read: it is tried again");
                }
                Err(_known) => {}
            }
            if self.told.is_closed() {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Opens the stream at the next message; none where nobody listens.
    async fn open(&mut self) -> Result<Option<Reader>, nats::Error> {
        let stream = self.source.stream();
        let info = topology::stream_info(&self.broker, stream).await?;
        let (made, state) = (topology::made(&info), info.state);
        let (first, last) = (number(state.first_sequence), number(state.last_sequence));
        if self.position.made != made {
            if self.position.made != 0 {
                info!(stream, "ledger.read: the stream is another one; it is read from its first message");
            }
            self.position = Position { made, sequence: 0, missed: self.position.missed };
            (self.read, self.known) = (0, 0);
        }
        self.known = self.known.max(self.read);
        let gap = first - self.read - 1;
        if self.read > 0 && gap > 0 {
            warn!(stream, messages = gap, "ledger.missed: the stream gave up messages that were not read");
            self.position.missed += gap;
        }
        self.read = self.read.min(last).max(first - 1);
        self.place = (self.read - BACK).max(first - 1).max(0);
        self.position.sequence = self.place;
        if self.tell(None).await.is_err() {
            return Ok(None);
        }
        let start = Start::Sequence(u64::try_from(self.place + 1).unwrap_or(1));
        Reader::open(&self.broker, stream, &[">".to_owned()], start, self.source.headers_only()).await.map(Some)
    }

    /// Reads until the stream has to be opened again.
    async fn read(&mut self, reader: &mut Reader) -> Result<(), End> {
        let mut look = Instant::now() + LOOK;
        let mut idle = true;
        let mut changes = self.broker.changes();
        loop {
            let message = tokio::select! {
                biased;
                // A broker that died may have forgotten what it handed out: some of it is read again.
                _ = changes.changed() => return Err(End::Reopen),
                message = timeout_at(look, reader.next()) => message,
            };
            match message {
                Ok(Ok(message)) => {
                    idle = false;
                    self.place = number(message.sequence);
                    self.tell(Some(message)).await?;
                }
                Ok(Err(_replaced)) => return Err(End::Reopen),
                Err(_elapsed) => {}
            }
            if Instant::now() >= look {
                self.look(idle).await?;
                (look, idle) = (Instant::now() + LOOK, true);
            }
        }
    }

    /// Whether the stream is still the same, how far behind the ledger is, and whether what is left was deleted.
    async fn look(&mut self, idle: bool) -> Result<(), End> {
        let stream = self.source.stream();
        let info = topology::stream_info(&self.broker, stream).await.map_err(|_| End::Reopen)?;
        if topology::made(&info) != self.position.made {
            return Err(End::Reopen);
        }
        let last = number(info.state.last_sequence);
        self.metrics.last(self.source, last);
        if idle && last > self.place {
            let next = u64::try_from(self.place + 1).unwrap_or(1);
            let held = nats::holds(&self.broker, stream, &[], next..=info.state.last_sequence).await;
            if held.map_err(|_| End::Reopen)? {
                // The reader sleeps.
                return Err(End::Reopen);
            }
            self.place = last;
            self.tell(None).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, message: Option<Message>) -> Result<(), SendError<Told>> {
        let again = self.place <= self.known;
        self.position.sequence = self.place;
        self.read = self.read.max(self.place);
        self.told.send(Told { source: self.source, position: self.position, message, again }).await
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
