//! The table `links`.

use schemas::{Level, filter::Sync};
use sqlx::{Any, AnyConnection, AnyPool, Executor, any::AnyRow};

use store::{Columns, Db};
use web::Paging;

use super::{Page, connections, page};
use crate::{
    connection::Connection,
    error::Error,
    link::{Link, LinkStatus, NewLink},
};

/// A link and its connection, read at one moment: its route depends on both.
macro_rules! with_connection {
    ($rest:literal) => {
        concat!(
            "select links.*, c.id as c_id, c.org_id as c_org_id, c.provider as c_provider, c.account as c_account,
             c.status as c_status, c.generation as c_generation, c.version as c_version, c.created_at as c_created_at
             from links join connections c on c.id = links.connection_id ",
            $rest
        )
    };
}

/// Inserts a link, or revives a removed one; none where an active one exists.
pub(crate) async fn insert_or_revive(
    db: &mut AnyConnection,
    id: &str,
    connection: &str,
    new: &NewLink,
    now: i64,
) -> Result<Option<Link>, Error> {
    let events = new.sync.events.as_ref().map(serde_json::to_string).transpose().map_err(Error::Encode)?;
    let row = sqlx::query(
        "insert into links (id, connection_id, level, kind, target, resource_name, workspace_id, sync_events,
                            auto_sync, status, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', 1, $10, $10)
         on conflict (connection_id, level, target, workspace_id) do update
         set kind = excluded.kind, resource_name = excluded.resource_name, sync_events = excluded.sync_events,
             auto_sync = excluded.auto_sync, status = 'active', version = links.version + 1,
             updated_at = excluded.updated_at
         where links.status = 'removed'
         returning *",
    )
    .bind(id)
    .bind(connection)
    .bind(new.level.as_str())
    .bind(&new.kind)
    .bind(&new.target)
    .bind(new.name.as_deref())
    .bind(new.workspace.as_deref().unwrap_or_default())
    .bind(events)
    .bind(new.sync.auto_sync.map(i64::from))
    .bind(now)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// The id of the link that stands for the same thing.
pub(crate) async fn twin(
    db: impl Executor<'_, Database = Any>,
    connection: &str,
    new: &NewLink,
) -> Result<Option<String>, Error> {
    let id = sqlx::query_scalar(
        "select id from links where connection_id = $1 and level = $2 and target = $3 and workspace_id = $4",
    )
    .bind(connection)
    .bind(new.level.as_str())
    .bind(&new.target)
    .bind(new.workspace.as_deref().unwrap_or_default())
    .fetch_optional(db)
    .await?;
    Ok(id)
}

/// Removes an active link; none where there is no active one with this id.
pub(crate) async fn remove(
    db: &mut AnyConnection,
    connection: &str,
    id: &str,
    now: i64,
) -> Result<Option<Link>, Error> {
    let row = sqlx::query(
        "update links set status = 'removed', version = version + 1, updated_at = $1
         where id = $2 and connection_id = $3 and status = 'active' returning *",
    )
    .bind(now)
    .bind(id)
    .bind(connection)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Counts up the versions of a connection's active links: their routes changed with the connection.
pub(crate) async fn touch_all(db: &mut AnyConnection, connection: &str, now: i64) -> Result<(), Error> {
    sqlx::query(
        "update links set version = version + 1, updated_at = $1 where connection_id = $2 and status = 'active'",
    )
    .bind(now)
    .bind(connection)
    .execute(db)
    .await?;
    Ok(())
}

/// A connection's link, whatever its status.
pub(crate) async fn exists(db: impl Executor<'_, Database = Any>, connection: &str, id: &str) -> Result<bool, Error> {
    let query = sqlx::query("select id from links where id = $1 and connection_id = $2");
    Ok(query.bind(id).bind(connection).fetch_optional(db).await?.is_some())
}

/// A connection's next active links, the oldest first.
pub(crate) async fn list(db: &AnyPool, connection: &str, paging: &Paging) -> Result<Vec<Link>, Error> {
    let query = sqlx::query(
        "select * from links
         where connection_id = $1 and status = 'active' and (created_at > $2 or (created_at = $2 and id > $3))
         order by created_at, id limit $4",
    )
    .bind(connection)
    .bind(paging.after.created_at)
    .bind(&paging.after.id)
    .bind(paging.rows());
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// A link and its connection.
pub(crate) async fn get(db: &AnyPool, id: &str) -> Result<Option<(Link, Connection)>, Error> {
    let query = sqlx::query(with_connection!("where links.id = $1"));
    query.bind(id).fetch_optional(db).await?.as_ref().map(read_both).transpose()
}

/// The next links, with their connections, in the order of their ids.
pub(crate) async fn after(db: &AnyPool, id: &str, limit: i64) -> Result<Page<(Link, Connection)>, Error> {
    let query = sqlx::query(with_connection!("where links.id > $1 order by links.id limit $2"));
    page(&query.bind(id).bind(limit).fetch_all(db).await?, read_both)
}

/// Moves the version of an unchanged row beyond what the bucket holds. Tells whether the row was unchanged.
pub(crate) async fn raise(db: &Db, id: &str, from: i64, to: i64) -> Result<bool, Error> {
    let mut write = db.begin().await?;
    let query = sqlx::query("update links set version = $1 where id = $2 and version = $3");
    let raised = query.bind(to).bind(id).bind(from).execute(&mut *write).await?.rows_affected() > 0;
    write.commit().await?;
    Ok(raised)
}

fn read_both(row: &AnyRow) -> Result<(Link, Connection), Error> {
    Ok((read(row)?, connections::read(row, "c_")?))
}

fn read(row: &AnyRow) -> Result<Link, Error> {
    let columns = Columns { row, table: "links", prefix: "" };
    let events = columns.optional_text("sync_events")?.map(|text| serde_json::from_str(&text));
    let events = events.transpose().map_err(|_| columns.impossible("sync_events"))?;
    let auto_sync = match columns.optional_number("auto_sync")? {
        None => None,
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(_) => return Err(columns.impossible("auto_sync").into()),
    };
    Ok(Link {
        id: columns.text("id")?,
        connection: columns.text("connection_id")?,
        level: columns.known("level", Level::parse)?,
        kind: columns.text("kind")?,
        target: columns.text("target")?,
        name: columns.optional_text("resource_name")?,
        workspace: Some(columns.text("workspace_id")?).filter(|workspace| !workspace.is_empty()),
        sync: Sync { events, auto_sync },
        status: columns.known("status", LinkStatus::parse)?,
        version: columns.number("version")?,
        created_at: columns.number("created_at")?,
    })
}
