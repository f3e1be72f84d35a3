//! The database: SQLite in the data folder, or what DATABASE_URL names.

use std::{fs, str::FromStr, time::Duration};

use sqlx::{
    AnyPool, ConnectOptions,
    any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers},
};

use crate::{
    config::{DataArgs, DatabaseArgs, MigrateArgs},
    error::Error,
};

const CONNECTIONS: u32 = 10;
const ACQUIRE: Duration = Duration::from_secs(10);

/// Opens the database. The embedded one is made if it is not there.
pub(crate) async fn open(database: &DatabaseArgs, data: &DataArgs) -> Result<AnyPool, Error> {
    install_default_drivers();
    let url = match &database.database_url {
        Some(url) => url.expose().to_owned(),
        None => {
            fs::create_dir_all(&data.data_dir)
                .map_err(|source| Error::DataDir { path: data.data_dir.clone(), source })?;
            format!("sqlite://{}?mode=rwc", data.data_dir.join("gw.db").display())
        }
    };
    let sqlite = url.starts_with("sqlite:");
    let options = AnyConnectOptions::from_str(&url).map_err(Error::Database)?.disable_statement_logging();
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE).after_connect(
        move |connection, _| {
            Box::pin(async move {
                if sqlite {
                    for pragma in [
                        "pragma busy_timeout = 5000",
                        "pragma journal_mode = wal",
                        "pragma synchronous = full",
                        "pragma foreign_keys = on",
                    ] {
                        sqlx::query(pragma).execute(&mut *connection).await?;
                    }
                }
                Ok(())
            })
        },
    );
    pool.connect_with(options).await.map_err(Error::Database)
}

/// `gw migrate`.
pub(crate) async fn migrate(args: MigrateArgs) -> Result<(), Error> {
    let pool = open(&args.database, &args.data).await?;
    store::migrate(&pool).await.map_err(Error::Migrate)?;
    pool.close().await;
    Ok(())
}
