//! The rest of a replay's range, a chunk at a time.

use std::panic::resume_unwind;

use schemas::replay::Replay;
use tokio_util::task::AbortOnDropHandle;

use super::{PATIENCE, Source, What};
use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    read::{self, Reader, Start},
};

/// Bytes of bodies beyond which a chunk takes no more.
const MAX_BYTES: usize = 16 << 20;

/// Messages that are dealt with together. None at the end.
pub(super) struct Chunk {
    pub(super) messages: Vec<Message>,
    /// The sequence behind the last of them.
    pub(super) end: u64,
    /// Whether this is not the end: the leader holds more, and the replica that was read lags.
    pub(super) lags: bool,
}

/// A chunk that is read while the one before it is dealt with. Dropped, it is not read on.
pub(super) struct ReadAhead {
    stream: &'static str,
    reading: AbortOnDropHandle<(Chunks, Result<Chunk, Error>)>,
}

impl ReadAhead {
    /// The chunk, and those behind it.
    pub(super) async fn finish(self) -> Result<(Chunks, Chunk), Error> {
        let (chunks, chunk) = self.reading.await.map_err(|ended| match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(ended) => Error::reading(self.stream, ended),
        })?;
        Ok((chunks, chunk?))
    }
}

/// What is left to read.
pub(super) struct Chunks {
    broker: Broker,
    source: Source,
    size: usize,
    next: u64,
    to: u64,
    /// None when nothing is left, or none is needed.
    reader: Option<Reader>,
}

impl Chunks {
    pub(super) async fn open(broker: &Broker, source: Source, replay: &Replay, size: usize) -> Result<Self, Error> {
        let (broker, next, to) = (broker.clone(), replay.next, replay.to);
        let reader = match &source.what {
            What::Matching { filters, headers_only } if next <= to => {
                Some(Reader::open(&broker, source.stream, filters, Start::Sequence(next), *headers_only).await?)
            }
            What::Matching { .. } | What::All => None,
        };
        Ok(Self { broker, source, size, next, to, reader })
    }

    /// Reads the next chunk on a task of its own.
    pub(super) fn read_ahead(mut self) -> ReadAhead {
        let stream = self.source.stream;
        let reading = tokio::spawn(async move {
            let chunk = self.next().await;
            (self, chunk)
        });
        ReadAhead { stream, reading: AbortOnDropHandle::new(reading) }
    }

    /// The next chunk, an empty one at the end.
    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
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
