//! The rest of a replay's range, a chunk at a time.

use std::time::Duration;

use schemas::replay::Replay;

use super::{Source, What};
use crate::{
    connect::Broker,
    error::Error,
    message::Message,
    read::{self, Reader, Start},
    topology,
};

/// How long the next message may take; then it is looked whether there is one.
const SILENCE: Duration = Duration::from_secs(5);

/// Bytes of bodies beyond which a chunk takes no more.
const MAX_BYTES: usize = 16 << 20;

/// Messages that are dealt with together, and the sequence behind the last of them.
pub(super) struct Chunk {
    pub(super) messages: Vec<Message>,
    pub(super) end: u64,
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
        let mut chunks = Self { broker: broker.clone(), source, size, next: replay.next, to: replay.to, reader: None };
        chunks.reopen().await?;
        Ok(chunks)
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

    /// The next chunk; empty at the end.
    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
        let messages = match self.source.what {
            What::All => self.batch().await?,
            What::Matching { .. } => self.matching().await?,
        };
        Ok(Chunk { messages, end: self.next })
    }

    async fn batch(&mut self) -> Result<Vec<Message>, Error> {
        while self.next <= self.to {
            let mut messages = read::batch(&self.broker, self.source.stream, self.next, self.size).await?;
            messages.retain(|message| message.sequence <= self.to);
            if let Some(last) = messages.last() {
                self.next = last.sequence + 1;
                return Ok(messages);
            }
            // Nothing is left, or a replica does not have it yet: only the leader knows.
            let state = topology::stream_info(&self.broker, self.source.stream).await?.state;
            if state.messages > 0 && state.first_sequence > self.next {
                self.next = state.first_sequence;
                continue;
            }
            self.end(&[">".to_owned()]).await?;
        }
        Ok(Vec::new())
    }

    async fn matching(&mut self) -> Result<Vec<Message>, Error> {
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
        if let (true, What::Matching { filters, .. }) = (messages.is_empty(), &self.source.what) {
            self.end(&filters.clone()).await?;
        }
        Ok(messages)
    }

    /// The rest of the range holds nothing, if its leader says so too: what was read may be of a replica that lags.
    async fn end(&mut self, filters: &[String]) -> Result<(), Error> {
        let stream = self.source.stream;
        if read::holds(&self.broker, stream, filters, self.next..=self.to).await? {
            return Err(Error::reading(stream, "a replica lags"));
        }
        self.next = self.to + 1;
        Ok(())
    }
}
