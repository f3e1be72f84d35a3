//! Claims = filtered + events, for each organisation.

use std::collections::{BTreeMap, BTreeSet};

use schemas::subject;
use serde::Serialize;
use sqlx::AssertSqlSafe;
use store::Columns;
use utoipa::ToSchema;

use super::{Between, Moment, young::Young};
use crate::{error::Error, position, source::Source};

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
    /// As the streams count, and what they have given up.
    claims: i64,
    events: i64,
    filtered: i64,
    pub(super) error: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    events: i64,
    gone: i64,
    filtered: i64,
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
    let error = stream.near(found) - found;
    if together || error != organisations.iter().map(|organisation| organisation.error).sum::<i64>() {
        let (events, filtered) = (all.events, all.filtered);
        let claims = events + filtered + error;
        organisations.push(Organisation { org_id: ALL.to_owned(), claims, events, filtered, error });
    }
    Ok(organisations)
}

fn one(moment: &Moment<'_>, org: &str, count: Count, stream: Between) -> Organisation {
    let (sealed, dropped) = (moment.total("organisation", org, "event"), moment.total("organisation", org, "filtered"));
    let found = count.events - count.gone;
    let error = stream.near(found) - found;
    let (events, filtered) = (count.events + sealed, count.filtered + dropped);
    Organisation { org_id: org.to_owned(), claims: events + filtered + error, events, filtered, error }
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
        counts.insert(columns.text("org_id")?, Count { events, gone, filtered: 0 });
    }
    for row in &sqlx::query("select org_id, count(*) as number from filtered group by org_id").fetch_all(pool).await? {
        let columns = Columns { row, table: "filtered", prefix: "" };
        counts.entry(columns.text("org_id")?).or_default().filtered = columns.number("number")?;
    }
    Ok(counts)
}

/// How many of the events that outcomes tell of are in no row.
pub(super) async fn missing(moment: &Moment<'_>) -> Result<i64, Error> {
    let oldest = moment.now - moment.inner.retention + SLACK;
    let until = moment.extent(Source::Outcomes)?.last;
    let row = sqlx::query(
        "select cast(coalesce(sum(said - found), 0) as bigint) from (
             select o.events as said, (select count(*) from events e
                 where e.delivery_id = o.delivery_id and e.provider = o.provider) as found
             from outcomes o where o.events > 0 and o.sequence <= $1 and o.stored_at > $2) told
         where found < said",
    )
    .bind(until)
    .bind(oldest)
    .fetch_one(&moment.inner.deps.db.pool)
    .await?;
    Ok(position::only(&row)?)
}
