//! Seals old rows: what they count is added to totals and they are deleted, in one transaction and in small steps.
//!
//! Rows go in the order of their stream, so that one number says which are gone. What is not settled yet stays, and
//! goes when it is.

use sqlx::{AnyConnection, Row as _};
use store::{Columns, Error};

use crate::{
    Inner,
    maintain::STEP,
    position::{self, Position},
    source::Source,
    writer::Writer,
};

/// Steps of a table before the streams have their turn again.
const STEPS: usize = 16;

/// A table whose rows count for something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Deliveries,
    Events,
    Filtered,
}

impl Counted {
    pub(crate) const ALL: [Self; 3] = [Self::Deliveries, Self::Events, Self::Filtered];

    /// The stream the rows come from.
    pub(crate) fn source(self) -> Source {
        match self {
            Self::Deliveries => Source::Webhooks,
            Self::Events => Source::Events,
            Self::Filtered => Source::Outcomes,
        }
    }

    /// The next rows after a place: their places, and when they were stored.
    pub(crate) fn next(self) -> &'static str {
        match self {
            Self::Deliveries => {
                "select sequence, stored_at from deliveries where sequence > $1 order by sequence limit $2"
            }
            Self::Events => "select sequence, stored_at from events where sequence > $1 order by sequence limit $2",
            Self::Filtered => "select sequence, stored_at from outcomes where sequence > $1 order by sequence limit $2",
        }
    }

    /// The places of the next rows up to a place that were not settled when it was sealed, and are by now.
    fn left(self) -> &'static str {
        match self {
            Self::Deliveries => {
                "select sequence from deliveries where sequence <= $1 and state not in ('pending', 'parked')
                 order by sequence limit $2"
            }
            Self::Events => {
                "select sequence from pushes where sequence <= $1 and state not in ('pending', 'held', 'scheduled')
                 order by sequence limit $2"
            }
            Self::Filtered => "select sequence from filtered where sequence <= $1 order by sequence limit $2",
        }
    }

    /// What the settled rows between two places count.
    fn counts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Deliveries => &[(
                "provider",
                "select provider as id, state, count(*) as number from deliveries where sequence > $1 and sequence <= $2
                     and state not in ('pending', 'parked', 'unknown') group by provider, state",
            )],
            Self::Events => &[
                (
                    "organisation",
                    "select org_id as id, 'event' as state, count(*) as number from events
                     where sequence > $1 and sequence <= $2 group by org_id",
                ),
                (
                    "endpoint",
                    "select endpoint_id as id, state, count(*) as number from pushes
                     where sequence > $1 and sequence <= $2 and state not in ('pending', 'held', 'scheduled')
                     group by endpoint_id, state",
                ),
            ],
            Self::Filtered => &[(
                "organisation",
                "select org_id as id, 'filtered' as state, count(*) as number from filtered
                 where sequence > $1 and sequence <= $2 group by org_id",
            )],
        }
    }

    /// Deletes the rows that were counted, and those that count for nothing.
    fn deletes(self) -> &'static [&'static str] {
        match self {
            Self::Deliveries => &[
                "delete from deliveries where sequence > $1 and sequence <= $2 and state not in ('pending', 'parked')",
            ],
            Self::Events => &[
                "delete from events where sequence > $1 and sequence <= $2",
                "delete from pushes where sequence > $1 and sequence <= $2
                     and state not in ('pending', 'held', 'scheduled')",
            ],
            Self::Filtered => &[
                "delete from admitted where sequence > $1 and sequence <= $2",
                "delete from filtered where sequence > $1 and sequence <= $2",
                "delete from outcomes where sequence > $1 and sequence <= $2",
            ],
        }
    }

    /// Counts and deletes the settled rows between two places.
    pub(crate) async fn seal(self, db: &mut AnyConnection, after: i64, until: i64) -> Result<u64, Error> {
        let mut sealed = 0;
        for (kind, sql) in self.counts() {
            let rows = sqlx::query(*sql).bind(after).bind(until).fetch_all(&mut *db).await?;
            for row in &rows {
                let columns = Columns { row, table: "ledger_totals", prefix: "" };
                let number = columns.number("number")?;
                add(db, kind, &columns.text("id")?, &columns.text("state")?, number).await?;
                sealed += u64::try_from(number).unwrap_or_default();
            }
        }
        for sql in self.deletes() {
            sqlx::query(*sql).bind(after).bind(until).execute(&mut *db).await?;
        }
        Ok(sealed)
    }
}

