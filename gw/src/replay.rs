//! `gw replay`: replays through the API.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api_client::{ApiClient, Named, read, segment},
    config::{RangeArgs, ReplayAction, ReplayArgs, To},
    error::Error,
    output::{self, Table},
};

/// How often a replay is looked at while it runs.
const LOOK: Duration = Duration::from_millis(500);
/// Replays that a list shows, as many as the API gives.
const MOST: &str = "1000";

/// What is said where nothing narrows what is pushed.
const UNCHOSEN: &str = "what is to be sent again? give --org, --provider, --type, --endpoint, a time or a sequence; or \
                        --all, for no such limit";

/// A replay as the API shows it, as far as it is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replay {
    id: String,
    mode: String,
    #[serde(default)]
    to: String,
    status: String,
    progress: f64,
    read: u64,
    published: u64,
    held: Option<u64>,
    skipped: Map<String, Value>,
    organisations: Map<String, Value>,
    endpoints: Map<String, Value>,
    rate: f64,
    eta_seconds: Option<u64>,
    waits_for: Option<String>,
    failure: Option<String>,
    #[serde(default)]
    dry_run: bool,
    started_at: String,
}

pub(crate) async fn run(args: ReplayArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    match args.action {
        ReplayAction::Redeliver { range, endpoints, all, only_failed, to } => {
            let pushes = to == To::Endpoints && !range.dry_run;
            if pushes && !all && endpoints.is_empty() && !narrows(&range) {
                return Err(Error::Usage(UNCHOSEN.to_owned()));
            }
            let mut body = body("redeliver", &range);
            if !endpoints.is_empty() {
                body.insert("endpointIds".to_owned(), endpoints.into());
            }
            if all {
                body.insert("all".to_owned(), true.into());
            }
            body.insert("onlyFailed".to_owned(), only_failed.into());
            let to = match to {
                To::Endpoints => "endpoints",
                To::Subject => "subject",
            };
            body.insert("to".to_owned(), to.into());
            start(&api, &body, range.detach, args.json).await
        }
        ReplayAction::Reroute { range, only_undelivered } => {
            let mut body = body("reroute", &range);
            body.insert("onlyUndelivered".to_owned(), only_undelivered.into());
            start(&api, &body, range.detach, args.json).await
        }
        ReplayAction::List => list(&api, args.json).await,
        ReplayAction::Show { id } => {
            say(&api.get(&path(&id), &[]).await.map_err(|error| Named::REPLAY.or(&id, error))?, args.json)
        }
        ReplayAction::Cancel { id } => say(
            &api.post(&format!("{}/cancel", path(&id)), &json!({}))
                .await
                .map_err(|error| Named::REPLAY.or(&id, error))?,
            args.json,
        ),
    }
}

/// Whether less than all there is was asked for.
fn narrows(range: &RangeArgs) -> bool {
    let texts = [&range.org, &range.provider, &range.kind, &range.since, &range.until];
    texts.into_iter().any(Option::is_some) || range.from.or(range.up_to).is_some()
}

fn body(mode: &str, range: &RangeArgs) -> Map<String, Value> {
    let body = json!({
        "mode": mode, "orgId": range.org, "provider": range.provider, "type": range.kind, "since": range.since,
        "until": range.until, "fromSequence": range.from, "toSequence": range.up_to, "dryRun": range.dry_run,
        "ratePerSecond": range.rate,
    });
    body.as_object().cloned().unwrap_or_default()
}

/// Begins a replay, and follows it to its end.
async fn start(api: &ApiClient, body: &Map<String, Value>, detach: bool, as_json: bool) -> Result<(), Error> {
    let mut value: Value = api.post("/replays", body).await.map_err(|error| match error {
        Error::Answer { status: status @ 404, code, detail } => {
            Error::Answer { status, code, detail: format!("{detail}; `gw endpoint list` shows those there are") }
        }
        other => other,
    })?;
    if detach {
        return say(&value, as_json);
    }
    let mut last = String::new();
    loop {
        let replay: Replay = read(value.clone())?;
        if replay.status != "running" {
            say(&value, as_json)?;
            return if replay.status == "done" { Ok(()) } else { Err(Error::NotDone { status: replay.status }) };
        }
        let line = progress(&replay);
        if !as_json && line != last {
            eprintln!("{line}");
            last = line;
        }
        tokio::time::sleep(LOOK).await;
        value = api.get(&path(&replay.id), &[]).await?;
    }
}

