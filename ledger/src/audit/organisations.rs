//! Claims = filtered + events, for each organisation.
//!
//! The stream says which events there are, and the router who got one where several claimed a delivery. Where one
//! organisation did, its delivery is lost without its event, and the providers' equation says so.

use std::collections::{BTreeMap, BTreeSet};

use schemas::subject;
use serde::Serialize;
use sqlx::AssertSqlSafe;
use store::Columns;
use utoipa::ToSchema;

use super::{Between, Moment, young::Young};
use crate::{error::Error, source::Source};

/// More organisations than this are counted together.
const SEPARATE: usize = 256;
/// The name they have then.
const ALL: &str = "*";
/// An outcome may be older by this than its events are kept, milliseconds.
const SLACK: i64 = 600_000;

/// The terms of an organisation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditOrganisation)]
pub(crate) struct Organisation {
    org_id: String,
    /// As the router and the streams say, and what they have given up.
    claims: i64,
    events: i64,
    filtered: i64,
    /// The router said that there is an event, and nobody has seen one.
    missing: i64,
    pub(super) error: i64,
    /// The stream holds so many that no row tells of; below 0, so many rows whose event it does not hold.
    #[serde(skip)]
    unseen: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    events: i64,
    gone: i64,
    filtered: i64,
    /// The router said that there is an event, and nobody has seen one.
    missing: i64,
}

pub(super) async fn add_up(moment: &Moment<'_>) -> Result<Vec<Organisation>, Error> {
    let young = Young::of(moment, Source::Events).await?;
    let until = moment.extent(Source::Events)?.last;
    let mut counts = counts(moment, young, until).await?;
    for org in moment.ids("organisation").collect::<BTreeSet<_>>() {
        counts.entry(org).or_default();
    }
    let together = counts.len() > SEPARATE;
    let mut organisations = Vec::new();
    let mut all = Count::default();
    for (org, count) in &counts {
        all.events += count.events;
        all.gone += count.gone;
        all.filtered += count.filtered;
        all.missing += count.missing;
        if !together {
            let filters = subject::all_events_of(org);
            let stream = Between::count(moment, Source::Events, &filters, young.from, until).await?;
            organisations.push(one(moment, org, *count, stream));
        }
    }
    // Also what is of an organisation that no row names.
    let everything = [subject::EVENTS.to_owned(), subject::HISTORY_EVENTS.to_owned()];
    let stream = Between::count(moment, Source::Events, &everything, young.from, until).await?;
    let found = all.events - all.gone;
    let unseen = stream.near(found) - found;
    if together {
        organisations.push(Organisation::new(ALL.to_owned(), all.events, all.filtered, unseen, all.missing));
        return Ok(organisations);
    }
    let elsewhere = unseen - organisations.iter().map(|organisation| organisation.unseen).sum::<i64>();
    if elsewhere != 0 {
        organisations.push(Organisation::new(ALL.to_owned(), all.events, all.filtered, elsewhere, 0));
    }
    Ok(organisations)
}

fn one(moment: &Moment<'_>, org: &str, count: Count, stream: Between) -> Organisation {
    let (sealed, dropped) = (moment.total("organisation", org, "event"), moment.total("organisation", org, "filtered"));
    let found = count.events - count.gone;
    let (events, filtered) = (count.events + sealed, count.filtered + dropped);
    Organisation::new(org.to_owned(), events, filtered, stream.near(found) - found, count.missing)
}

impl Organisation {
    fn new(org_id: String, events: i64, filtered: i64, unseen: i64, missing: i64) -> Self {
        // What nobody has seen may be what the stream holds. What it lost is another thing, and does not make up for it.
        let (more, error) = match unseen {
            0.. => (unseen.max(missing), unseen.max(missing)),
            lost => (lost + missing, lost - missing),
        };
        Self { org_id, claims: events + filtered + more, events, filtered, missing, error, unseen }
    }
}

async fn counts(moment: &Moment<'_>, young: Young, until: i64) -> Result<BTreeMap<String, Count>, Error> {
    let pool = &moment.inner.deps.db.pool;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let sql = format!(
        "select org_id, count(*) as number, cast(sum(case when {} then 1 else 0 end) as bigint) as gone
         from events where sequence <= $1 group by org_id",
        Young::gone(2)
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(until);
    let query = query.bind(young.sealed).bind(young.made_at).bind(young.from).bind(young.aged);
    for row in &query.fetch_all(pool).await? {
        let columns = Columns { row, table: "events", prefix: "" };
        let (events, gone) = (columns.number("number")?, columns.number("gone")?);
        counts.insert(columns.text("org_id")?, Count { events, gone, ..Count::default() });
    }
    let said = moment.extent(Source::Outcomes)?.last;
    let filtered = sqlx::query("select org_id, count(*) as number from filtered where sequence <= $1 group by org_id");
    for row in &filtered.bind(said).fetch_all(pool).await? {
        let columns = Columns { row, table: "filtered", prefix: "" };
        counts.entry(columns.text("org_id")?).or_default().filtered = columns.number("number")?;
    }
    for (org, number) in missing(moment).await? {
        counts.entry(org).or_default().missing = number;
    }
    Ok(counts)
}

/// How many of the events that the router told of are in no row.
async fn missing(moment: &Moment<'_>) -> Result<Vec<(String, i64)>, Error> {
    let (events, until) = (moment.extent(Source::Events)?, moment.extent(Source::Outcomes)?.last);
    let kept = moment.now.saturating_sub(events.aged(moment.now));
    // Older events may be gone, from the rows or from a stream that was read anew.
    let oldest = (moment.now - moment.inner.retention).max(moment.now.saturating_sub(kept)).saturating_add(SLACK);
    let query = sqlx::query(
        "select a.org_id, count(*) as number from admitted a
         where a.sequence <= $1 and a.stored_at > $2 and a.stored_at >= $3
             and not exists (select 1 from events e where e.delivery_id = a.delivery_id
                 and e.provider = a.provider and e.org_id = a.org_id and e.stored_at >= a.stored_at - $4)
         group by a.org_id",
    );
    let query = query.bind(until).bind(oldest).bind(events.made_at()).bind(kept);
    let rows = query.fetch_all(&moment.inner.deps.db.pool).await?;
    let read = |row| {
        let columns = Columns { row, table: "admitted", prefix: "" };
        Ok((columns.text("org_id")?, columns.number("number")?))
    };
    rows.iter().map(read).collect()
}
