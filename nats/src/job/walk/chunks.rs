//! The rest of a replay's range, a chunk at a time.

use std::time::Duration;

use schemas::replay::Replay;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Source, What};
use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    read::{self, Reader, Start},
};

/// How long the next message may take; then it is looked whether there is one.
const SILENCE: Duration = Duration::from_secs(5);

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

/// Chunks that are read while those before them are dealt with. Dropped, no more are read.
pub(super) struct ReadAhead {
    stream: &'static str,
    chunks: mpsc::Receiver<Result<Chunk, Error>>,
    _reading: JoinSet<()>,
}

impl ReadAhead {
    /// The next chunk; an empty one and an error are the last.
    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
        let chunk = self.chunks.recv().await;
        chunk.unwrap_or_else(|| Err(Error::reading(self.stream, "nobody reads on behind the last chunk")))
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
        let mut chunks = Self { broker, source, size, next, to, reader: None };
        chunks.reopen().await?;
        Ok(chunks)
    }

    /// Reads on a task of its own, one chunk ahead of what is asked for.
    pub(super) fn ahead(mut self) -> ReadAhead {
        let (stream, (sender, chunks)) = (self.source.stream, mpsc::channel(1));
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            loop {
                let chunk = self.next().await;
                let more = chunk.as_ref().is_ok_and(|chunk| !chunk.messages.is_empty());
                if sender.send(chunk).await.is_err() || !more {
                    return;
                }
            }
        });
        ReadAhead { stream, chunks, _reading: reading }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        self.reader = None;
        if self.next > self.to {
            return Ok(());
        }
        if let What::Matching { filters, headers_only } = &self.source.what {
            let start = Start::Sequence(self.next);
            let reader = Reader::open(&self.broker, self.source.stream, filters, start, *headers_only).await?;
            self.reader = (reader.waiting() > 0).then_some(reader);
        }
        Ok(())
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
            let Some(message) = reader.next_within(SILENCE).await? else {
                // What waited may have gone meanwhile.
                self.reopen().await?;
                continue;
            };
            self.next = message.sequence.min(self.to) + 1;
            if message.sequence > self.to {
                self.reader = None;
                break;
            }
            if message.pending == 0 || self.next > self.to {
                self.reader = None;
            }
            bytes += message.payload.len();
            messages.push(message);
        }
        Ok(messages)
    }
}