/// Adds to a total.
pub(crate) async fn add(db: &mut AnyConnection, kind: &str, id: &str, state: &str, number: i64) -> Result<(), Error> {
    sqlx::query(
        "insert into ledger_totals (kind, id, state, number) values ($1, $2, $3, $4)
         on conflict (kind, id, state) do update set number = ledger_totals.number + excluded.number",
    )
    .bind(kind.to_owned())
    .bind(id.to_owned())
    .bind(state.to_owned())
    .bind(number)
    .execute(db)
    .await?;
    Ok(())
}

/// One step of each table. Tells whether this process still writes.
pub(crate) async fn run(writer: &mut Writer, inner: &Inner) -> Result<bool, Error> {
    let before = inner.deps.clock.now() - inner.retention;
    for counted in Counted::ALL {
        for _ in 0..STEPS {
            match step(writer, inner, counted, before).await? {
                Step::Lost => return Ok(false),
                Step::More => tokio::task::yield_now().await,
                Step::Enough => break,
            }
        }
    }
    forget(writer, before).await
}

/// What a step led to.
enum Step {
    /// Another process writes now.
    Lost,
    /// There is more to do.
    More,
    /// There is not.
    Enough,
}

async fn step(writer: &mut Writer, inner: &Inner, counted: Counted, before: i64) -> Result<Step, Error> {
    let source = counted.source();
    let made = writer.positions.get(&source).map_or(0, |position| position.made);
    let sealed = writer.sealed.get(&source).filter(|sealed| sealed.made == made).map_or(0, |sealed| sealed.sequence);
    let rows = sqlx::query(counted.next()).bind(sealed).bind(STEP).fetch_all(&writer.lease.db.pool).await?;
    let mut until = sealed;
    for row in &rows {
        // What was never seen in its stream has no time, and goes with those around it.
        if row.try_get::<Option<i64>, _>(1)?.is_some_and(|stored_at| stored_at >= before) {
            break;
        }
        until = row.try_get(0)?;
    }
    if until == sealed {
        return leftover(writer, inner, counted, sealed).await;
    }
    let Some(mut write) = writer.lease.begin().await? else { return Ok(Step::Lost) };
    let sealed_now = counted.seal(&mut write, sealed, until).await?;
    position::seal(&mut write, source, made, until).await?;
    write.commit().await?;
    writer.sealed.insert(source, Position { made, sequence: until, missed: 0 });
    inner.metrics.pruned(sealed_now);
    Ok(Step::More)
}

/// Seals what was not settled when those around it were sealed, and is by now.
async fn leftover(writer: &mut Writer, inner: &Inner, counted: Counted, sealed: i64) -> Result<Step, Error> {
    let rows = sqlx::query(counted.left()).bind(sealed).bind(STEP).fetch_all(&writer.lease.db.pool).await?;
    let Some(last) = rows.last() else { return Ok(Step::Enough) };
    let until: i64 = last.try_get(0)?;
    let Some(mut write) = writer.lease.begin().await? else { return Ok(Step::Lost) };
    let sealed_now = counted.seal(&mut write, 0, until).await?;
    write.commit().await?;
    inner.metrics.pruned(sealed_now);
    Ok(Step::More)
}

/// Deletes old rows that count for nothing.
async fn forget(writer: &mut Writer, before: i64) -> Result<bool, Error> {
    for (old, delete) in [
        (
            "select sequence from attempts where sequence in (select sequence from attempts order by sequence limit $2)
                 and stored_at < $1 order by sequence desc limit 1",
            "delete from attempts where sequence <= $1 and stored_at < $2",
        ),
        (
            "select sequence from letters where sequence in (select sequence from letters order by sequence limit $2)
                 and stored_at < $1 order by sequence desc limit 1",
            "delete from letters where sequence <= $1 and stored_at < $2",
        ),
    ] {
        for _ in 0..STEPS {
            let found = sqlx::query(old).bind(before).bind(STEP).fetch_optional(&writer.lease.db.pool).await?;
            let Some(row) = found else { break };
            let Some(mut write) = writer.lease.begin().await? else { return Ok(false) };
            sqlx::query(delete).bind(row.try_get::<i64, _>(0)?).bind(before).execute(&mut *write).await?;
            write.commit().await?;
        }
    }
    Ok(true)
}
