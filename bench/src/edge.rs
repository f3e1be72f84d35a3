//! The edge alone: the ingest service with the gateway's own listener and request layers. Without a broker its sink
//! confirms at once, and what is left is the cost of taking a webhook in.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};
use ingest::{Config, Deps, Ingest, ProviderConfig};
use nats::{Broker, Credentials, Mode, Publisher};
use prometheus_client::registry::Registry;
use schemas::{
    ambient::{Clock, Random},
    provider,
    secret::Secret,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{error::Error, listener::Listener, request};

/// `gw-bench edge`.
#[derive(Debug, Args)]
pub(crate) struct EdgeArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    secret: String,
    /// Store in this broker; without it the null sink.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    #[arg(long, value_enum, default_value = "auto")]
    publish: Publish,
    /// What to log, as RUST_LOG of the gateway.
    #[arg(long, default_value = "warn")]
    log: String,
}

/// As GW_PUBLISH of the gateway.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Publish {
    Auto,
    Batch,
    Pipeline,
}

pub(crate) async fn run(args: EdgeArgs) -> Result<Value, Error> {
    // The same layers as the gateway has: even where nothing is logged they cost something.
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    let filter = EnvFilter::builder().parse_lossy(&args.log);
    let _set = tracing_subscriber::registry().with(filter).with(lines).try_init().is_err();
    let listener = Listener::bind(args.listen, "--listen").await?;
    let address = listener.address();
    let (publisher, broker) = match &args.nats {
        Some(url) => stored(url, args.publish).await?,
        None => (Publisher::null(), None),
    };
    let deps = Deps { publisher, broker, clock: clock() };
    let ingest = Ingest::new(&config(&args.secret), deps, &mut Registry::default());
    let routes = request::wrap(ingest.public(), "public", &Random::new(rand::random));
    listener.serve(routes, CancellationToken::new()).await;
    Ok(json!({ "address": address }))
}

async fn stored(url: &str, publish: Publish) -> Result<(Publisher, Option<Broker>), Error> {
    let config = nats::Config {
        url: url.to_owned(),
        credentials: Credentials::Address,
        name: "gw-bench edge".into(),
        wait: true,
        server: None,
    };
    let broker = Broker::connect(&config).await?;
    let mode = match publish {
        Publish::Auto => Mode::measure(&broker, "bench").await,
        Publish::Batch => Mode::Batch { single: 0 },
        Publish::Pipeline => Mode::Pipeline,
    };
    let (publisher, group) = Publisher::new(&broker, mode);
    tokio::spawn(group);
    Ok((publisher, Some(broker)))
}

/// The gateway's defaults.
fn config(secret: &str) -> Config {
    let github = provider::find("github").map(|provider| ProviderConfig {
        provider,
        secret: Secret::new(secret),
        previous: None,
        rate_limit: None,
    });
    Config {
        providers: github.into_iter().collect(),
        max_inflight_bytes: 256 << 20,
        body_timeout: Duration::from_secs(10),
        freshness: Duration::from_secs(8 * 3600),
    }
}

#[expect(clippy::disallowed_methods, reason = "the bench has no gateway to give it a clock")]
fn clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
