//! Databases for tests: feature `testing`, never part of the product.

use std::future::Future;

use sqlx::{AnyPool, any::AnyPoolOptions};

use crate::{Db, migrate};

/// Runs a test on SQLite, and on PostgreSQL where `GW_TEST_DATABASE_URL` names one: each time on a migrated database of
/// its own.
#[expect(clippy::disallowed_methods, reason = "a test's database is no setting of the gateway")]
pub async fn on_each<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gw.db");
    let pool = connect(&format!("sqlite://{}?mode=rwc", file.display())).await;
    sqlx::query("pragma journal_mode = wal").execute(&pool).await.expect("WAL");
    run(&test, pool).await;

    let Ok(url) = std::env::var("GW_TEST_DATABASE_URL") else {
        eprintln!("skipped on PostgreSQL: GW_TEST_DATABASE_URL is not set");
        return;
    };
    let admin = connect(&url).await;
    let schema = format!("test_{:032x}", rand::random::<u128>());
    let order = |sql: String| sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&admin);
    order(format!("create schema {schema}")).await.expect("a schema");
    let separator = if url.contains('?') { '&' } else { '?' };
    run(&test, connect(&format!("{url}{separator}options=-csearch_path%3D{schema}")).await).await;
    order(format!("drop schema {schema} cascade")).await.expect("no schema");
}

async fn run<F: Future<Output = ()>>(test: &impl Fn(Db) -> F, pool: AnyPool) {
    migrate(&pool).await.expect("the migrations");
    test(Db::new(pool.clone())).await;
    pool.close().await;
}

async fn connect(url: &str) -> AnyPool {
    AnyPoolOptions::new().max_connections(4).connect(url).await.expect("a database")
}
