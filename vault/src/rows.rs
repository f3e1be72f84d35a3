//! The SQL, as free functions: the same text on SQLite and PostgreSQL.

pub(crate) mod connections;
pub(crate) mod links;
pub(crate) mod outbox;
