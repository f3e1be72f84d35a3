//! The tables `endpoints` and `endpoint_versions`, as free functions: the same text on SQLite and PostgreSQL.

use schemas::endpoint::{Endpoint, EndpointStatus, Format};
use sqlx::{AnyConnection, AnyPool, any::AnyRow};
use store::Columns;

use super::{
    Known, StartAt,
    row::{Previous, Row},
    wanted::Wanted,
};
use crate::error::Error;

/// Takes the organisation's oldest endpoint until the transaction ends, so that of two who make one at the same time
/// the second counts the first's. Gives how many there are.
pub(crate) async fn hold_and_count(db: &mut AnyConnection, org: &str) -> Result<i64, Error> {
    sqlx::query(
        "update endpoints set version = version
         where id = (select min(id) from endpoints where org_id = $1 and deleted_at is null)",
    )
    .bind(org)
    .execute(&mut *db)
    .await?;
    let count = sqlx::query_scalar("select count(*) from endpoints where org_id = $1 and deleted_at is null");
    Ok(count.bind(org).fetch_one(db).await?)
}

/// Inserts an endpoint.
pub(crate) async fn insert(db: &mut AnyConnection, row: &Row) -> Result<(), Error> {
    let (sequence, time) = match row.start {
        StartAt::Sequence(sequence) => (i64::try_from(sequence).ok(), None),
        StartAt::Time(time) => (None, Some(time)),
    };
    let endpoint = &row.endpoint;
    sqlx::query(
        "insert into endpoints (id, org_id, url, events, format, headers_sealed, timeout_seconds, retry_schedule,
                                concurrency, rate_per_second, ordered, history, status, start_sequence, start_time,
                                secret_sealed, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18)",
    )
    .bind(&endpoint.id)
    .bind(&endpoint.org_id)
    .bind(&endpoint.url)
    .bind(json(&endpoint.events)?)
    .bind(endpoint.format.as_str())
    .bind(row.headers.as_deref())
    .bind(i64::from(endpoint.timeout_seconds))
    .bind(json(&endpoint.retry_schedule)?)
    .bind(i64::from(endpoint.concurrency))
    .bind(endpoint.rate_per_second.map(i64::from))
    .bind(i64::from(endpoint.ordered))
    .bind(i64::from(endpoint.history))
    .bind(endpoint.status.as_str())
    .bind(sequence)
    .bind(time)
    .bind(&row.secret)
    .bind(row.version)
    .bind(row.created_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes everything of a row that may change, if it still has the version it was read with. Its version counts on.
pub(crate) async fn update(db: &mut AnyConnection, row: &Row, now: i64) -> Result<Option<Row>, Error> {
    let endpoint = &row.endpoint;
    let updated = sqlx::query(
        "update endpoints
         set url = $1, events = $2, format = $3, headers_sealed = $4, timeout_seconds = $5, retry_schedule = $6,
             concurrency = $7, rate_per_second = $8, ordered = $9, history = $10, status = $11, status_reason = $12,
             secret_sealed = $13, previous_secret_sealed = $14, previous_until = $15, updated_at = $16,
             version = version + 1
         where id = $17 and version = $18 and deleted_at is null returning *",
    )
    .bind(&endpoint.url)
    .bind(json(&endpoint.events)?)
    .bind(endpoint.format.as_str())
    .bind(row.headers.as_deref())
    .bind(i64::from(endpoint.timeout_seconds))
    .bind(json(&endpoint.retry_schedule)?)
    .bind(i64::from(endpoint.concurrency))
    .bind(endpoint.rate_per_second.map(i64::from))
    .bind(i64::from(endpoint.ordered))
    .bind(i64::from(endpoint.history))
    .bind(endpoint.status.as_str())
    .bind(row.reason.as_deref())
    .bind(&row.secret)
    .bind(row.previous.as_ref().map(|previous| previous.secret.as_str()))
    .bind(row.previous.as_ref().map(|previous| previous.until))
    .bind(now)
    .bind(&endpoint.id)
    .bind(row.version)
    .fetch_optional(db)
    .await?;
    updated.as_ref().map(read).transpose()
}

/// Disables an endpoint for a reason, if it still has this version; none where there is none to disable.
pub(crate) async fn disable(
    db: &mut AnyConnection,
    id: &str,
    version: i64,
    reason: &str,
    now: i64,
) -> Result<Option<Row>, Error> {
    let row = sqlx::query(
        "update endpoints set status = 'disabled', status_reason = $1, version = version + 1, updated_at = $2
         where id = $3 and version = $4 and deleted_at is null and status <> 'disabled' returning *",
    )
    .bind(reason)
    .bind(now)
    .bind(id)
    .bind(version)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Marks an endpoint as deleted and forgets its secrets. Gives the version that did it.
pub(crate) async fn delete(db: &mut AnyConnection, id: &str, now: i64) -> Result<Option<i64>, Error> {
    let version = sqlx::query_scalar(
        "update endpoints
         set deleted_at = $1, updated_at = $1, version = version + 1, secret_sealed = null, headers_sealed = null,
             previous_secret_sealed = null, previous_until = null
         where id = $2 and deleted_at is null returning version",
    );
    Ok(version.bind(now).bind(id).fetch_optional(db).await?)
}

/// Notes what an endpoint admits from now on.
pub(crate) async fn insert_version(
    db: &mut AnyConnection,
    endpoint: &Endpoint,
    version: i64,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(
        "insert into endpoint_versions (endpoint_id, version, org_id, events, history, from_at)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&endpoint.id)
    .bind(version)
    .bind(&endpoint.org_id)
    .bind(json(&endpoint.events)?)
    .bind(i64::from(endpoint.history))
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// The endpoint with this id.
pub(crate) async fn get(db: &AnyPool, id: &str) -> Result<Option<Row>, Error> {
    let query = sqlx::query("select * from endpoints where id = $1 and deleted_at is null").bind(id);
    query.fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// When an endpoint asked for history, where it did not from its beginning.
pub(crate) async fn history_from(db: &AnyPool, id: &str) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(
        "select min(from_at) from endpoint_versions
         where endpoint_id = $1 and version > (select max(version) from endpoint_versions
                                               where endpoint_id = $1 and history = 0)",
    );
    Ok(query.bind(id).fetch_one(db).await?)
}

/// What the table has of an id now.
pub(crate) async fn known(db: &AnyPool, id: &str) -> Result<Known, Error> {
    let query = sqlx::query_as::<_, (i64, i64)>(
        "select version, cast(case when deleted_at is null then 0 else 1 end as bigint) from endpoints where id = $1",
    );
    Ok(match query.bind(id).fetch_optional(db).await? {
        Some((version, 0)) => Known::Live { version },
        Some(_deleted) => Known::Deleted,
        None => Known::Never,
    })
}

/// The next endpoints, the oldest first; one more than the page holds, where there is one.
pub(crate) async fn page(db: &AnyPool, wanted: &Wanted) -> Result<Vec<Row>, Error> {
    let after = &wanted.paging.after;
    let query = sqlx::query(
        "select * from endpoints
         where deleted_at is null and ($1 = '' or org_id = $1) and ($2 = '' or status = $2)
           and (created_at > $3 or (created_at = $3 and id > $4))
         order by created_at, id limit $5",
    )
    .bind(wanted.org.as_deref().unwrap_or_default())
    .bind(wanted.status.map(EndpointStatus::as_str).unwrap_or_default())
    .bind(after.created_at)
    .bind(&after.id)
    .bind(wanted.paging.rows());
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// A number that grows with every change of any endpoint.
pub(crate) async fn changes(db: &AnyPool) -> Result<i64, Error> {
    let query = sqlx::query_scalar("select cast(coalesce(sum(version), 0) as bigint) from endpoints");
    Ok(query.fetch_one(db).await?)
}

/// The ids of all endpoints, with their versions.
pub(crate) async fn versions(db: &AnyPool) -> Result<Vec<(String, i64)>, Error> {
    Ok(sqlx::query_as("select id, version from endpoints where deleted_at is null").fetch_all(db).await?)
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::Encode)
}

fn read(row: &AnyRow) -> Result<Row, Error> {
    let columns = Columns { row, table: "endpoints", prefix: "" };
    let list = |column: &'static str| columns.text(column);
    let narrow = |column: &'static str| -> Result<u16, Error> {
        u16::try_from(columns.number(column)?).map_err(|_| columns.impossible(column).into())
    };
    let rate = columns.optional_number("rate_per_second")?.map(u32::try_from).transpose();
    let sequence = columns.optional_number("start_sequence")?.map(u64::try_from).transpose();
    let start =
        match (sequence.map_err(|_| columns.impossible("start_sequence"))?, columns.optional_number("start_time")?) {
            (Some(sequence), None) => StartAt::Sequence(sequence),
            (None, Some(time)) => StartAt::Time(time),
            _ => return Err(columns.impossible("start_time").into()),
        };
    let previous = columns.optional_text("previous_secret_sealed")?.zip(columns.optional_number("previous_until")?);
    Ok(Row {
        endpoint: Endpoint {
            id: columns.text("id")?,
            org_id: columns.text("org_id")?,
            url: columns.text("url")?,
            events: serde_json::from_str(&list("events")?).map_err(|_| columns.impossible("events"))?,
            format: columns.known("format", Format::parse)?,
            headers: std::collections::BTreeMap::new(),
            timeout_seconds: narrow("timeout_seconds")?,
            retry_schedule: serde_json::from_str(&list("retry_schedule")?)
                .map_err(|_| columns.impossible("retry_schedule"))?,
            concurrency: narrow("concurrency")?,
            rate_per_second: rate.map_err(|_| columns.impossible("rate_per_second"))?,
            ordered: flag(&columns, "ordered")?,
            history: flag(&columns, "history")?,
            status: columns.known("status", EndpointStatus::parse)?,
        },
        headers: columns.optional_text("headers_sealed")?,
        secret: columns.text("secret_sealed")?,
        previous: previous.map(|(secret, until)| Previous { secret, until }),
        reason: columns.optional_text("status_reason")?,
        start,
        version: columns.number("version")?,
        created_at: columns.number("created_at")?,
    })
}

fn flag(columns: &Columns<'_>, column: &'static str) -> Result<bool, Error> {
    match columns.number(column)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(columns.impossible(column).into()),
    }
}
