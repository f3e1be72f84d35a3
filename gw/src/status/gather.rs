//! Asks the broker for the state of streams and consumers; twice, so that there are rates.

use std::time::Duration;

use futures_util::future::join_all;
use nats::{
    Broker, Code,
    topology::{self, GW_DLQ, GW_PARKED, GW_PROBE, GW_WEBHOOK},
};
use schemas::route;
use tokio::time::Instant;

use super::{Consumer, Gateway, Server, Status, Stream};
use crate::{error::Error, output};

/// A stream's state at one time.
struct Sample {
    at: Instant,
    last_sequence: u64,
    stream: Stream,
}

pub(super) async fn status(gateway: Gateway, broker: &Broker, interval: Duration) -> Result<Status, Error> {
    let before = samples(broker).await?;
    tokio::time::sleep(interval).await;
    let after = samples(broker).await?;
    let rated = |mut sample: Sample| {
        let first = before.iter().find(|first| first.stream.name == sample.stream.name);
        sample.stream.rate = first.map_or(0.0, |first| {
            let seconds = sample.at.duration_since(first.at).as_secs_f64().max(0.001);
            sample.last_sequence.saturating_sub(first.last_sequence) as f64 / seconds
        });
        sample.stream
    };
    let streams: Vec<Stream> = after.into_iter().map(rated).collect();
    let messages = |name: &str| streams.iter().find(|stream| stream.name == name).map(|stream| stream.messages);
    let (name, version) = broker.server();
    Ok(Status {
        gateway,
        broker: Server { name, version },
        routes: messages(&format!("KV_{}", route::ROUTES)),
        connections: messages(&format!("KV_{}", route::CONNECTIONS)),
        parked: messages(GW_PARKED),
        dead_letters: messages(GW_DLQ),
        consumers: consumers(broker).await?,
        streams,
    })
}

/// The streams that are there, without their rates.
pub(crate) async fn streams(broker: &Broker) -> Result<Vec<Stream>, Error> {
    Ok(samples(broker).await?.into_iter().map(|sample| sample.stream).collect())
}

async fn samples(broker: &Broker) -> Result<Vec<Sample>, Error> {
    let specs = topology::specs(&topology::Settings::default());
    let names: Vec<String> = specs.into_iter().map(|spec| spec.config.name).filter(|name| name != GW_PROBE).collect();
    let asked = join_all(names.iter().map(|name| sample(broker, name))).await;
    asked.into_iter().filter_map(Result::transpose).collect()
}

async fn sample(broker: &Broker, name: &str) -> Result<Option<Sample>, Error> {
    let info = match topology::stream_info(broker, name).await {
        Ok(info) => info,
        Err(error) if error.code() == Some(Code::StreamNotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let first = i64::try_from(info.state.first_timestamp.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    let stream = Stream {
        name: name.to_owned(),
        messages: info.state.messages,
        bytes: info.state.bytes,
        max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0),
        rate: 0.0,
        oldest_age_ms: (info.state.messages > 0).then(|| (output::now() - first).max(0)),
    };
    Ok(Some(Sample { at: Instant::now(), last_sequence: info.state.last_sequence, stream }))
}

/// The consumers that are there.
pub(crate) async fn consumers(broker: &Broker) -> Result<Vec<Consumer>, Error> {
    let mut consumers = Vec::new();
    for name in [topology::ROUTER, topology::ROUTER_HISTORY] {
        let info = match topology::consumer_info(broker, GW_WEBHOOK, name).await {
            Ok(info) => info,
            Err(error) if matches!(error.code(), Some(Code::StreamNotFound | Code::ConsumerNotFound)) => continue,
            Err(error) => return Err(error.into()),
        };
        let waits = info.num_pending > 0 || info.num_ack_pending > 0;
        let next = info.ack_floor.stream_sequence + 1;
        let oldest = match waits {
            true => nats::next_from(broker, GW_WEBHOOK, next, &info.config.filter_subject).await?,
            false => None,
        };
        consumers.push(Consumer {
            name: name.to_owned(),
            pending: info.num_pending,
            ack_pending: info.num_ack_pending as u64,
            redelivered: info.num_redelivered as u64,
            waiting: info.num_waiting,
            lag_ms: oldest.map(|message| (output::now() - message.stored_at).max(0)),
        });
    }
    Ok(consumers)
}
