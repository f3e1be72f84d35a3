//! The SQL, as free functions: the same text on SQLite and PostgreSQL.
//!
//! A transaction begins with its write. SQLite then waits for its turn at once, instead of failing when a read
//! turns into a write; and PostgreSQL holds the row that everything after it depends on.

pub(crate) mod connections;
pub(crate) mod links;
pub(crate) mod outbox;

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{Any, AnyConnection, AnyPool, Row as _, Transaction, any::AnyRow};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::Error;

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    pub(crate) pool: AnyPool,
    /// SQLite has one writer. In this process they queue here: in SQLite they would sleep and try again, and the
    /// unlucky would give up.
    writer: Option<Arc<Mutex<()>>>,
}

impl Db {
    pub(crate) fn new(pool: AnyPool) -> Self {
        let sqlite = pool.connect_options().database_url.scheme() == "sqlite";
        Self { pool, writer: sqlite.then(Arc::default) }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Write, Error> {
        let turn = match &self.writer {
            Some(writer) => Some(writer.clone().lock_owned().await),
            None => None,
        };
        Ok(Write { transaction: self.pool.begin().await?, _turn: turn })
    }
}

/// A transaction that writes; undone unless it is committed.
pub(crate) struct Write {
    transaction: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Write {
    pub(crate) async fn commit(self) -> Result<(), Error> {
        Ok(self.transaction.commit().await?)
    }
}

impl Deref for Write {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}

/// Rows by their ids; what a row holds may be impossible.
pub(crate) type Page<T> = Vec<(String, Result<T, Error>)>;

/// Reads a page, each row by itself.
fn page<T>(rows: &[AnyRow], read: impl Fn(&AnyRow) -> Result<T, Error>) -> Result<Page<T>, Error> {
    rows.iter().map(|row| Ok((row.try_get("id")?, read(row)))).collect()
}

/// A row, and whose columns these are: a join prefixes them.
struct Columns<'a> {
    row: &'a AnyRow,
    table: &'static str,
    prefix: &'static str,
}

impl Columns<'_> {
    fn name(&self, column: &str) -> String {
        format!("{}{column}", self.prefix)
    }

    fn text(&self, column: &str) -> Result<String, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    fn number(&self, column: &str) -> Result<i64, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    fn optional_number(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    /// A text that must be one of those known.
    fn known<T>(&self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        parse(&self.text(column)?).ok_or_else(|| self.impossible(column))
    }

    fn impossible(&self, column: &'static str) -> Error {
        // The row is known by its id, where that can still be read.
        Error::Impossible { table: self.table, id: self.text("id").unwrap_or_default(), column }
    }
}
