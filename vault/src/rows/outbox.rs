//! The table `outbox`.

use sqlx::{AnyConnection, AnyPool, any::AnyRow};

use crate::error::Error;
use store::{Columns, Db};

/// Whose row changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Connection,
    Link,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Link => "link",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Connection, Self::Link].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What subscribers are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Connected,
    Linked,
    Unlinked,
}

impl What {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Linked => "linked",
            Self::Unlinked => "unlinked",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Connected, Self::Linked, Self::Unlinked].into_iter().find(|what| what.as_str() == text)
    }
}

/// A row that changed, as the key of an outbox row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) subject: String,
    pub(crate) version: i64,
}

/// A change the broker may not know yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) key: Key,
    /// None where only the projection changed.
    pub(crate) what: Option<What>,
    pub(crate) at: i64,
}

/// Notes a change in the transaction that makes it.
pub(crate) async fn insert(db: &mut AnyConnection, key: &Key, what: What, now: i64) -> Result<(), Error> {
    sqlx::query("insert into outbox (kind, subject_id, version, what, created_at) values ($1, $2, $3, $4, $5)")
        .bind(key.kind.as_str())
        .bind(&key.subject)
        .bind(key.version)
        .bind(what.as_str())
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that the routes of a connection's active links changed with it.
pub(crate) async fn insert_links_of(db: &mut AnyConnection, connection: &str, now: i64) -> Result<(), Error> {
    sqlx::query(
        "insert into outbox (kind, subject_id, version, created_at)
         select 'link', id, version, $1 from links where connection_id = $2 and status = 'active'",
    )
    .bind(now)
    .bind(connection)
    .execute(db)
    .await?;
    Ok(())
}

/// The oldest changes, after as many as are skipped.
pub(crate) async fn oldest(db: &AnyPool, limit: i64, skipped: i64) -> Result<Vec<Pending>, Error> {
    let query = sqlx::query("select * from outbox order by created_at, kind, subject_id, version limit $1 offset $2");
    query.bind(limit).bind(skipped).fetch_all(db).await?.iter().map(read).collect()
}

/// Forgets changes that the broker knows.
pub(crate) async fn delete(db: &Db, keys: &[Key]) -> Result<(), Error> {
    let mut write = db.begin().await?;
    for key in keys {
        sqlx::query("delete from outbox where kind = $1 and subject_id = $2 and version = $3")
            .bind(key.kind.as_str())
            .bind(&key.subject)
            .bind(key.version)
            .execute(&mut *write)
            .await?;
    }
    write.commit().await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Pending, Error> {
    let columns = Columns { row, table: "outbox", prefix: "" };
    let key = Key {
        kind: columns.known("kind", Kind::parse)?,
        subject: columns.text("subject_id")?,
        version: columns.number("version")?,
    };
    let what = columns.optional_text("what")?;
    let what = what.map(|what| What::parse(&what).ok_or_else(|| columns.impossible("what"))).transpose()?;
    Ok(Pending { key, what, at: columns.number("created_at")? })
}
