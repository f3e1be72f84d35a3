//! Closed loop: each connection posts its next webhook when the last one is answered.

use std::net::SocketAddr;

use clap::Args;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    error::Error,
    http::Connection,
    latency::Latencies,
    sample::{Ids, Sample},
    usage::Window,
};

/// `gw-bench load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Where the edge listens.
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    secret: String,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    seconds: f64,
    /// Seconds before it that do not count.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Processes whose use of the processors is told, `name=pid`.
    #[arg(long)]
    watch: Vec<String>,
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Seen {
    latencies: Latencies,
    refused: usize,
    first_refusal: Option<String>,
}

pub(crate) async fn run(args: LoadArgs) -> Result<Value, Error> {
    let sample = Sample::push(0)?;
    let run = rand::random();
    let mut connections = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        connections.push(Connection::open(args.to, &sample, &args.secret).await?);
    }
    let window = Window::after(args.warmup, args.seconds);
    let watched = tokio::spawn(window.watch(args.watch, "load"));
    let mut drivers = JoinSet::new();
    for (worker, connection) in connections.into_iter().enumerate() {
        drivers.spawn(drive(connection, Ids::new(run, worker), window));
    }
    let mut all = Seen::default();
    while let Some(seen) = drivers.join_next().await {
        let seen = seen??;
        all.latencies.extend(&seen.latencies);
        all.refused += seen.refused;
        all.first_refusal = all.first_refusal.or(seen.first_refusal);
    }
    let per_second = all.latencies.len() as f64 / args.seconds;
    Ok(json!({
        "connections": args.connections,
        "accepted": all.latencies.len(),
        "per_second": per_second.round(),
        "latency": all.latencies.summary(),
        "refused": all.refused,
        "first_refusal": all.first_refusal,
        "cores": watched.await?,
    }))
}

async fn drive(mut connection: Connection, mut ids: Ids, window: Window) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let mut begun = Instant::now();
    while begun < window.end {
        let refusal = connection.post(&ids.next()).await?;
        let done = Instant::now();
        match refusal {
            None if window.has(done) => seen.latencies.add(done - begun),
            None => {}
            Some(refusal) => {
                seen.refused += 1;
                seen.first_refusal.get_or_insert(refusal);
            }
        }
        begun = done;
    }
    Ok(seen)
}
