//! Waiting for a stream, and for the router to have read all of it.

use std::time::Duration;

use clap::Args;
use nats::topology::{self, GW_EVENT, GW_WEBHOOK, ROUTER};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{broker::NatsArgs, error::Error, usage::Watch};

const POLL: Duration = Duration::from_millis(20);

/// `gw-bench drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    nats: NatsArgs,
    /// Processes whose use of the processors is told, `name=pid`.
    #[arg(long)]
    watch: Vec<String>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 300)]
    patience: u64,
}

/// `gw-bench stream` and `gw-bench purge`.
#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[arg(long, default_value = GW_WEBHOOK)]
    stream: String,
}

/// Counts from the first message that the router was handed, so that its start does not count.
pub(crate) async fn run(args: DrainArgs) -> Result<Value, Error> {
    let broker = args.nats.broker().await?;
    let events = topology::stream_info(&broker, GW_EVENT).await?.state.messages;
    let give_up = Instant::now() + Duration::from_secs(args.patience);
    let (mut begun, mut before) = (None, 0);
    loop {
        let info = topology::consumer_info(&broker, GW_WEBHOOK, ROUTER).await?;
        let left = info.num_pending + info.num_ack_pending as u64;
        if begun.is_none() {
            match before {
                0 => before = left,
                before if left < before || info.num_ack_pending > 0 => {
                    begun = Some((Instant::now(), Watch::begin(&args.watch, "drain")))
                }
                _ => {}
            }
        }
        if left == 0 && before > 0 {
            break;
        }
        if Instant::now() > give_up {
            return Err(Error::Wrong(format!("{left} deliveries are still waiting")));
        }
        tokio::time::sleep(POLL).await;
    }
    let Some((begun, watch)) = begun else {
        return Err(Error::Wrong("the router was done before it was looked at".into()));
    };
    let seconds = begun.elapsed().as_secs_f64();
    let cores = watch.cores();
    let events = topology::stream_info(&broker, GW_EVENT).await?.state.messages - events;
    Ok(json!({
        "deliveries": before,
        "events": events,
        "seconds": seconds,
        "deliveries_per_second": (before as f64 / seconds).round(),
        "events_per_second": (events as f64 / seconds).round(),
        "cores": cores,
    }))
}

/// Waits for the server, too: right after a restart the stream is there when it can be asked.
pub(crate) async fn stream(args: StreamArgs) -> Result<Value, Error> {
    let broker = args.nats.broker().await?;
    let state = loop {
        match topology::stream_info(&broker, &args.stream).await {
            Ok(info) => break info.state,
            Err(_recovering) => tokio::time::sleep(POLL).await,
        }
    };
    Ok(json!({ "messages": state.messages, "bytes": state.bytes, "subjects": state.subjects_count }))
}

pub(crate) async fn purge(args: StreamArgs) -> Result<Value, Error> {
    let stream = args.nats.bare_jetstream().await?.get_stream_no_info(&args.stream).await.map_err(Error::client)?;
    let purged = stream.purge().await.map_err(Error::client)?;
    Ok(json!({ "purged": purged.purged }))
}
