//! One process writes at a time: each transaction begins by renewing the lease, so that whoever lost it writes nothing.

use schemas::ambient::Clock;
use store::{Db, Error, Write};

/// How long a writer may be silent before another takes over, milliseconds.
const HELD: i64 = 5_000;
/// The lease of the writer.
const WRITER: &str = "writer";
/// The wish that the ledger be rebuilt.
const REBUILD: &str = "rebuild";

/// The right to write.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    /// This process, and this run of it.
    pub(crate) owner: String,
}

impl Lease {
    /// Takes the lease if nobody holds it.
    pub(crate) async fn acquire(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut write = self.db.begin().await?;
        let taken = sqlx::query(
            "insert into ledger_lease (name, owner, held_until) values ($1, $2, $3)
             on conflict (name) do update set owner = excluded.owner, held_until = excluded.held_until
             where ledger_lease.held_until < $4 or ledger_lease.owner = excluded.owner",
        )
        .bind(WRITER)
        .bind(self.owner.clone())
        .bind(now + HELD)
        .bind(now)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Begins a transaction that renews the lease, or none where another holds it now.
    pub(crate) async fn begin(&self) -> Result<Option<Write>, Error> {
        let mut write = self.db.begin().await?;
        let renewed = sqlx::query("update ledger_lease set held_until = $1 where name = $2 and owner = $3")
            .bind(self.clock.now() + HELD)
            .bind(WRITER)
            .bind(self.owner.clone())
            .execute(&mut *write)
            .await?;
        Ok((renewed.rows_affected() == 1).then_some(write))
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub(crate) async fn release(&self) -> Result<(), Error> {
        let mut write = self.db.begin().await?;
        sqlx::query("update ledger_lease set held_until = 0 where name = $1 and owner = $2")
            .bind(WRITER)
            .bind(self.owner.clone())
            .execute(&mut *write)
            .await?;
        write.commit().await
    }
}

/// Asks whoever writes to rebuild the ledger.
pub(crate) async fn ask_rebuild(db: &Db, now: i64) -> Result<(), Error> {
    let mut write = db.begin().await?;
    sqlx::query("insert into ledger_lease (name, owner, held_until) values ($1, '', $2) on conflict do nothing")
        .bind(REBUILD)
        .bind(now)
        .execute(&mut *write)
        .await?;
    write.commit().await
}

/// Whether a rebuild was asked for and is not done.
pub(crate) async fn is_rebuild_asked(db: &Db) -> Result<bool, Error> {
    let asked = sqlx::query("select name from ledger_lease where name = $1").bind(REBUILD);
    Ok(asked.fetch_optional(&db.pool).await?.is_some())
}

/// The rebuild is done.
pub(crate) async fn rebuild_done(write: &mut Write) -> Result<(), Error> {
    sqlx::query("delete from ledger_lease where name = $1").bind(REBUILD).execute(&mut **write).await?;
    Ok(())
}
