//! Consumers that are not kept: in the broker's memory, without acknowledgements, gone with whoever reads them.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info};
use serde_json::{Map, Value, json};
use tracing::debug;

use super::{Start, first_since};
use crate::{connect::Broker, error::Error, topology};

/// What is read of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) stream: String,
    /// Subjects; none for all.
    pub(crate) filters: Vec<String>,
    pub(crate) headers_only: bool,
}

/// A consumer, deleted with this. The server would delete it too, but late, and a stream has only so many.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    broker: Broker,
    stream: String,
    name: String,
    /// Messages that waited for it when it was made.
    pub(crate) waiting: u64,
    /// The message before where it begins.
    pub(crate) floor: u64,
}

impl Ephemeral {
    /// Makes one, named after who reads it. The server keeps it for `unused` while nobody asks it.
    pub(crate) async fn create(
        broker: &Broker,
        who: &str,
        wanted: &Wanted,
        start: Start,
        unused: Duration,
    ) -> Result<Self, Error> {
        let Wanted { stream, filters, headers_only } = wanted;
        // Only with a name does the filter stand in the subject that asks for the consumer, where permissions can tell
        // one from another.
        let name = format!("{who}-{:016x}", rand::random::<u64>());
        let mut config = Config {
            name: Some(name.clone()),
            description: Some(format!("gangway {who}")),
            deliver_policy: policy(broker, stream, start).await?,
            ack_policy: AckPolicy::None,
            headers_only: *headers_only,
            inactive_threshold: unused,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let mut what = format!("CONSUMER.CREATE.{stream}.{name}");
        match filters.as_slice() {
            [only] => {
                what = format!("{what}.{only}");
                config.filter_subject.clone_from(only);
            }
            several => config.filter_subjects = several.to_vec(),
        }
        let making = Self { broker: broker.clone(), stream: stream.clone(), name, waiting: 0, floor: 0 };
        let request = json!({ "stream_name": stream, "config": config });
        // The server may take two requests out of turn: the deletion follows the answer, also where nobody waits for it
        // any more.
        match tokio::spawn(making.made(what, request)).await {
            Ok(made) => made,
            Err(ended) => Err(Error::reading(stream, ended)),
        }
    }

    async fn made(mut self, what: String, request: Value) -> Result<Self, Error> {
        let info: Info = self.broker.api(&what, &request).await?;
        (self.waiting, self.floor) = (info.num_pending, info.delivered.stream_sequence);
        Ok(self)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (broker, what) = (self.broker.clone(), format!("CONSUMER.DELETE.{}.{}", self.stream, self.name));
        runtime.spawn(async move {
            if let Err(error) = broker.api::<Value>(&what, &Map::new()).await {
                debug!(error = &error as &dyn std::error::Error, "consumer.delete");
            }
        });
    }
}

/// The server's word for where to begin. What depends on the moment becomes a sequence first. The server would look
/// again where a consumer is lost and restored; and at a time, with several filters, it passes over what one of them
/// matches before the first match of another (`selectStartingSeqNo` in `consumer.go` of nats-server 2.15).
pub(crate) async fn policy(broker: &Broker, stream: &str, start: Start) -> Result<DeliverPolicy, Error> {
    let last = || async { topology::stream_info(broker, stream).await.map(|info| info.state.last_sequence) };
    let start_sequence = match start {
        Start::First => return Ok(DeliverPolicy::All),
        Start::LastPerSubject => return Ok(DeliverPolicy::LastPerSubject),
        Start::Sequence(first) => first,
        Start::New => last().await? + 1,
        Start::Since(millis) => {
            // Asked first: what is stored in between is of that time.
            let last = last().await?;
            first_since(broker, stream, millis).await?.unwrap_or(last + 1)
        }
    };
    // Sequences begin with 1.
    Ok(DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) })
}
