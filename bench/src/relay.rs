//! What end to end costs without a gateway: bare clients store the same two messages one after the other, at the same
//! rate, and nothing between them checks, resolves or normalises.

use std::{thread, time::Duration};

use clap::Args;
use nats::{
    Reader, Start,
    topology::{GW_EVENT, GW_WEBHOOK},
};
use schemas::{header::DELIVERY, subject};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    broker::NatsArgs,
    e2e::{LoadArgs, Schedule, pace},
    error::Error,
    latency::Latencies,
    sample::{Sample, id, number_of},
};

/// How long the next message may take.
const PATIENCE: Duration = Duration::from_secs(10);
const ORG: &str = "org_bench";

/// `gw-bench relay`.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    load: LoadArgs,
}

pub(crate) async fn run(args: RelayArgs) -> Result<Value, Error> {
    let broker = args.nats.broker().await?;
    let webhooks = Reader::open(&broker, GW_WEBHOOK, &[], Start::New, false).await?;
    let mut events = Reader::open(&broker, GW_EVENT, &[subject::EVENTS.to_owned()], Start::New, false).await?;
    let run = rand::random();
    let watched = tokio::spawn(args.load.watched("relay"));
    let schedule = Schedule::new(&args.load);
    let (sender, turns) = mpsc::unbounded_channel();
    let poster = tokio::spawn(post(args.nats.clone(), run, turns));
    let relay = tokio::spawn(relay(args.nats.clone(), webhooks, run, schedule.count));
    let pace = thread::spawn(move || pace(schedule, &sender));
    let mut latencies = Latencies::default();
    let mut received = 0;
    while received < schedule.count {
        let Some(event) = events.next_within(PATIENCE).await? else { break };
        let Some(number) = event.header(DELIVERY).and_then(|delivery| number_of(run, delivery)) else { continue };
        received += 1;
        if number >= schedule.warmup {
            latencies.add(schedule.due(number).elapsed());
        }
    }
    relay.await??;
    let mut answers = Latencies::default();
    for (number, answered) in poster.await?? {
        if number >= schedule.warmup {
            answers.add(answered.saturating_duration_since(schedule.due(number)));
        }
    }
    let _ended = pace.join().is_ok();
    Ok(json!({
        "rate": args.load.rate,
        "posted": schedule.count,
        "received": received,
        "latency": latencies.summary(),
        "answer_latency": answers.summary(),
        "cores": watched.await?,
    }))
}

type Turns = mpsc::UnboundedReceiver<usize>;

/// Publishes each webhook when it is due, and tells when it was confirmed.
async fn post(nats: NatsArgs, run: u32, mut turns: Turns) -> Result<Vec<(usize, Instant)>, Error> {
    let message = Sample::push(0)?.message()?;
    let context = nats.bare_jetstream().await?;
    let mut under_way = JoinSet::new();
    while let Some(number) = turns.recv().await {
        let (subject, headers) = message.with_id(&id(run, 0, number as u64));
        let ack = context.publish_with_headers(subject, headers, message.body.clone()).await.map_err(Error::client)?;
        under_way.spawn(async move {
            ack.await.map_err(Error::client)?;
            Ok::<_, Error>((number, Instant::now()))
        });
    }
    let mut acks = Vec::new();
    while let Some(done) = under_way.join_next().await {
        acks.push(done??);
    }
    Ok(acks)
}

/// Publishes an event for each webhook that was stored.
async fn relay(nats: NatsArgs, mut webhooks: Reader, run: u32, count: usize) -> Result<(), Error> {
    let sample = Sample::push(0)?;
    let context = nats.bare_jetstream().await?;
    let mut under_way = JoinSet::new();
    let mut seen = 0;
    while seen < count {
        let Some(webhook) = webhooks.next_within(PATIENCE).await? else { break };
        let Some(delivery) = webhook.header(DELIVERY).filter(|delivery| number_of(run, delivery).is_some()) else {
            continue;
        };
        seen += 1;
        let item = sample.event(delivery, ORG)?;
        let ack = context.publish_with_headers(item.subject, item.headers, item.body).await.map_err(Error::client)?;
        under_way.spawn(async move { ack.await.map_err(Error::client) });
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}
