//! Adds up: what was stored, claimed and admitted is somewhere, each term from a source of its own.
//!
//! First the routers' and endpoints' floors are read: everything at or below them is settled. Then how far the
//! streams go, and the ledger is waited for. So whatever a floor covers has its event, outcome or attempt in the
//! rows, unless it was lost.

mod earlier;
mod endpoints;
mod organisations;
mod providers;
mod young;

use std::{collections::BTreeMap, time::Duration};

use nats::topology::{self, ROUTER, ROUTER_HISTORY};
use schemas::cause::Chain;
use serde::Serialize;
use store::Columns;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use utoipa::ToSchema;

use crate::{Inner, error::Error, extent::Extent, lease, position, source::Source};

/// How often it is added up by itself, at most.
const PAUSE: Duration = Duration::from_secs(30);
/// Of the time, adding up takes this part at most.
const SHARE: u32 = 20;
/// How long the ledger is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Much moves while it is added up; what is wrong stays wrong.
const TRIES: usize = 4;
const AGAIN: Duration = Duration::from_millis(400);

/// What adding up led to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Audit)]
pub(crate) struct Report {
    /// Up to this delivery of `GW_WEBHOOK`, and what was stored of events and outcomes when it was.
    at: i64,
    /// How far the ledger has read, by stream.
    streams: BTreeMap<&'static str, i64>,
    /// Up to where the router is done, live and history.
    router: Floors,
    providers: Vec<providers::Provider>,
    organisations: Vec<organisations::Organisation>,
    endpoints: Vec<endpoints::Endpoint>,
    /// All errors together; 0 unless something was lost or is there twice.
    error: i64,
}

/// Up to where the router has dealt with deliveries.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = AuditFloors)]
pub(crate) struct Floors {
    live: i64,
    history: i64,
}

/// What all equations are added up at.
pub(crate) struct Moment<'a> {
    inner: &'a Inner,
    now: i64,
    at: i64,
    floors: Floors,
    extents: BTreeMap<Source, Extent>,
    /// Up to where rows are sealed.
    sealed: BTreeMap<Source, i64>,
    totals: Totals,
}

/// What gone rows had counted, by kind, id and state.
type Totals = BTreeMap<(String, String), BTreeMap<String, i64>>;

/// Adds up, and again where something does not: much moves meanwhile.
pub(crate) async fn run(inner: &Inner, at: Option<i64>) -> Result<Report, Error> {
    let mut tries = 1;
    let report = loop {
        match once(inner, at).await? {
            Some(report) if report.error == 0 || tries == TRIES => break report,
            None if tries == TRIES => return Err(Error::Rebuilding),
            _ => tries += 1,
        }
        sleep(AGAIN).await;
    };
    if at.is_some() {
        // The metrics tell of now.
        return Ok(report);
    }
    let errors = [
        ("provider", report.providers.iter().map(|provider| provider.error.abs()).sum()),
        ("organisation", report.organisations.iter().map(|organisation| organisation.error.abs()).sum()),
        ("endpoint", report.endpoints.iter().map(|endpoint| endpoint.error.abs()).sum()),
    ];
    inner.metrics.audited(inner.deps.clock.now(), errors);
    Ok(report)
}

/// Adds up now and then, for the metrics.
pub(crate) async fn watch(inner: &Inner) {
    let (mut pause, mut before) = (PAUSE / 6, 0);
    loop {
        sleep(pause).await;
        if !inner.metrics.is_writing() {
            continue;
        }
        let begun = Instant::now();
        match run(inner, None).await {
            Ok(report) => {
                if report.error != 0 && report.error != before {
                    warn!(error = report.error, "ledger.audit: it does not add up; `gw audit` tells more");
                }
                before = report.error;
            }
            Err(error) => debug!(error = %Chain(&error), "ledger.audit"),
        }
        pause = PAUSE.max(begun.elapsed() * SHARE);
    }
}

/// Nothing where a rebuild took rows away meanwhile.
async fn once(inner: &Inner, at: Option<i64>) -> Result<Option<Report>, Error> {
    let rebuilt = rebuilt(inner).await?;
    let floors = Floors { live: floor(inner, ROUTER).await?, history: floor(inner, ROUTER_HISTORY).await? };
    let pushed = endpoints::floors(inner).await?;
    let mut extents = BTreeMap::new();
    // What comes of a message is asked for before the message is.
    for source in Source::ALL.into_iter().rev() {
        extents.insert(source, Extent::ask(&inner.deps.broker, source.stream()).await?);
    }
    let streams = reached(inner, &extents).await?;
    let sealed = sealed(inner, &extents).await?;
    let at = match at {
        None => extents.get(&Source::Webhooks).map_or(0, |extent| extent.last),
        Some(at) => earlier::cut(inner, &mut extents, &sealed, at).await?,
    };
    let moment =
        Moment { inner, now: inner.deps.clock.now(), at, floors, sealed, extents, totals: totals(inner).await? };
    let providers = providers::add_up(&moment).await?;
    let organisations = organisations::add_up(&moment).await?;
    let endpoints = endpoints::add_up(&moment, &pushed).await?;
    let error = providers.iter().map(|provider| provider.error.abs()).sum::<i64>()
        + organisations.iter().map(|organisation| organisation.error.abs()).sum::<i64>()
        + endpoints.iter().map(|endpoint| endpoint.error.abs()).sum::<i64>();
    let report = Report { at: moment.at, streams, router: floors, providers, organisations, endpoints, error };
    Ok((lease::rebuilt(&inner.deps.db).await? == Some(rebuilt)).then_some(report))
}

