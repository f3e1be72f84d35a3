//! The SQL, as free functions: the same text on SQLite and PostgreSQL.

pub(crate) mod connections;
pub(crate) mod links;
pub(crate) mod outbox;

use sqlx::{Row as _, any::AnyRow};

use crate::error::Error;

/// Rows by their ids; what a row holds may be impossible.
pub(crate) type Page<T> = Vec<(String, Result<T, Error>)>;

/// Reads a page, each row by itself.
fn page<T>(rows: &[AnyRow], read: impl Fn(&AnyRow) -> Result<T, Error>) -> Result<Page<T>, Error> {
    rows.iter().map(|row| Ok((row.try_get("id")?, read(row)))).collect()
}
