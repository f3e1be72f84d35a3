//! Which way of publishing is faster here: an atomic batch saves fsyncs, and costs staging where there are none.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use schemas::{header::Headers, subject};
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
    let mut batched = Duration::MAX;
    let mut pipelined = Duration::MAX;
    for round in 0..ROUNDS {
        let measured = async {
            let messages = probes(instance, round);
            let references: Vec<&Outgoing> = messages.iter().collect();
            let begun = Instant::now();
            batch::store(&broker.client, &references, PATIENCE).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            let batch = begun.elapsed();
            let messages = probes(instance, ROUNDS + round);
            let begun = Instant::now();
            let acks = join_all(messages.iter().map(|message| ack::publish(&broker.client, message, PATIENCE))).await;
            acks.into_iter().collect::<Result<Vec<_>, PublishError>>()?;
            Ok::<_, PublishError>((batch, begun.elapsed()))
        };
        match measured.await {
            Ok((batch, pipeline)) => {
                batched = batched.min(batch);
                pipelined = pipelined.min(pipeline);
            }
            Err(error) => {
                warn!(%error, "publish.measure: publishing one by one; GW_PUBLISH chooses");
                return Mode::Pipeline;
            }
        }
    }
    let mode = if batched < pipelined { Mode::Batch } else { Mode::Pipeline };
    info!(?mode, batch_us = batched.as_micros() as u64, pipeline_us = pipelined.as_micros() as u64, "publish.measured");
    mode
}

fn probes(instance: &str, round: usize) -> Vec<Outgoing> {
    let unique = rand::random::<u64>();
    let probe = |index| Outgoing {
        subject: subject::probe(instance),
        id: format!("{unique:x}-{round}-{index}"),
        headers: Headers::new(),
        payload: Bytes::from_static(&[b'x'; BYTES]),
        once: false,
        timer: None,
    };
    (0..MESSAGES).map(probe).collect()
}