/// Waits until no rebuild is under way, and tells which was the last.
async fn rebuilt(inner: &Inner) -> Result<i64, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(rebuilt) = lease::rebuilt(&inner.deps.db).await? {
            return Ok(rebuilt);
        }
        if Instant::now() > deadline {
            return Err(Error::Rebuilding);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Up to where a router is done; nothing where it has no consumer.
async fn floor(inner: &Inner, consumer: &str) -> Result<i64, Error> {
    let info = topology::find_consumer(&inner.deps.broker, topology::GW_WEBHOOK, consumer).await?;
    Ok(info.map_or(0, |info| i64::try_from(info.ack_floor.stream_sequence).unwrap_or(i64::MAX)))
}

/// Waits until the ledger has read what the streams held.
async fn reached(inner: &Inner, extents: &BTreeMap<Source, Extent>) -> Result<BTreeMap<&'static str, i64>, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let positions = position::load(&inner.deps.db).await?;
        let behind = extents.iter().find(|(source, extent)| {
            let position = positions.get(source).copied().unwrap_or_default();
            position.made != extent.made || position.sequence < extent.last
        });
        let Some((source, extent)) = behind else {
            let wished = endpoints::applied(inner).await?;
            if wished || Instant::now() > deadline {
                return Ok(positions.iter().map(|(source, position)| (source.stream(), position.sequence)).collect());
            }
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if Instant::now() > deadline {
            return Err(Error::Behind { stream: source.stream(), sequence: extent.last });
        }
        sleep(Duration::from_millis(25)).await;
    }
}

async fn sealed(inner: &Inner, extents: &BTreeMap<Source, Extent>) -> Result<BTreeMap<Source, i64>, Error> {
    let sealed = position::sealed(&inner.deps.db).await?;
    let same = |(source, place): (Source, position::Position)| {
        let made = extents.get(&source)?.made;
        (place.made == made).then_some((source, place.sequence))
    };
    Ok(sealed.into_iter().filter_map(same).collect())
}

async fn totals(inner: &Inner) -> Result<Totals, Error> {
    let mut totals = Totals::new();
    let rows = sqlx::query("select kind, id, state, number from ledger_totals").fetch_all(&inner.deps.db.pool).await?;
    for row in &rows {
        let columns = Columns { row, table: "ledger_totals", prefix: "" };
        let by_state = totals.entry((columns.text("kind")?, columns.text("id")?)).or_default();
        by_state.insert(columns.text("state")?, columns.number("number")?);
    }
    Ok(totals)
}

impl Moment<'_> {
    fn extent(&self, source: Source) -> Result<&Extent, Error> {
        self.extents.get(&source).ok_or(Error::NotFound)
    }

    fn sealed(&self, source: Source) -> i64 {
        self.sealed.get(&source).copied().unwrap_or_default()
    }

    /// When the oldest message of a full stream was stored: what it told of what is older, it may have given up. A stream
    /// that is not full gives up nothing before its time.
    async fn told(&self, source: Source) -> Result<i64, Error> {
        let extent = self.extent(source)?;
        let first = match u64::try_from(extent.first) {
            Ok(first) if extent.full && first > 0 => first,
            _ => return Ok(i64::MIN),
        };
        // The first that it had may be gone by now.
        let oldest = nats::next_from(&self.inner.deps.broker, source.stream(), first, ">").await?;
        Ok(oldest.map_or(i64::MIN, |message| message.stored_at))
    }

    /// A total of gone rows.
    fn total(&self, kind: &str, id: &str, state: &str) -> i64 {
        let by_state = self.totals.get(&(kind.to_owned(), id.to_owned()));
        by_state.and_then(|by_state| by_state.get(state)).copied().unwrap_or_default()
    }

    /// All totals of something.
    fn total_of(&self, kind: &str, id: &str) -> i64 {
        self.totals.get(&(kind.to_owned(), id.to_owned())).map_or(0, |by_state| by_state.values().sum())
    }

    /// Everything of a kind that has totals.
    fn ids(&self, kind: &str) -> impl Iterator<Item = String> {
        self.totals.keys().filter(move |(of, _)| of == kind).map(|(_, id)| id.clone())
    }
}

/// How many messages of a stream there were between two places, as far as can be told while more come.
#[derive(Clone, Copy, Debug)]
struct Between {
    least: i64,
    most: i64,
}

impl Between {
    async fn count(
        moment: &Moment<'_>,
        source: Source,
        filters: &[String],
        from: i64,
        until: i64,
    ) -> Result<Self, Error> {
        let (broker, stream) = (&moment.inner.deps.broker, source.stream());
        let place = |sequence: i64| u64::try_from(sequence).unwrap_or_default();
        // What comes after, before and after all is counted: the truth is between the two.
        let early = nats::count(broker, stream, filters, place(until + 1)).await?;
        let all = nats::count(broker, stream, filters, place(from.min(until + 1))).await?;
        let late = nats::count(broker, stream, filters, place(until + 1)).await?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Self { least: number(all) - number(late), most: number(all) - number(early) })
    }

    /// The count that is nearest to this.
    fn near(self, number: i64) -> i64 {
        number.clamp(self.least, self.most.max(self.least))
    }
}
