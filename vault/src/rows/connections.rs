//! The table `connections`.

use schemas::route::Status;
use sqlx::{Any, AnyConnection, AnyPool, Executor, any::AnyRow};

use store::{Columns, Db};
use web::Paging;

use super::{Page, page};
use crate::{
    connection::{Connection, NewConnection},
    error::Error,
};

/// Inserts a connection, or revives a revoked one with the next generation; none where one exists that is not
/// revoked.
pub(crate) async fn insert_or_revive(
    connection: &mut AnyConnection,
    id: &str,
    new: &NewConnection,
    now: i64,
) -> Result<Option<Connection>, Error> {
    let row = sqlx::query(
        "insert into connections (id, org_id, provider, account, status, generation, version, created_at, updated_at)
         values ($1, $2, $3, $4, 'active', 1, 1, $5, $5)
         on conflict (org_id, provider, account) do update
         set status = 'active', generation = connections.generation + 1, version = connections.version + 1,
             updated_at = excluded.updated_at
         where connections.status = 'revoked'
         returning *",
    )
    .bind(id)
    .bind(&new.org)
    .bind(new.provider)
    .bind(&new.account)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(|row| read(row, "")).transpose()
}

/// Takes a connection's row until the transaction ends, so that its status cannot change meanwhile.
pub(crate) async fn hold(connection: &mut AnyConnection, id: &str) -> Result<Option<Connection>, Error> {
    let row = sqlx::query("update connections set version = version where id = $1 returning *")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(|row| read(row, "")).transpose()
}

/// The connection with this id.
pub(crate) async fn get(db: &AnyPool, id: &str) -> Result<Option<Connection>, Error> {
    let row = sqlx::query("select * from connections where id = $1").bind(id).fetch_optional(db).await?;
    row.as_ref().map(|row| read(row, "")).transpose()
}

/// The organisation's connection of this account.
pub(crate) async fn find(
    db: impl Executor<'_, Database = Any>,
    new: &NewConnection,
) -> Result<Option<Connection>, Error> {
    let row = sqlx::query("select * from connections where org_id = $1 and provider = $2 and account = $3")
        .bind(&new.org)
        .bind(new.provider)
        .bind(&new.account)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(|row| read(row, "")).transpose()
}

/// The next connections, of all or of one organisation, the oldest first.
pub(crate) async fn list(db: &AnyPool, org: Option<&str>, paging: &Paging) -> Result<Vec<Connection>, Error> {
    let query = sqlx::query(
        "select * from connections
         where ($1 = '' or org_id = $1) and (created_at > $2 or (created_at = $2 and id > $3))
         order by created_at, id limit $4",
    )
    .bind(org.unwrap_or_default())
    .bind(paging.after.created_at)
    .bind(&paging.after.id)
    .bind(paging.rows());
    query.fetch_all(db).await?.iter().map(|row| read(row, "")).collect()
}

/// The next connections in the order of their ids.
pub(crate) async fn after(db: &AnyPool, id: &str, limit: i64) -> Result<Page<Connection>, Error> {
    let query = sqlx::query("select * from connections where id > $1 order by id limit $2");
    page(&query.bind(id).bind(limit).fetch_all(db).await?, |row| read(row, ""))
}

/// Moves the version of an unchanged row beyond what the bucket holds. Tells whether the row was unchanged.
pub(crate) async fn raise(db: &Db, id: &str, from: i64, to: i64) -> Result<bool, Error> {
    let mut write = db.begin().await?;
    let query = sqlx::query("update connections set version = $1 where id = $2 and version = $3");
    let raised = query.bind(to).bind(id).bind(from).execute(&mut *write).await?.rows_affected() > 0;
    write.commit().await?;
    Ok(raised)
}

/// Reads a connection whose columns have this prefix.
pub(super) fn read(row: &AnyRow, prefix: &'static str) -> Result<Connection, Error> {
    let columns = Columns { row, table: "connections", prefix };
    Ok(Connection {
        id: columns.text("id")?,
        org: columns.text("org_id")?,
        provider: columns.text("provider")?,
        account: columns.text("account")?,
        status: columns.known("status", Status::parse)?,
        generation: columns.number("generation")?,
        version: columns.number("version")?,
        created_at: columns.number("created_at")?,
    })
}
