//! `gw dlq`: dead letters through the API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api_client::{ApiClient, Named},
    config::{ChosenArgs, DlqAction, DlqArgs, WhichArgs},
    error::Error,
    output::{self, Table},
};

/// Letters of one page.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    dead_letters: Vec<Value>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    redriven: Option<u64>,
    dropped: Option<u64>,
    skipped: BTreeMap<String, u64>,
    next_cursor: Option<String>,
}

pub(crate) async fn run(args: DlqArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    match args.action {
        DlqAction::List { which, limit } => list(&api, &which, limit, args.json).await,
        DlqAction::Show { id } => show(&api, id, args.json).await,
        DlqAction::Redrive { chosen } => deal(&api, "/dead-letters/redrive", &chosen, args.json).await,
        DlqAction::Drop { chosen } => deal(&api, "/dead-letters/drop", &chosen, args.json).await,
    }
}

/// The names of the API for what letters have in common.
fn filter(which: &WhichArgs) -> Map<String, Value> {
    let all = [
        ("reason", &which.reason),
        ("stage", &which.stage),
        ("endpointId", &which.endpoint),
        ("orgId", &which.org),
        ("since", &which.since),
        ("until", &which.until),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))).collect()
}

async fn list(api: &ApiClient, which: &WhichArgs, limit: usize, as_json: bool) -> Result<(), Error> {
    let filter = filter(which);
    let mut letters = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = limit.saturating_sub(letters.len()).clamp(1, PAGE).to_string();
        let mut query: Vec<(&str, &str)> =
            filter.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
        query.push(("limit", &page));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let Listed { dead_letters, next_cursor } = api.get("/dead-letters", &query).await?;
        letters.extend(dead_letters);
        cursor = next_cursor;
        if cursor.is_none() || letters.len() >= limit {
            break;
        }
    }
    if as_json {
        return output::line(Value::Array(letters));
    }
    if letters.is_empty() {
        return output::line("no dead letters");
    }
    let mut table =
        Table::new(&["ID", "DIED", "STAGE", "REASON", "ORGANISATION", "ENDPOINT", "TYPE", "DELIVERY"], &[0]);
    for letter in &letters {
        let text = |name: &str| match &letter[name] {
            Value::String(text) => output::plain(text),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        table.row(["id", "diedAt", "stage", "reason", "orgId", "endpointId", "type", "deliveryId"].map(text));
    }
    table.lines().into_iter().try_for_each(output::line)?;
    if cursor.is_some() { output::line("there are more; -n shows more") } else { Ok(()) }
}

async fn show(api: &ApiClient, id: u64, as_json: bool) -> Result<(), Error> {
    let letter = api.get(&format!("/dead-letters/{id}"), &[]).await;
    let letter: Value = letter.map_err(|error| Named::LETTER.or(id, error))?;
    if as_json {
        return output::line(letter);
    }
    let members = letter.as_object().into_iter().flatten();
    for (name, value) in
        members.filter(|(name, value)| !matches!(name.as_str(), "headers" | "body") && !value.is_null())
    {
        output::line(format!("{name}: {}", shown(value)))?;
    }
    for pair in letter["headers"].as_array().into_iter().flatten() {
        output::line(format!("  {}: {}", shown(&pair[0]), shown(&pair[1])))?;
    }
    match letter["body"].as_str() {
        Some(body) => output::line(body.lines().map(output::plain).collect::<Vec<_>>().join("\n")),
        None => Ok(()),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), output::plain)
}

/// Sends back or drops, in as many requests as it takes.
async fn deal(api: &ApiClient, path: &str, chosen: &ChosenArgs, as_json: bool) -> Result<(), Error> {
    let mut body = filter(&chosen.which);
    if !chosen.ids.is_empty() {
        body.insert("ids".to_owned(), chosen.ids.clone().into());
    }
    if chosen.all {
        body.insert("all".to_owned(), true.into());
    }
    let ids = chosen.ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let (mut redriven, mut dropped, mut skipped) = (0, 0, BTreeMap::<String, u64>::new());
    loop {
        let done = api.post(path, &body).await;
        let done: Done = done.map_err(|error| if ids.is_empty() { error } else { Named::LETTER.or(&ids, error) })?;
        redriven += done.redriven.unwrap_or_default();
        dropped += done.dropped.unwrap_or_default();
        for (why, count) in done.skipped {
            *skipped.entry(why).or_default() += count;
        }
        let Some(next) = done.next_cursor else { break };
        body.insert("cursor".to_owned(), next.into());
    }
    if as_json {
        return output::line(json!({ "redriven": redriven, "dropped": dropped, "skipped": skipped }));
    }
    match path.ends_with("drop") {
        true => output::line(format!("dropped {dropped}"))?,
        false => output::line(format!("sent back {redriven}"))?,
    }
    skipped.iter().try_for_each(|(why, count)| output::line(format!("left {count}: {why}")))
}
