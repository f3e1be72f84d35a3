//! Which way of publishing is faster here: an atomic batch saves fsyncs, and costs staging where there are none.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use schemas::subject;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Mode, PublishError, ack, batch};
use crate::{connect::Broker, message::Outgoing};

/// As many as requests wait on a busy edge.
const MESSAGES: usize = 64;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(5);
/// About a webhook.
const BYTES: usize = 4_096;

pub(super) async fn fastest(broker: &Broker, instance: &str) -> Mode {
    let mut least = Times { batch: Duration::MAX, staging: Duration::MAX, pipeline: Duration::MAX };
    for _ in 0..ROUNDS {
        match Times::measure(broker, instance).await {
            Ok(times) => least = least.min(times),
            Err(error) => {
                warn!(%error, "publish.measure: publishing one by one; GW_PUBLISH chooses");
                return Mode::Pipeline;
            }
        }
    }
    let mode = least.mode();
    let us = |time: Duration| time.as_micros() as u64;
    info!(
        ?mode,
        batch_us = us(least.batch),
        staging_us = us(least.staging),
        pipeline_us = us(least.pipeline),
        "publish.measured"
    );
    mode
}

/// How long it takes until all are stored.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// [`MESSAGES`] in a batch.
    batch: Duration,
    /// The smallest batch.
    staging: Duration,
    /// [`MESSAGES`], each by itself, all in flight.
    pipeline: Duration,
}

impl Times {
    async fn measure(broker: &Broker, instance: &str) -> Result<Self, PublishError> {
        let in_batch = async |count| {
            let messages = probes(instance, count);
            let references: Vec<&Outgoing> = messages.iter().collect();
            let begun = Instant::now();
            batch::store(&broker.client, &references, PATIENCE).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(begun.elapsed())
        };
        let (batch, staging) = (in_batch(MESSAGES).await?, in_batch(2).await?);
        let messages = probes(instance, MESSAGES);
        let begun = Instant::now();
        let acks = join_all(messages.iter().map(|message| ack::publish(&broker.client, message, PATIENCE))).await;
        acks.into_iter().collect::<Result<Vec<_>, PublishError>>()?;
        Ok(Self { batch, staging, pipeline: begun.elapsed() })
    }

    fn min(self, other: Self) -> Self {
        Self {
            batch: self.batch.min(other.batch),
            staging: self.staging.min(other.staging),
            pipeline: self.pipeline.min(other.pipeline),
        }
    }

    fn mode(self) -> Mode {
        if self.pipeline <= self.batch {
            return Mode::Pipeline;
        }
        let each = self.pipeline.as_secs_f64() / MESSAGES as f64;
        Mode::Batch { single: ((self.staging.as_secs_f64() / each) as usize).clamp(1, MESSAGES) }
    }
}

fn probes(instance: &str, count: usize) -> Vec<Outgoing> {
    let unique = rand::random::<u64>();
    let probe = |index| Outgoing {
        subject: subject::probe(instance),
        id: format!("{unique:x}-{index}"),
        payload: Bytes::from_static(&[b'x'; BYTES]),
        ..Outgoing::default()
    };
    (0..count).map(probe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_used_where_they_pay_and_only_from_so_many_on() {
        let times = |batch, staging, pipeline| Times {
            batch: Duration::from_micros(batch),
            staging: Duration::from_micros(staging),
            pipeline: Duration::from_micros(pipeline),
        };
        assert_eq!(times(5_000, 4_000, 1_700).mode(), Mode::Pipeline);
        assert_eq!(times(5_000, 4_000, 16_000).mode(), Mode::Batch { single: 16 });
        assert_eq!(times(5_000, 100, 64_000).mode(), Mode::Batch { single: 1 });
    }
}
