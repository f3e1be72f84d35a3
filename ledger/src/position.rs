//! How far each stream was read, and up to where of each rows were sealed into totals.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, Row as _};
use store::{Columns, Db, Error};

use crate::source::Source;

/// A place in a stream, and which stream of that name it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// When the stream was made, nanoseconds since the epoch.
    pub(crate) made: i64,
    /// The last message that was read.
    pub(crate) sequence: i64,
    /// Messages that the stream gave up before they were read.
    pub(crate) missed: i64,
}

/// A place in each stream.
pub(crate) type Positions = BTreeMap<Source, Position>;

/// How far each stream was read.
pub(crate) async fn load(db: &Db) -> Result<Positions, Error> {
    let rows = sqlx::query("select stream, made, sequence, missed from ledger_positions").fetch_all(&db.pool).await?;
    let mut positions = Positions::new();
    for row in &rows {
        let columns = Columns { row, table: "ledger_positions", prefix: "" };
        let position = Position {
            made: columns.number("made")?,
            sequence: columns.number("sequence")?,
            missed: columns.number("missed")?,
        };
        positions.insert(columns.known("stream", Source::parse)?, position);
    }
    Ok(positions)
}

/// Keeps how far a stream was read, in the transaction that wrote what was read.
pub(crate) async fn save(db: &mut AnyConnection, source: Source, position: Position) -> Result<(), Error> {
    sqlx::query(
        "insert into ledger_positions (stream, made, sequence, missed) values ($1, $2, $3, $4)
         on conflict (stream) do update set made = excluded.made, sequence = excluded.sequence, missed = excluded.missed",
    )
    .bind(source.stream())
    .bind(position.made)
    .bind(position.sequence)
    .bind(position.missed)
    .execute(db)
    .await?;
    Ok(())
}

/// The last place of a stream that a row was made of: it may be behind the place up to where it was read last, where
/// the broker lost what it had handed out.
pub(crate) async fn known(db: &Db, source: Source, position: Position) -> Result<i64, Error> {
    let last = match source {
        Source::Webhooks => {
            "select sequence from deliveries where facts & 1 = 1 and stored_at >= $1 order by sequence desc limit 1"
        }
        Source::Events => "select sequence from events where stored_at >= $1 order by sequence desc limit 1",
        // Their rows are told apart by time, and stay.
        Source::Outcomes | Source::Attempts | Source::Letters => return Ok(0),
    };
    // What was stored before was in another stream of the name.
    let row = sqlx::query(last).bind(position.made / 1_000_000).fetch_optional(&db.pool).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Up to where rows of each stream were sealed; of another stream of the name, nothing was.
pub(crate) async fn sealed(db: &Db) -> Result<BTreeMap<Source, Position>, Error> {
    let rows = sqlx::query("select stream, made, sequence from ledger_sealed").fetch_all(&db.pool).await?;
    let mut sealed = BTreeMap::new();
    for row in &rows {
        let columns = Columns { row, table: "ledger_sealed", prefix: "" };
        let place = Position { made: columns.number("made")?, sequence: columns.number("sequence")?, missed: 0 };
        sealed.insert(columns.known("stream", Source::parse)?, place);
    }
    Ok(sealed)
}

/// Notes up to where rows of a stream are sealed, in the transaction that seals them.
pub(crate) async fn seal(db: &mut AnyConnection, source: Source, made: i64, sequence: i64) -> Result<(), Error> {
    sqlx::query(
        "insert into ledger_sealed (stream, made, sequence) values ($1, $2, $3)
         on conflict (stream) do update set made = excluded.made, sequence = excluded.sequence",
    )
    .bind(source.stream())
    .bind(made)
    .bind(sequence)
    .execute(db)
    .await?;
    Ok(())
}

/// The first number of a query that gives one.
pub(crate) fn only(row: &sqlx::any::AnyRow) -> Result<i64, Error> {
    Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or_default())
}
