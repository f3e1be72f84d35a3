//! The table `api_keys`.

use data_encoding::HEXLOWER;
use schemas::caller::Scope;
use sqlx::{AnyConnection, AnyPool, any::AnyRow};
use store::{Columns, Error};
use web::Paging;

use super::{ActiveKey, Hash, Key};

/// Inserts a key.
pub(super) async fn insert(db: &mut AnyConnection, key: &Key, hash: &Hash) -> Result<(), Error> {
    sqlx::query("insert into api_keys (id, name, org_id, scope, hash, created_at) values ($1, $2, $3, $4, $5, $6)")
        .bind(&key.id)
        .bind(key.name.as_deref())
        .bind(key.org.as_deref())
        .bind(key.scope.as_str())
        .bind(HEXLOWER.encode(hash))
        .bind(key.created_at)
        .execute(db)
        .await?;
    Ok(())
}

/// Revokes a key, of this organisation if one is named. Tells whether there was one to revoke.
pub(super) async fn revoke(db: &mut AnyConnection, id: &str, org: Option<&str>, now: i64) -> Result<bool, Error> {
    let query = sqlx::query(
        "update api_keys set revoked_at = $1 where id = $2 and revoked_at is null and ($3 = '' or org_id = $3)",
    );
    Ok(query.bind(now).bind(id).bind(org.unwrap_or_default()).execute(db).await?.rows_affected() > 0)
}

/// Notes that a key was used.
pub(super) async fn touch(db: &mut AnyConnection, id: &str, now: i64) -> Result<(), Error> {
    sqlx::query("update api_keys set last_used_at = $1 where id = $2").bind(now).bind(id).execute(db).await?;
    Ok(())
}

/// The next keys that are not revoked, the oldest first: all, or those of an organisation.
pub(super) async fn list(db: &AnyPool, org: Option<&str>, paging: &Paging) -> Result<Vec<Key>, Error> {
    let query = sqlx::query(
        "select * from api_keys
         where revoked_at is null and ($1 = '' or org_id = $1) and (created_at > $2 or (created_at = $2 and id > $3))
         order by created_at, id limit $4",
    )
    .bind(org.unwrap_or_default())
    .bind(paging.after.created_at)
    .bind(&paging.after.id)
    .bind(paging.rows());
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// What is needed to check keys.
pub(super) async fn active(db: &AnyPool) -> Result<Vec<ActiveKey>, Error> {
    let query = sqlx::query("select id, scope, org_id, hash, last_used_at from api_keys where revoked_at is null");
    query.fetch_all(db).await?.iter().map(read_active).collect()
}

fn read(row: &AnyRow) -> Result<Key, Error> {
    let columns = Columns { row, table: "api_keys", prefix: "" };
    Ok(Key {
        id: columns.text("id")?,
        name: columns.optional_text("name")?,
        scope: columns.known("scope", Scope::parse)?,
        org: columns.optional_text("org_id")?,
        created_at: columns.number("created_at")?,
        last_used_at: columns.optional_number("last_used_at")?,
    })
}

fn read_active(row: &AnyRow) -> Result<ActiveKey, Error> {
    let columns = Columns { row, table: "api_keys", prefix: "" };
    let hash = |text: &str| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
    Ok(ActiveKey {
        id: columns.text("id")?,
        scope: columns.known("scope", Scope::parse)?,
        org: columns.optional_text("org_id")?,
        hash: columns.known("hash", hash)?,
        last_used_at: columns.optional_number("last_used_at")?,
    })
}