async fn list(api: &ApiClient, as_json: bool) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Listed {
        replays: Vec<Value>,
    }
    let Listed { replays } = api.get("/replays", &[("limit", MOST)]).await?;
    if as_json {
        return output::line(Value::Array(replays));
    }
    if replays.is_empty() {
        return output::line("no replays; `gw replay --help` shows how to begin one");
    }
    let mut table = Table::new(&["REPLAY", "MODE", "STATUS", "PROGRESS", "READ", "PUBLISHED", "STARTED"], &[3, 4, 5]);
    for value in &replays {
        let replay: Replay = read(value.clone())?;
        let mode = if replay.dry_run { format!("{} (dry run)", replay.mode) } else { replay.mode };
        table.row([
            replay.id,
            mode,
            replay.status,
            format!("{:.0} %", replay.progress * 100.0),
            output::count(replay.read),
            output::count(replay.published),
            replay.started_at,
        ]);
    }
    table.lines().into_iter().try_for_each(output::line)
}

/// Tells where a replay stands.
fn say(value: &Value, as_json: bool) -> Result<(), Error> {
    if as_json {
        return output::line(value);
    }
    let replay: Replay = read(value.clone())?;
    let what = if replay.dry_run { "would publish" } else { "published" };
    output::line(format!(
        "{} {} {}: read {}, {what} {}",
        replay.id,
        replay.mode,
        replay.status,
        output::count(replay.read),
        output::count(replay.published)
    ))?;
    if replay.to == "subject" && !replay.dry_run {
        output::line(format!("  in GW_REPLAY, on {}", subject_of(&replay.id)))?;
        if let Some(held) = replay.held.filter(|held| *held < replay.published) {
            let held = output::count(held);
            output::line(format!(
                "  {held} of them are held still: GW_REPLAY gives up its oldest, and all after a day"
            ))?;
        }
    }
    if replay.status == "running" {
        output::line(format!("  {}", progress(&replay)))?;
    }
    for (title, counts) in [("organisation", &replay.organisations), ("endpoint", &replay.endpoints)] {
        for (name, count) in counts {
            output::line(format!("  {title} {}: {count}", output::plain(name)))?;
        }
    }
    if let Some(line) = skipped(&replay.skipped) {
        output::line(format!("  {line}"))?;
    }
    replay.failure.map_or(Ok(()), |failure| output::line(format!("  {}", output::plain(&failure))))
}

/// What was passed over, each reason behind its count.
fn skipped(counts: &Map<String, Value>) -> Option<String> {
    let reasons: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{count} {}", output::plain(reason))).collect();
    (!reasons.is_empty()).then(|| format!("skipped: {}", reasons.join(", ")))
}

/// What a reader of a replay's events asks the broker for.
fn subject_of(id: &str) -> String {
    schemas::subject::replayed_of(id)
}

fn progress(replay: &Replay) -> String {
    let mut line = format!(
        "{:.0} %, {} published, {:.0} a second",
        replay.progress * 100.0,
        output::count(replay.published),
        replay.rate
    );
    if let Some(eta) = replay.eta_seconds {
        line.push_str(&format!(
            ", {} left",
            output::span(i64::try_from(eta).unwrap_or(i64::MAX).saturating_mul(1_000))
        ));
    }
    if let Some(what) = &replay.waits_for {
        line.push_str(&format!(", waits for {}", output::plain(what)));
    }
    line
}

fn path(id: &str) -> String {
    format!("/replays/{}", segment(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_for_passing_over_cannot_be_read_as_its_opposite() {
        let counts = json!({ "not-failed": 116, "routed": 18 });
        let line = skipped(counts.as_object().expect("an object"));
        assert_eq!(line.as_deref(), Some("skipped: 116 not-failed, 18 routed"));
        assert_eq!(skipped(&Map::new()), None);
    }
}
