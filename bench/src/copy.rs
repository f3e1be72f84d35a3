//! The ceiling of a replay to a subject: bare clients read the events and store a copy of each.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::consumer::{AckPolicy, pull},
};
use clap::Args;
use futures_util::StreamExt;
use nats::topology::GW_EVENT;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{broker::NatsArgs, error::Error};

/// `gw-bench copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[arg(long)]
    count: usize,
    /// Copies whose acknowledgement is awaited, at most.
    #[arg(long, default_value_t = 1024)]
    in_flight: usize,
}

pub(crate) async fn run(args: CopyArgs) -> Result<Value, Error> {
    let reading = args.nats.bare_jetstream().await?;
    let writing = args.nats.bare_jetstream().await?;
    let stream = reading.get_stream(GW_EVENT).await.map_err(Error::client)?;
    let config = pull::Config { ack_policy: AckPolicy::None, memory_storage: true, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.map_err(Error::client)?;
    let mut events = consumer
        .stream()
        .max_messages_per_batch(2_000)
        .expires(Duration::from_secs(30))
        .messages()
        .await
        .map_err(Error::client)?;
    let free = Arc::new(Semaphore::new(args.in_flight));
    let mut under_way = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..args.count {
        let event = events.next().await.ok_or_else(|| Error::Wrong("the consumer ended".into()))?;
        let event = event.map_err(Error::client)?.message;
        let held = free.clone().acquire_owned().await.map_err(Error::client)?;
        let kind = event.subject.as_str().rsplit_once('.').map_or("", |(kind, _id)| kind);
        let subject = kind.replacen("gw.event", "gw.replay.bench", 1);
        let mut headers = HeaderMap::new();
        for (name, values) in event.headers.iter().flat_map(HeaderMap::iter) {
            if !name.to_string().starts_with("Nats-") {
                values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
            }
        }
        let ack = writing.publish_with_headers(subject, headers, event.payload).await.map_err(Error::client)?;
        under_way.spawn(async move {
            ack.await.map_err(Error::client)?;
            drop(held);
            Ok::<_, Error>(())
        });
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "count": args.count, "seconds": seconds, "per_second": (args.count as f64 / seconds).round() }))
}
