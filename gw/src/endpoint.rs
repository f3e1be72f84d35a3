//! `gw endpoint`: endpoints through the API.

use std::collections::BTreeMap;

use schemas::endpoint::Endpoint;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api_client::{ApiClient, Named, read, segment},
    config::{EndpointAction, EndpointArgs, EndpointWishes, Pauses},
    error::Error,
    output::{self, Table},
};

/// An endpoint as the API shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    endpoint: Endpoint,
    status_reason: Option<String>,
    created_at: String,
    secret: Option<String>,
    previous_secret_until: Option<String>,
    breaker_open_until: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: EndpointArgs) -> Result<(), Error> {
    let id = args.action.id().map(str::to_owned);
    act(args).await.map_err(|error| match id {
        Some(id) => Named::ENDPOINT.or(id, error),
        None => error,
    })
}

async fn act(args: EndpointArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    let answer = match args.action {
        EndpointAction::List { org, status } => return list(&api, org.as_deref(), status.as_deref(), args.json).await,
        EndpointAction::Add { org, url, wishes, start } => {
            let mut body = body(&wishes)?;
            // A whole number is a sequence.
            let start = start.parse::<u64>().map_or(json!(start), |sequence| json!(sequence));
            body.extend([
                ("orgId".to_owned(), json!(org)),
                ("url".to_owned(), json!(url)),
                ("start".to_owned(), start),
            ]);
            api.post("/endpoints", &body).await?
        }
        EndpointAction::Show { id } => api.get(&path(&id), &[]).await?,
        EndpointAction::Set { id, url, wishes, reset } => {
            api.patch(&path(&id), &change(&api, &id, url, &wishes, &reset).await?).await?
        }
        EndpointAction::Pause { id } => api.patch(&path(&id), &json!({ "status": "paused" })).await?,
        EndpointAction::Resume { id } => api.patch(&path(&id), &json!({ "status": "active" })).await?,
        EndpointAction::Disable { id } => api.patch(&path(&id), &json!({ "status": "disabled" })).await?,
        EndpointAction::Rotate { id, grace } => {
            api.post(&format!("{}/secret/rotate", path(&id)), &json!({ "graceSeconds": grace.as_secs() })).await?
        }
        EndpointAction::Remove { id } => {
            let removed: Value = api.delete(&path(&id)).await?;
            return output::line(if args.json { removed.to_string() } else { format!("removed {id}") });
        }
    };
    if args.json { output::line(answer) } else { show(answer) }
}

fn path(id: &str) -> String {
    format!("/endpoints/{}", segment(id))
}

/// What is wanted, as the API takes it.
fn body(wishes: &EndpointWishes) -> Result<Map<String, Value>, Error> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    set("events", wishes.events.as_ref().map(|events| json!(events)));
    set("format", wishes.format.as_ref().map(|format| json!(format)));
    set("timeoutSeconds", wishes.timeout.map(|timeout| json!(timeout.as_secs())));
    set("retrySchedule", wishes.retry.as_ref().map(|Pauses(pauses)| json!(pauses)));
    set("concurrency", wishes.concurrency.map(|most| json!(most)));
    set("ratePerSecond", wishes.rate.map(|rate| json!(rate)));
    set("ordered", wishes.ordered.map(|ordered| json!(ordered)));
    set("history", wishes.history.map(|history| json!(history)));
    let headers = headers(&wishes.headers)?;
    set("headers", (!headers.is_empty()).then(|| json!(headers)));
    Ok(body)
}

fn headers(given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    // What is wrong may be a secret, so it is not repeated.
    let wrong = || Error::Usage("a header is given as NAME=VALUE; in a change, NAME= removes it".to_owned());
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    given.iter().map(|text| pair(text).ok_or_else(wrong)).collect()
}

