//! `gw status`: gateway, broker, streams, consumers and routes on one screen.
//!
//! `gather` asks, `screen` prints.

use std::time::Duration;

use serde::Serialize;

use crate::{
    api_client::ApiClient,
    broker,
    config::StatusArgs,
    error::Error,
    output::{self, Style},
};

pub(crate) mod gather;
mod screen;

/// How long the gateway may take to say how it is.
const PROBE: Duration = Duration::from_secs(5);
/// Above this share of its limit, in percent, a stream is worth a word.
pub(crate) const FULL: f64 = 80.0;

/// Everything that is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    gateway: Gateway,
    broker: Server,
    streams: Vec<Stream>,
    consumers: Vec<Consumer>,
    routes: Option<u64>,
    connections: Option<u64>,
    parked: Option<u64>,
    dead_letters: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Gateway {
    url: String,
    /// None where nothing answers, and why.
    version: Option<String>,
    uptime_seconds: Option<u64>,
    ready: bool,
    /// Why it is not ready, or not reached.
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Server {
    name: String,
    version: String,
}

/// A stream's state.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) messages: u64,
    bytes: u64,
    /// None without a limit.
    max_bytes: Option<u64>,
    /// Messages stored in a second.
    rate: f64,
    /// None where it is empty.
    oldest_age_ms: Option<i64>,
}

impl Stream {
    /// Percent of the limit.
    pub(crate) fn full(&self) -> Option<f64> {
        self.max_bytes.map(|limit| self.bytes as f64 * 100.0 / limit as f64)
    }
}

/// A consumer's state.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) pending: u64,
    ack_pending: u64,
    redelivered: u64,
    /// Who waits for messages.
    #[serde(skip)]
    pub(crate) waiting: usize,
    /// Age of the oldest message that is not dealt with; none where all are.
    pub(crate) lag_ms: Option<i64>,
}

#[cfg(test)]
impl Consumer {
    pub(crate) fn idle(name: &str, waiting: usize, lag_ms: Option<i64>) -> Self {
        Self { name: name.to_owned(), pending: 0, ack_pending: 0, redelivered: 0, waiting, lag_ms }
    }
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    let gateway = gateway(&api).await;
    let broker = match broker::connect(&args.broker, &args.api.data.data_dir, "gw status").await {
        Ok(broker) => broker,
        Err(error) => {
            // What is known is worth showing, above all where the broker is the trouble.
            if !args.json {
                screen::gateway(&gateway, Style::of_stdout()).into_iter().try_for_each(output::line)?;
            }
            return Err(error);
        }
    };
    let status = gather::status(gateway, &broker, args.interval).await?;
    broker.close().await;
    if args.json {
        return output::line(serde_json::to_string(&status).unwrap_or_default());
    }
    screen::lines(&status, Style::of_stdout()).into_iter().try_for_each(output::line)
}

/// What is behind an error, without what led to it.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

async fn gateway(api: &ApiClient) -> Gateway {
    let mut gateway =
        Gateway { url: api.url(), version: None, uptime_seconds: None, ready: false, reasons: Vec::new() };
    let asked = tokio::time::timeout(PROBE, async { tokio::join!(api.look("/healthz"), api.look("/readyz")) });
    let Ok((health, ready)) = asked.await else {
        gateway.reasons.push("it does not answer in time".to_owned());
        return gateway;
    };
    match health {
        Ok((200, body)) if body["version"].is_string() => {
            gateway.version = body["version"].as_str().map(str::to_owned);
            gateway.uptime_seconds = body["instanceUptimeSeconds"].as_u64();
        }
        Ok((status, _)) => {
            gateway.reasons.push(format!("something else answers there ({status}); GW_API_URL names the API"))
        }
        Err(error) => gateway.reasons.push(cause(&error)),
    }
    if let Ok((status, body)) = ready.as_ref().map(|(status, body)| (*status, body)) {
        gateway.ready = status == 200 && gateway.version.is_some();
        let reasons = body["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason.as_str());
        gateway.reasons.extend(reasons.map(str::to_owned));
    }
    gateway
}
