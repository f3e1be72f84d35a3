//! The rest of a replay's range, a chunk at a time.

use std::panic::resume_unwind;

use schemas::replay::Replay;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{PATIENCE, Source, What};
use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    read::{self, Reader, Start},
};

/// Bytes of bodies beyond which a chunk takes no more.
const MAX_BYTES: usize = 4 << 20;

/// Chunks that are read ahead: a pause of the broker's does not reach whoever deals with them.
const AHEAD: usize = 8;

/// Messages that are dealt with together. None at the end.
pub(super) struct Chunk {
    pub(super) messages: Vec<Message>,
    /// The sequence behind the last of them.
    pub(super) end: u64,
    /// Whether this is not the end: the leader holds more, and the replica that was read lags.
    pub(super) lags: bool,
}

/// The rest of a range, chunk after chunk.
pub(super) enum Chunks {
    /// Each is read when it is asked for.
    Asked(Box<Rest>),
    /// They are read on a task of their own, a few ahead. Dropped, no more are read.
    Ahead { stream: &'static str, chunks: mpsc::Receiver<Result<Chunk, Error>>, reading: AbortOnDropHandle<()> },
}

impl Chunks {
    pub(super) async fn open(broker: &Broker, source: Source, replay: &Replay, size: usize) -> Result<Self, Error> {
        Rest::open(broker, source, replay, size).await.map(|rest| Self::Asked(Box::new(rest)))
    }

    /// From now on chunks are read ahead.
    pub(super) fn read_ahead(self) -> Self {
        let Self::Asked(mut rest) = self else { return self };
        let (stream, (sender, chunks)) = (rest.source.stream, mpsc::channel(AHEAD));
        let reading = tokio::spawn(async move {
            loop {
                let chunk = rest.next().await;
                let more = chunk.as_ref().is_ok_and(|chunk| !chunk.messages.is_empty());
                if sender.send(chunk).await.is_err() || !more {
                    return;
                }
            }
        });
        Self::Ahead { stream, chunks, reading: AbortOnDropHandle::new(reading) }
    }

    /// The next chunk, an empty one at the end; nothing comes behind that or an error.
    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
        match self {
            Self::Asked(rest) => rest.next().await,
            Self::Ahead { stream, chunks, reading } => match chunks.recv().await {
                Some(chunk) => chunk,
                None => match reading.await {
                    Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
                    _ended => Err(Error::reading(*stream, "nothing is left to read")),
                },
            },
        }
    }
}

/// What is left to read.
pub(super) struct Rest {
    broker: Broker,
    source: Source,
    size: usize,
    next: u64,
    to: u64,
    /// None when nothing is left, or none is needed.
    reader: Option<Reader>,
}

impl Rest {
    async fn open(broker: &Broker, source: Source, replay: &Replay, size: usize) -> Result<Self, Error> {
        let (broker, next, to) = (broker.clone(), replay.next, replay.to);
        let reader = match &source.what {
            What::Matching { filters, headers_only } if next <= to => {
                Some(Reader::open(&broker, source.stream, filters, Start::Sequence(next), *headers_only).await?)
            }
            What::Matching { .. } | What::All => None,
        };
        Ok(Self { broker, source, size, next, to, reader })
    }

    async fn next(&mut self) -> Result<Chunk, Error> {
        let (messages, filters) = match self.source.what.clone() {
            What::All => (self.batch().await?, Vec::new()),
            What::Matching { filters, .. } => (self.read().await?, filters),
        };
        let range = self.next..=self.to;
        let lags = messages.is_empty() && read::holds(&self.broker, self.source.stream, &filters, range).await?;
        if messages.is_empty() && !lags {
            self.next = self.to + 1;
        }
        Ok(Chunk { messages, end: self.next, lags })
    }

    async fn batch(&mut self) -> Result<Vec<Message>, Error> {
        if self.next > self.to {
            return Ok(Vec::new());
        }
        let mut messages = read::batch_of(&self.broker, self.source.stream, ">", self.next, self.size).await?;
        messages.retain(|message| message.sequence <= self.to);
        self.next = messages.last().map_or(self.next, |last| last.sequence + 1);
        Ok(messages)
    }

    async fn read(&mut self) -> Result<Vec<Message>, Error> {
        let mut messages = Vec::with_capacity(self.size);
        let mut bytes = 0;
        while let Some(reader) = self.reader.as_mut().filter(|_| messages.len() < self.size && bytes < MAX_BYTES) {
            let message = reader.next_waiting(PATIENCE).await?;
            self.next = message.as_ref().map_or(self.next, |message| message.sequence.min(self.to) + 1);
            let Some(message) = message.filter(|message| message.sequence <= self.to) else {
                self.reader = None;
                break;
            };
            bytes += message.payload.len();
            messages.push(message);
        }
        Ok(messages)
    }
}
