//! `gw send`: signs a webhook as a provider would, and posts it.
//!
//! `body` says what is sent; `guess` finds the event type of a file that does not say it; `signed_time` renews the
//! time in a file; `sign` signs.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{Url, header};
use schemas::{Provider, problem::Problem, provider, secret::Secret};
use serde_json::Value;

use crate::{
    api_client::{self, address, shown, words},
    config::{DevEnv, SendArgs, secret_variable},
    error::Error,
    output::{self, Table},
};

mod body;
mod guess;
mod sign;
mod signed_time;

use body::Source;

/// Where webhooks come in unless the gateway was told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:4108";
/// Longer than any provider waits.
const PATIENCE: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("gw-send/", env!("CARGO_PKG_VERSION"));

/// A webhook, ready but for its signature.
#[derive(Debug)]
struct Webhook {
    event: Option<String>,
    body: Bytes,
}

/// Where to, and as whom.
struct Sender<'a> {
    provider: &'static Provider,
    http: reqwest::Client,
    url: Url,
    secret: Secret,
    delivery: Option<&'a str>,
}

pub(crate) async fn run(args: SendArgs) -> Result<(), Error> {
    let provider = provider::find(&args.provider)
        .ok_or_else(|| Error::Usage(format!("there is no provider {}", args.provider)))?;
    if args.list {
        return list(provider);
    }
    if args.delivery.is_some() && provider.delivery_header.is_none() {
        let what =
            format!("{} has no header for a delivery id: leave out --delivery, the payload decides", provider.name);
        return Err(Error::Usage(what));
    }
    let dev = DevEnv::load(&args.data.data_dir);
    let sender = Sender::new(provider, &args, &dev)?;
    let source = Source::new(provider, &args).await?;
    let mut refused = 0;
    for sent in 0..args.count {
        if !sender.send(&source.webhook(output::now(), &id())?).await? {
            refused += 1;
        } else if sent == refused && io::stderr().is_terminal() {
            eprintln!("gw: see what became of it with `gw tail --since 5m`");
        }
    }
    if refused == 0 { Ok(()) } else { Err(Error::Refused { refused, sent: args.count }) }
}

fn list(provider: &Provider) -> Result<(), Error> {
    let mut table = Table::new(&["PROVIDER", "EVENT", "SAMPLE"], &[]);
    for sample in provider.samples {
        table.row([provider.id, sample.event, sample.name].map(str::to_owned));
    }
    table.lines().into_iter().try_for_each(output::line)
}

/// A version 4 UUID.
fn id() -> String {
    let bits = rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The secret given for this, or that of the gateway's settings, or the development gateway's.
fn secret(provider: &Provider, args: &SendArgs, dev: &DevEnv) -> Result<Secret, Error> {
    let variable = secret_variable(provider.id);
    // In the file the previous secret may stand behind the current one.
    let kept = || dev.get(&variable).and_then(|both| both.split(',').next()).map(|first| Secret::new(first.trim()));
    let given = args.secret.clone().or_else(|| args.providers.get(provider.id).secrets.first().cloned()).or_else(kept);
    given.filter(|secret| !secret.expose().is_empty()).ok_or_else(|| {
        let name = provider.name;
        Error::Usage(format!(
            "no secret to sign with as {name}: set {variable} as at the gateway, or run `gw serve --dev` first"
        ))
    })
}

impl<'a> Sender<'a> {
    fn new(provider: &'static Provider, args: &'a SendArgs, dev: &DevEnv) -> Result<Self, Error> {
        let base = args.public_url.as_deref().or_else(|| dev.get("GW_PUBLIC_URL")).unwrap_or(DEFAULT_URL);
        let base = address(base, "GW_PUBLIC_URL")?;
        let http = api_client::http(&base, PATIENCE)?;
        let url = api_client::join(&base, &format!("/webhooks/{}", provider.id));
        Ok(Self { provider, http, url, secret: secret(provider, args, dev)?, delivery: args.delivery.as_deref() })
    }

    /// Posts one webhook and prints the answer; tells whether it was taken.
    async fn send(&self, webhook: &Webhook) -> Result<bool, Error> {
        let (name, signature) = sign::header(self.provider.signature, &self.secret, &webhook.body);
        let mut request = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header(name, signature);
        if let (Some(name), Some(event)) = (self.provider.event_header, &webhook.event) {
            request = request.header(name, event);
        }
        if let Some(name) = self.provider.delivery_header {
            request = request.header(name, self.delivery.map_or_else(id, str::to_owned));
        }
        let unreachable =
            |source: reqwest::Error| Error::Unreachable { url: shown(&self.url), source: source.without_url() };
        let answer = request.body(webhook.body.clone()).send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        match taken(&bytes).filter(|_| status == 200) {
            Some(taken) => output::line(format!("{status} {taken}")).map(|()| true),
            None => output::line(format!("{status} {}", self.refusal(&bytes))).map(|()| false),
        }
    }

    /// What the gateway said against it, and what to do.
    fn refusal(&self, body: &[u8]) -> String {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
            return format!("refused; is {} the public listener of a gateway?", shown(&self.url));
        };
        let variable = secret_variable(self.provider.id);
        let hint = match problem.code.as_str() {
            "invalid_signature" => format!("the secret is not the gateway's: set {variable} as there, or --secret"),
            "stale_signature" => "the signed time has passed: leave out --exact, and gw sets it to now".to_owned(),
            "unknown_provider" => {
                format!("{} is off at the gateway: set {variable} there and restart it", self.provider.name)
            }
            "rate_limited" | "not_stored" | "overloaded" => {
                "send it again in a few seconds; `gw status` shows how the gateway is".to_owned()
            }
            "missing_body" => "the file is empty".to_owned(),
            "unauthorized" | "no_such_path" => "that is not the public listener: GW_PUBLIC_URL names it".to_owned(),
            _ => return words(&problem),
        };
        format!("{} — {hint}", words(&problem))
    }
}

/// `accepted <id>` or `duplicate <id> (sequence n)`.
fn taken(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let (status, delivery) = (answer["status"].as_str()?, answer["deliveryId"].as_str()?);
    let sequence = answer["sequence"].as_u64().map(|sequence| format!(" (sequence {sequence})"));
    Some(format!("{} {}{}", output::plain(status), output::plain(delivery), sequence.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        assert_eq!(taken(br#"{"status":"accepted","deliveryId":"d-1"}"#).as_deref(), Some("accepted d-1"));
        let duplicate = br#"{"status":"duplicate","deliveryId":"d-1","sequence":7}"#;
        assert_eq!(taken(duplicate).as_deref(), Some("duplicate d-1 (sequence 7)"));
        assert_eq!(taken(b"<html>"), None);
    }

    #[test]
    fn a_delivery_id_is_a_uuid_and_another_each_time() {
        let (one, two) = (id(), id());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert_eq!(&one[14..15], "4");
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
    }
}
