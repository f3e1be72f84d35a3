//! What the streams held when a delivery was stored.

use std::collections::BTreeMap;

use schemas::fields::{Fault, Faults};
use sqlx::{AssertSqlSafe, Row as _};
use web::RequestError;

use crate::{Inner, error::Error, extent::Extent, source::Source};

/// Ends the streams where they ended when this delivery was stored. Gives its place.
///
/// # Errors
///
/// Where it is not stored yet, or what was known then is sealed.
pub(super) async fn cut(
    inner: &Inner,
    extents: &mut BTreeMap<Source, Extent>,
    sealed: &BTreeMap<Source, i64>,
    at: i64,
) -> Result<i64, Error> {
    let whole = extents.get(&Source::Webhooks).copied().ok_or(Error::NotFound)?;
    if at > whole.last {
        return Err(refused(format!("must be at most {}, the last that GW_WEBHOOK has stored", whole.last)));
    }
    if at == whole.last {
        return Ok(at);
    }
    let gone = |source| sealed.get(&source).copied().unwrap_or_default();
    if at < gone(Source::Webhooks) {
        return Err(refused("is before what the ledger keeps: GW_LEDGER_RETENTION rules that".to_owned()));
    }
    let stored_at = last(inner, Source::Webhooks, whole.made_at(), i64::MAX, at).await?.map(|(_, stored_at)| stored_at);
    for source in [Source::Events, Source::Outcomes] {
        let Some(extent) = extents.get_mut(&source) else { continue };
        let then = stored_at.unwrap_or(extent.made_at());
        let found = last(inner, source, extent.made_at(), then, extent.last).await?;
        // What was sealed is older.
        extent.last = found.map_or(gone(source), |(sequence, _)| sequence);
    }
    if let Some(extent) = extents.get_mut(&Source::Webhooks) {
        extent.last = at;
    }
    Ok(at)
}

fn refused(says: String) -> Error {
    RequestError::Query(Faults::one("at", Fault::Says(says.into()))).into()
}

/// The last row up to a place that was stored between two times: its place, and its time.
async fn last(inner: &Inner, source: Source, from: i64, to: i64, until: i64) -> Result<Option<(i64, i64)>, Error> {
    let table = match source {
        Source::Events => "events",
        Source::Outcomes => "outcomes",
        _ => "deliveries",
    };
    let sql = format!(
        "select sequence, stored_at from {table} where sequence <= $1 and stored_at >= $2 and stored_at <= $3
         order by sequence desc limit 1"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(until).bind(from).bind(to);
    let row = query.fetch_optional(&inner.deps.db.pool).await?;
    Ok(row.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?)
}
