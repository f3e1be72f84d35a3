//! Whether the database can be reached, and has this version's tables.

use sqlx::AnyPool;

use super::Check;
use crate::{config::ServeArgs, database, error::chain};

pub(super) async fn check(args: &ServeArgs) -> Vec<Check> {
    let file = args.data.data_dir.join("gw.db");
    if args.database.database_url.is_none() && !file.exists() {
        return vec![Check::ok(format!("the database {} is not there yet: `gw serve` makes it", file.display()))];
    }
    let pool = match database::open(&args.database, &args.data).await {
        Ok(pool) => pool,
        Err(error) => return vec![Check::fail(chain(&error), "correct DATABASE_URL, or start the database")],
    };
    let check = tables(&applied(&pool).await, &wanted());
    pool.close().await;
    vec![Check::ok("the database answers"), check]
}

/// The migrations the database has. One without that table has none.
async fn applied(pool: &AnyPool) -> Vec<i64> {
    sqlx::query_scalar("select version from _sqlx_migrations").fetch_all(pool).await.unwrap_or_default()
}

fn wanted() -> Vec<i64> {
    store::MIGRATOR.iter().map(|migration| migration.version).collect()
}

fn tables(applied: &[i64], wanted: &[i64]) -> Check {
    let missing = wanted.iter().filter(|version| !applied.contains(version)).count();
    if applied.iter().any(|version| !wanted.contains(version)) {
        return Check::fail("the database is of a newer gw", "run that version, or another database");
    }
    match missing {
        0 => Check::ok("the database has this version's tables"),
        missing => {
            Check::warn(format!("{missing} of {} migrations are missing", wanted.len()), "`gw migrate` applies them")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn a_database_is_of_this_version_an_older_or_a_newer() {
        assert_eq!(tables(&[1, 2], &[1, 2]).level, Level::Ok);
        assert_eq!(tables(&[], &[1, 2]).level, Level::Warn);
        assert_eq!(tables(&[1, 2, 3], &[1, 2]).level, Level::Fail);
    }
}