/// A change. Headers are set one by one: those there are stay, as the API lets them be sent back unseen.
async fn change(
    api: &ApiClient,
    id: &str,
    url: Option<String>,
    wishes: &EndpointWishes,
    reset: &[String],
) -> Result<Map<String, Value>, Error> {
    let mut change = body(wishes)?;
    for what in reset {
        if change.contains_key(field(what)) {
            let flag = if what == "headers" { "header" } else { what };
            return Err(Error::Usage(format!("--{flag} sets what `--reset {what}` takes back: give one of the two")));
        }
    }
    change.extend(url.map(|url| ("url".to_owned(), json!(url))));
    if !wishes.headers.is_empty() {
        let Shown { endpoint, .. } = api.get(&path(id), &[]).await?;
        let mut all = endpoint.headers;
        all.extend(headers(&wishes.headers)?);
        all.retain(|_, value| !value.is_empty());
        change.insert("headers".to_owned(), json!(all));
    }
    for what in reset {
        change.insert(field(what).to_owned(), Value::Null);
    }
    match change.is_empty() {
        true => Err(Error::Usage("nothing to change; `gw endpoint set --help` shows what can be".to_owned())),
        false => Ok(change),
    }
}

/// The API's name of what can be reset.
fn field(what: &str) -> &str {
    match what {
        "timeout" => "timeoutSeconds",
        "retry" => "retrySchedule",
        "rate" => "ratePerSecond",
        same => same,
    }
}

async fn list(api: &ApiClient, org: Option<&str>, status: Option<&str>, as_json: bool) -> Result<(), Error> {
    let mut table = Table::new(&["ENDPOINT", "ORGANISATION", "STATUS", "FORMAT", "EVENTS", "URL"], &[]);
    let filters = [("orgId", org), ("status", status)];
    let query: Vec<(&str, &str)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let all: Vec<Value> = api.all("/endpoints", &query, "endpoints").await?;
    if as_json {
        return output::line(Value::Array(all));
    }
    if all.is_empty() {
        return output::line("no endpoints; `gw endpoint add --help` shows how to make one");
    }
    for value in all {
        let Shown { endpoint, breaker_open_until, .. } = read(value)?;
        let open = if breaker_open_until.is_some() { ", failing" } else { "" };
        table.row([
            endpoint.id,
            output::plain(&endpoint.org_id),
            format!("{}{open}", endpoint.status.as_str()),
            endpoint.format.as_str().to_owned(),
            endpoint.events.join(","),
            output::plain(&endpoint.url),
        ]);
    }
    table.lines().into_iter().try_for_each(output::line)
}

/// Everything about one, a line each.
fn show(answer: Value) -> Result<(), Error> {
    let shown: Shown = read(answer)?;
    let endpoint = &shown.endpoint;
    let seconds = |seconds: u64| output::span(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
    let pauses: Vec<String> = endpoint.retry_schedule.iter().map(|pause| seconds((*pause).into())).collect();
    let mut table = Table::new(&["endpoint", &endpoint.id], &[]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), output::plain(&value)]);
    row("organisation", endpoint.org_id.clone());
    row("url", endpoint.url.clone());
    row("status", endpoint.status.as_str().to_owned());
    if let Some(reason) = shown.status_reason {
        row("because", reason);
    }
    if let Some(until) = shown.breaker_open_until {
        row("failing", format!("again and again: left alone until {until}, then one push probes it"));
    }
    row("events", endpoint.events.join(", "));
    row("format", endpoint.format.as_str().to_owned());
    for (name, value) in &endpoint.headers {
        row("header", format!("{name}: {value}"));
    }
    row("timeout", format!("{}s", endpoint.timeout_seconds));
    row("retries", if pauses.is_empty() { "none".to_owned() } else { pauses.join(", ") });
    row("at once", endpoint.concurrency.to_string());
    row("rate", endpoint.rate_per_second.map_or_else(|| "no limit".to_owned(), |rate| format!("{rate}/s")));
    row("order", if endpoint.ordered { "one by one" } else { "any" }.to_owned());
    row("history", if endpoint.history { "also" } else { "no" }.to_owned());
    row("made", shown.created_at);
    if let Some(secret) = shown.secret {
        row("secret", format!("{secret}  (shown only now: receivers verify with it)"));
    }
    if let Some(until) = shown.previous_secret_until {
        row("secret before", format!("signs as well until {until}"));
    }
    table.lines().into_iter().try_for_each(output::line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_without_an_equals_sign_is_refused_and_not_repeated() {
        let good = headers(&["X-Team=a=b".to_owned(), "x-none=".to_owned()]).expect("headers");
        assert_eq!((good["x-team"].as_str(), good["x-none"].as_str()), ("a=b", ""));
        let error = headers(&["a-secret".to_owned()]).expect_err("no pair").to_string();
        assert!(error.contains("NAME=VALUE") && !error.contains("a-secret"));
    }
}
