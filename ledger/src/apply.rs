//! Applies an endpoint's new wishes to the events and pushes that are in the tables already.

use sqlx::any::AnyRow;
use store::{Columns, Error};

use crate::{
    facts::{DeliveryKey, EventRow, PushKey},
    maintain::STEP,
    wishes::{Asked, Fate, Start, Wishes},
    writer::Writer,
};

/// Applies what is new of an endpoint. Tells whether this process still writes.
pub(crate) async fn run(writer: &mut Writer, wishes: &Wishes) -> Result<bool, Error> {
    let known =
        sqlx::query("select version from ledger_endpoints where endpoint_id = $1").bind(wishes.endpoint.clone());
    let known = known.fetch_optional(&writer.lease.db.pool).await?;
    let known = known.map(|row| sqlx::Row::try_get::<i64, _>(&row, 0)).transpose()?;
    if known == Some(wishes.newest()) {
        return Ok(true);
    }
    let since = known.and_then(|version| wishes.changed_after(version));
    if !admit(writer, wishes, since).await? || (known.is_some() && !drop_unwanted(writer, wishes).await?) {
        return Ok(false);
    }
    let Some(mut write) = writer.lease.begin().await? else { return Ok(false) };
    sqlx::query(
        "insert into ledger_endpoints (endpoint_id, version) values ($1, $2)
         on conflict (endpoint_id) do update set version = excluded.version",
    )
    .bind(wishes.endpoint.clone())
    .bind(wishes.newest())
    .execute(&mut *write)
    .await?;
    write.commit().await?;
    Ok(true)
}

/// Makes the pushes of events that came before their endpoint was known, or its change.
async fn admit(writer: &mut Writer, wishes: &Wishes, since: Option<i64>) -> Result<bool, Error> {
    let (mut after, mut not_before) = match wishes.start {
        Start::Sequence(sequence) => (sequence - 1, i64::MIN),
        Start::Time(at) => (0, at),
    };
    not_before = not_before.max(since.unwrap_or(i64::MIN));
    loop {
        let rows = sqlx::query(
            "select * from events where org_id = $1 and sequence > $2 and stored_at >= $3 order by sequence limit $4",
        )
        .bind(wishes.org.clone())
        .bind(after)
        .bind(not_before)
        .bind(STEP)
        .fetch_all(&writer.lease.db.pool)
        .await?;
        let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = events.last() else { return Ok(true) };
        after = last.sequence;
        let pushes: Vec<_> = events
            .iter()
            .filter_map(|event| {
                let key = PushKey { event: event.id.clone(), endpoint: wishes.endpoint.clone() };
                Some((key, wishes.push(event)?))
            })
            .collect();
        let Some(mut write) = writer.lease.begin().await? else { return Ok(false) };
        writer.statements.insert(&mut write, &pushes).await?;
        write.commit().await?;
    }
}

/// Drops the pushes that wait and that the endpoint wants no more; forgets those it never wanted.
async fn drop_unwanted(writer: &mut Writer, wishes: &Wishes) -> Result<bool, Error> {
    let mut after = 0;
    loop {
        let rows = sqlx::query(
            "select e.* from pushes p join events e on e.sequence = p.sequence and e.event_id = p.event_id
             where p.endpoint_id = $1 and p.state = 'pending' and p.sequence > $2 order by p.sequence limit $3",
        )
        .bind(wishes.endpoint.clone())
        .bind(after)
        .bind(STEP)
        .fetch_all(&writer.lease.db.pool)
        .await?;
        let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = events.last() else { return Ok(true) };
        after = last.sequence;
        let Some(mut write) = writer.lease.begin().await? else { return Ok(false) };
        for event in &events {
            let changed = match wishes.fate(Asked::from(event)) {
                Fate::Wanted => continue,
                Fate::Gone(reason) => sqlx::query(
                    "update pushes set state = 'dropped', reason = $1
                     where event_id = $2 and endpoint_id = $3 and state = 'pending'",
                )
                .bind(reason),
                Fate::No => {
                    sqlx::query("delete from pushes where event_id = $1 and endpoint_id = $2 and state = 'pending'")
                }
            };
            changed.bind(event.id.clone()).bind(wishes.endpoint.clone()).execute(&mut *write).await?;
        }
        write.commit().await?;
    }
}

/// Reads a row of `events`.
pub(crate) fn event(row: &AnyRow) -> Result<EventRow, Error> {
    let columns = Columns { row, table: "events", prefix: "" };
    Ok(EventRow {
        sequence: columns.number("sequence")?,
        id: columns.text("event_id")?,
        org: columns.text("org_id")?,
        delivery: DeliveryKey {
            sequence: columns.number("delivery_sequence")?,
            provider: columns.text("provider")?,
            delivery: columns.text("delivery_id")?,
        },
        kind: columns.text("kind")?,
        origin: columns.text("origin")?,
        history: columns.number("history")? == 1,
        replay: columns.optional_text("replay")?,
        connection: columns.optional_text("connection_id")?,
        links: columns.optional_text("links")?,
        stored_at: columns.number("stored_at")?,
    })
}
