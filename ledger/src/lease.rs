//! One process writes at a time: each transaction begins by renewing the lease, so that whoever lost it writes nothing.

use schemas::ambient::Clock;
use store::{Columns, Db, Error, Write};

/// How long a writer may be silent before another takes over, milliseconds.
const HELD: i64 = 5_000;
/// The lease of the writer.
const WRITER: &str = "writer";
/// The wish that the ledger be rebuilt.
const REBUILD: &str = "rebuild";
/// When it was rebuilt last.
const REBUILT: &str = "rebuilt";

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
pub(crate) async fn rebuild_done(write: &mut Write, now: i64) -> Result<(), Error> {
    sqlx::query("delete from ledger_lease where name = $1").bind(REBUILD).execute(&mut **write).await?;
    sqlx::query(
        "insert into ledger_lease (name, owner, held_until) values ($1, '', $2)
         on conflict (name) do update set held_until = excluded.held_until",
    )
    .bind(REBUILT)
    .bind(now)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Which rebuild the rows are of, by when it was done: 0 for none. Nothing while one is asked for and not done.
pub(crate) async fn rebuilt(db: &Db) -> Result<Option<i64>, Error> {
    let rows = sqlx::query("select name, held_until from ledger_lease where name = $1 or name = $2");
    let rows = rows.bind(REBUILD).bind(REBUILT).fetch_all(&db.pool).await?;
    let mut at = 0;
    for row in &rows {
        let columns = Columns { row, table: "ledger_lease", prefix: "" };
        if columns.text("name")? == REBUILD {
            return Ok(None);
        }
        at = columns.number("held_until")?;
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use store::testing;

    use super::*;

    #[tokio::test]
    async fn rows_are_of_no_rebuild_while_one_is_asked_for_and_of_another_once_it_is_done() {
        testing::on_each(|db| async move {
            assert_eq!(rebuilt(&db).await.expect("a database"), Some(0));
            for now in [5, 9] {
                ask_rebuild(&db, now).await.expect("asked");
                assert_eq!(rebuilt(&db).await.expect("a database"), None);
                let mut write = db.begin().await.expect("a database");
                rebuild_done(&mut write, now).await.expect("done");
                write.commit().await.expect("kept");
                assert_eq!(rebuilt(&db).await.expect("a database"), Some(now));
            }
        })
        .await;
    }
}
