//! `gw trace`, `deliveries`, `audit` and `ledger`: what the ledger knows, through the API.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_client::{ApiClient, Named, segment},
    config::{AuditArgs, DeliveriesArgs, LedgerAction, LedgerArgs, TraceArgs},
    error::Error,
    output::{self, Table, plain},
};

mod timeline;

/// The terms of each equation, in the order they are shown.
const EQUATIONS: [(&str, &str, &[&str]); 3] = [
    (
        "providers",
        "provider",
        &["stored", "pending", "parked", "dead", "routed", "filtered", "expired", "lost", "error"],
    ),
    ("organisations", "orgId", &["claims", "events", "filtered", "error"]),
    (
        "endpoints",
        "endpointId",
        &["admitted", "delivered", "pending", "scheduled", "dead", "dropped", "expired", "lost", "timers", "error"],
    ),
];

/// `gw trace`.
pub(crate) async fn trace(args: TraceArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    let delivery = match args.delivery {
        Some(delivery) => delivery,
        None => newest(&api, args.provider.as_deref()).await?,
    };
    let all = schemas::provider::ALL.iter().map(|provider| provider.id.to_owned());
    let providers: Vec<String> = args.provider.map_or_else(|| all.collect(), |provider| vec![provider]);
    let mut refused = None;
    for provider in &providers {
        let path = format!("/deliveries/{provider}/{}", segment(&delivery));
        match api.get::<Value>(&path, &[]).await {
            Ok(found) if args.json => return pretty(&found),
            Ok(found) => return timeline::show(&found).into_iter().try_for_each(output::line),
            Err(error @ Error::Answer { status: 404, .. }) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    let none = || Error::Usage("there is no provider to ask".to_owned());
    Err(refused.map_or_else(none, |error| Named::DELIVERY.or(&delivery, error)))
}

/// The id of the delivery that came last.
async fn newest(api: &ApiClient, provider: Option<&str>) -> Result<String, Error> {
    let mut query = vec![("limit", "1")];
    query.extend(provider.map(|provider| ("provider", provider)));
    let page: Value = api.get("/deliveries", &query).await?;
    let newest = page["deliveries"][0]["deliveryId"].as_str().map(str::to_owned);
    newest.ok_or_else(|| Error::Usage("there is no delivery yet: `gw send github` makes one".to_owned()))
}

fn pretty(value: &Value) -> Result<(), Error> {
    output::line(format_args!("{value:#}"))
}

/// `gw deliveries`.
pub(crate) async fn deliveries(args: DeliveriesArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    let limit = args.limit.map(|limit| limit.to_string());
    let given = [
        ("orgId", &args.org),
        ("provider", &args.provider),
        ("type", &args.kind),
        ("status", &args.status),
        ("endpointId", &args.endpoint),
        ("since", &args.since),
        ("until", &args.until),
        ("limit", &limit),
        ("cursor", &args.cursor),
    ];
    let query: Vec<(&str, &str)> = given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let page: Value = api.get("/deliveries", &query).await?;
    if args.json {
        return pretty(&page);
    }
    let mut table = Table::new(&["stored", "provider", "delivery", "status", "event", "organisations"], &[]);
    for delivery in page["deliveries"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(delivery[name].as_str().unwrap_or_default());
        let orgs = delivery["orgIds"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let orgs = plain(&orgs.collect::<Vec<_>>().join(", "));
        table.row([text("storedAt"), text("provider"), text("deliveryId"), text("status"), text("event"), orgs]);
    }
    table.lines().into_iter().try_for_each(output::line)?;
    match page["nextCursor"].as_str() {
        Some(cursor) => output::line(format!("there are more: --cursor {cursor}")),
        None => Ok(()),
    }
}

/// `gw audit`.
pub(crate) async fn audit(args: AuditArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    let at = args.at.map(|at| at.to_string());
    let query: Vec<(&str, &str)> = at.iter().map(|at| ("at", at.as_str())).collect();
    let report: Value = api.get("/audit", &query).await?;
    if args.json {
        pretty(&report)?;
    } else {
        output::line(format!("at GW_WEBHOOK {}", report["at"]))?;
        for (member, id, terms) in EQUATIONS {
            equation(&report[member], id, terms)?;
        }
    }
    match report["error"].as_i64() {
        Some(0) if args.json => Ok(()),
        Some(0) => output::line("it adds up"),
        error => Err(Error::AddsUp { error: error.unwrap_or(-1) }),
    }
}

fn equation(rows: &Value, id: &'static str, terms: &[&str]) -> Result<(), Error> {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return Ok(());
    }
    let heads: Vec<&str> = std::iter::once(id).chain(terms.iter().copied()).collect();
    let mut table = Table::new(&heads, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for row in rows {
        let numbers = terms.iter().map(|term| row[*term].to_string());
        table.row(std::iter::once(plain(row[id].as_str().unwrap_or_default())).chain(numbers));
    }
    output::line("")?;
    table.lines().into_iter().try_for_each(output::line)
}

#[derive(Deserialize)]
struct Asked {
    status: String,
}

/// `gw ledger`.
pub(crate) async fn run(args: LedgerArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    match args.action {
        LedgerAction::Rebuild => {
            let asked: Asked = api.post("/ledger/rebuild", &json!({})).await?;
            output::line(format!("{}: `gw ledger status` shows how far it is", asked.status))
        }
        LedgerAction::Status { json } => {
            let state: Value = api.get("/ledger", &[]).await?;
            if json {
                return pretty(&state);
            }
            let columns = ["stream", "sequence", "last", "lag", "missed", "sealed"];
            let mut table = Table::new(&columns, &[1, 2, 3, 4, 5]);
            for stream in state["streams"].as_array().into_iter().flatten() {
                let numbers = columns[1..].iter().map(|column| stream[*column].to_string());
                table.row(std::iter::once(stream["stream"].as_str().unwrap_or_default().to_owned()).chain(numbers));
            }
            table.lines().into_iter().try_for_each(output::line)?;
            if state["rebuilding"] == json!(true) { output::line("a rebuild is about to begin") } else { Ok(()) }
        }
    }
}
