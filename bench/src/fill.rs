//! Streams and buckets with much in them, made fast: atomic batches, several in flight.

use clap::Args;
use schemas::{
    header::{ACCOUNT, RESOURCE},
    route::{ROUTES, Route},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    batch::{self, Item},
    broker::NatsArgs,
    error::Error,
    sample::{self, Ids, Sample},
};

/// Links that an organisation has.
const LINKS_PER_ORG: usize = 20;

/// `gw-bench fill`.
#[derive(Debug, Args)]
pub(crate) struct FillArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[arg(long)]
    count: usize,
    /// Accounts that the deliveries are of, in turn; `routes` links the same.
    #[arg(long, default_value_t = 1000)]
    accounts: usize,
    /// Bytes of a body; without it the push of 7 KiB.
    #[arg(long)]
    bytes: Option<usize>,
    #[command(flatten)]
    pace: Pace,
}

/// How much at once.
#[derive(Clone, Copy, Debug, Args)]
struct Pace {
    /// Messages in an atomic batch.
    #[arg(long, default_value_t = batch::MOST)]
    batch: usize,
    /// Batches in flight.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
}

/// `gw-bench routes`.
#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[arg(long)]
    count: usize,
    #[command(flatten)]
    pace: Pace,
}

/// Stores deliveries as the edge would have.
pub(crate) async fn deliveries(args: FillArgs) -> Result<Value, Error> {
    let sample = args.bytes.map_or_else(|| Sample::push(0), Sample::small)?;
    let message = sample.message()?;
    let mut ids = Ids::new(rand::random(), 0);
    store(&args.nats, args.count, args.pace, |number| {
        let (subject, mut headers) = message.with_id(&ids.next());
        let (account, repository) = sample::account(number % args.accounts.max(1));
        headers.insert(ACCOUNT, account.to_string());
        headers.insert(RESOURCE, repository.to_string());
        Ok(Item { subject, headers, body: message.body.clone() })
    })
    .await
}

/// `gw-bench events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    nats: NatsArgs,
    #[arg(long)]
    count: usize,
    /// Organisations that the events are of, in turn: those of the first `routes`.
    #[arg(long, default_value_t = 1)]
    orgs: usize,
    /// Bytes of a webhook's body; without it the push of 7 KiB.
    #[arg(long)]
    bytes: Option<usize>,
    #[command(flatten)]
    pace: Pace,
}

/// Stores events as the router would have.
pub(crate) async fn events(args: EventsArgs) -> Result<Value, Error> {
    let sample = args.bytes.map_or_else(|| Sample::push(0), Sample::small)?;
    let mut ids = Ids::new(rand::random(), 0);
    store(&args.nats, args.count, args.pace, |number| sample.event(&ids.next(), &org(number % args.orgs.max(1)))).await
}

/// The organisation of this number.
fn org(number: usize) -> String {
    format!("org_{number:026}")
}

/// Links one repository of each account.
pub(crate) async fn routes(args: RoutesArgs) -> Result<Value, Error> {
    store(&args.nats, args.count, args.pace, |number| {
        let (account, repository) = sample::account(number);
        let route = route(number, account.to_string(), repository.to_string());
        let body = serde_json::to_vec(&route)?.into();
        Ok(Item { subject: format!("$KV.{ROUTES}.{}", route.key()), headers: async_nats::HeaderMap::new(), body })
    })
    .await
}

/// A link as organisations make them: some with a filter, each for a workspace.
fn route(number: usize, account: String, target: String) -> Route {
    let own = number / LINKS_PER_ORG;
    let filter = || ["push", "pull_request", "issues"].map(Into::into).into();
    Route {
        version: 1,
        active: true,
        link_id: format!("lnk_{number:026}"),
        org_id: org(own),
        connection_id: format!("con_{own:026}"),
        generation: 1,
        provider: "github".into(),
        account,
        level: "resource".into(),
        target,
        workspace_id: Some(format!("wsp_{own:026}")),
        events: number.is_multiple_of(4).then(filter),
    }
}

async fn store(
    nats: &NatsArgs,
    count: usize,
    pace: Pace,
    mut make: impl FnMut(usize) -> Result<Item, Error>,
) -> Result<Value, Error> {
    let client = nats.bare().await?;
    let begun = Instant::now();
    let mut batches = JoinSet::new();
    let mut numbers = 0..count;
    loop {
        let items = numbers.by_ref().take(pace.batch).map(&mut make).collect::<Result<Vec<_>, _>>()?;
        if items.is_empty() {
            break;
        }
        let client = client.clone();
        batches.spawn(async move { batch::store(&client, items).await });
        if batches.len() >= pace.in_flight
            && let Some(stored) = batches.join_next().await
        {
            stored??;
        }
    }
    while let Some(stored) = batches.join_next().await {
        stored??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "count": count, "seconds": seconds, "per_second": (count as f64 / seconds).round() }))
}
