//! What the database may fail with.

/// The database failed, or holds what nothing may write.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A row holds what nothing may write.
    #[error("{table} {id}: {column} holds an impossible value")]
    Impossible {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// The column.
        column: &'static str,
    },
}

impl Error {
    /// Whether the database may answer the next time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use sqlx::Error as E;
        matches!(
            self,
            Self::Database(E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed)
        )
    }
}
