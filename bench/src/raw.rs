//! The ceiling: the same messages published by the bare client, as many in flight as the edge has connections.

use std::sync::Arc;

use async_nats::{Client, jetstream::Context};
use clap::Args;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    batch::{self, Item},
    broker::NatsArgs,
    error::Error,
    latency::Latencies,
    sample::{Ids, Message, Sample},
    usage::Window,
};

/// `gw-bench raw`.
#[derive(Debug, Args)]
pub(crate) struct RawArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[arg(long)]
    inflight: usize,
    /// In atomic batches, two of them in flight.
    #[arg(long)]
    batch: bool,
    /// On one thread.
    #[arg(long)]
    pub(crate) one_thread: bool,
    #[arg(long)]
    seconds: f64,
    /// Seconds before it that do not count.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Processes whose use of the processors is told, `name=pid`.
    #[arg(long)]
    watch: Vec<String>,
}

pub(crate) async fn run(args: RawArgs) -> Result<Value, Error> {
    let message = Arc::new(Sample::push(0)?.message()?);
    let client = args.nats.bare().await?;
    let context = async_nats::jetstream::new(client.clone());
    let run = rand::random();
    let window = Window::after(args.warmup, args.seconds);
    let watched = tokio::spawn(window.watch(args.watch, "raw"));
    let mut workers = JoinSet::new();
    // Like the gateway's publisher: one batch is synced while the next is staged.
    let (count, size) =
        if args.batch { (2.min(args.inflight), (args.inflight / 2).clamp(1, batch::MOST)) } else { (args.inflight, 1) };
    for worker in 0..count {
        let ids = Ids::new(run, worker);
        if args.batch {
            workers.spawn(batches(client.clone(), message.clone(), ids, size, window));
        } else {
            workers.spawn(singles(context.clone(), message.clone(), ids, window));
        }
    }
    let mut all = Latencies::default();
    while let Some(latencies) = workers.join_next().await {
        all.extend(&latencies??);
    }
    let per_second = (all.len() * size) as f64 / args.seconds;
    Ok(json!({
        "inflight": args.inflight,
        "batch": args.batch.then_some(size),
        "per_second": per_second.round(),
        "latency": all.summary(),
        "cores": watched.await?,
    }))
}

async fn singles(context: Context, message: Arc<Message>, mut ids: Ids, window: Window) -> Result<Latencies, Error> {
    let mut latencies = Latencies::default();
    let mut begun = Instant::now();
    while begun < window.end {
        let (subject, headers) = message.with_id(&ids.next());
        let ack = context.publish_with_headers(subject, headers, message.body.clone()).await.map_err(Error::client)?;
        ack.await.map_err(Error::client)?;
        let done = Instant::now();
        if window.has(done) {
            latencies.add(done - begun);
        }
        begun = done;
    }
    Ok(latencies)
}

async fn batches(
    client: Client,
    message: Arc<Message>,
    mut ids: Ids,
    size: usize,
    window: Window,
) -> Result<Latencies, Error> {
    let mut latencies = Latencies::default();
    let mut begun = Instant::now();
    while begun < window.end {
        let items = (0..size).map(|_| {
            let (subject, headers) = message.with_id(&ids.next());
            Item { subject, headers, body: message.body.clone() }
        });
        batch::store(&client, items.collect()).await?;
        let done = Instant::now();
        if window.has(done) {
            latencies.add(done - begun);
        }
        begun = done;
    }
    Ok(latencies)
}
