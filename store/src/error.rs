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
        match self {
            Self::Database(E::Database(error)) => error.code().is_some_and(|code| is_passing(&code)),
            Self::Database(E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed) => true,
            Self::Database(E::BeginFailed) => true,
            Self::Database(_) | Self::Impossible { .. } => false,
        }
    }
}

/// Whether a database says with this code that it cannot now.
///
/// SQLite gives a number whose low byte is 5 or 6 where another has the lock, 13 where the disk is full
/// (<https://sqlite.org/rescode.html>); PostgreSQL five letters, of which the first two or three are a class: 08
/// connections, 40 transactions to be tried again, 53 resources, 57P interventions of an operator
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn is_passing(code: &str) -> bool {
    match (code.len(), code.parse::<u32>()) {
        (5, _) => ["08", "40", "53", "57P"].iter().any(|class| code.starts_with(class)),
        (_, Ok(code)) => matches!(code & 0xff, 5 | 6 | 13),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_a_full_disk_and_a_restart_pass_and_a_broken_rule_does_not() {
        for code in ["5", "261", "517", "6", "262", "13", "08006", "40001", "40P01", "53300", "53100", "57P01"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["1", "19", "2067", "787", "11", "23505", "42601", "57014", ""] {
            assert!(!is_passing(code), "{code}");
        }
    }
}
