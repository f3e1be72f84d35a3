//! The database: SQLite or PostgreSQL, its migrations, and one writer at a time.
//!
//! The SQL of a service stands in the service: the same text for both databases. A transaction begins with its
//! write. SQLite then waits for its turn at once, instead of failing when a read turns into a write; and PostgreSQL
//! holds the row that everything after it depends on.

mod columns;
mod error;
#[cfg(feature = "testing")]
pub mod testing;

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

pub use columns::Columns;
pub use error::Error;
use sqlx::{
    Any, AnyConnection, AnyPool, Transaction,
    migrate::{MigrateError, Migrator},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The migrations of the whole gateway, the same for SQLite and PostgreSQL.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// The database.
#[derive(Clone, Debug)]
pub struct Db {
    /// For what only reads.
    pub pool: AnyPool,
    /// SQLite has one writer. In this process they queue here: in SQLite they would sleep and try again, and the
    /// unlucky would give up.
    writer: Option<Arc<Mutex<()>>>,
}

impl Db {
    /// The database behind a pool. All services of a process share one.
    #[must_use]
    pub fn new(pool: AnyPool) -> Self {
        let sqlite = pool.connect_options().database_url.scheme() == "sqlite";
        Self { pool, writer: sqlite.then(Arc::default) }
    }

    /// Whether it is SQLite.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.writer.is_some()
    }

    /// Begins a transaction that writes.
    pub async fn begin(&self) -> Result<Write, Error> {
        let turn = match &self.writer {
            Some(writer) => Some(writer.clone().lock_owned().await),
            None => None,
        };
        Ok(Write { transaction: self.pool.begin().await?, _turn: turn })
    }
}

/// A transaction that writes; undone unless it is committed.
#[derive(Debug)]
pub struct Write {
    transaction: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Write {
    /// Keeps what was written.
    pub async fn commit(self) -> Result<(), Error> {
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

/// Brings the database to the newest migration.
pub async fn migrate(db: &AnyPool) -> Result<(), MigrateError> {
    const TRIES: u32 = 3;
    const PAUSE: Duration = Duration::from_millis(200);
    // SQLite has no migration lock: of two processes that start on a new file, one may find the other's tables.
    for _ in 1..TRIES {
        if MIGRATOR.run(db).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    MIGRATOR.run(db).await
}
