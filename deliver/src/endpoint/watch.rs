//! Keeps the directory as the rows are: at once after a change made here, within a second after others. While the
//! database does not answer, what is known goes on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use schemas::{cause::Chain, seal::Sealer};
use sqlx::AnyPool;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Directory, Endpoints, Live, StartAt, row::Row, rows, shown::advice};
use crate::error::Error;

const POLL: Duration = Duration::from_secs(1);
/// Rows read at once.
const READS: usize = 4;

/// Keeps the directory.
pub(crate) struct Keeper {
    endpoints: Endpoints,
    sealer: Sealer,
    known: HashMap<String, Known>,
    /// What all changes counted to when the rows were read.
    changes: Option<i64>,
    /// The database did not answer the last time.
    away: bool,
}

/// An endpoint, and until when two secrets sign for it.
struct Known {
    live: Arc<Live>,
    grace: Option<i64>,
    /// Its row is gone, and nobody deleted it.
    vanished: bool,
}

impl Keeper {
    /// A keeper that knows nothing yet.
    pub(crate) fn new(endpoints: Endpoints, sealer: Sealer) -> Self {
        Self { endpoints, sealer, known: HashMap::new(), changes: None, away: false }
    }

    /// Keeps the directory until it is told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.look().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.endpoints.poke.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn look(&mut self) {
        match self.follow().await {
            Ok(()) if self.away => {
                info!("endpoints.known: the database answers again");
                self.away = false;
            }
            Ok(()) => {}
            Err(error) if self.away => debug!(error = %Chain(&error), "endpoints.unknown"),
            Err(error) => {
                warn!(error = %Chain(&error), "endpoints.unknown: the database does not answer; what is known goes on");
                self.away = true;
            }
        }
    }

    /// Brings the directory to what the rows are.
    async fn follow(&mut self) -> Result<(), Error> {
        if self.end_graces() {
            self.publish();
        }
        let changes = rows::changes(&self.endpoints.db.pool).await?;
        if self.changes != Some(changes) {
            self.read().await?;
            self.changes = Some(changes);
            self.publish();
        }
        Ok(())
    }

    fn publish(&self) {
        let directory: HashMap<_, _> = self.known.iter().map(|(id, known)| (id.clone(), known.live.clone())).collect();
        self.endpoints.directory.send_replace(Directory::new(directory));
    }

    /// Reads the rows that changed, and forgets those that are deleted.
    async fn read(&mut self) -> Result<(), Error> {
        let versions: HashMap<String, i64> = rows::versions(&self.endpoints.db.pool).await?.into_iter().collect();
        self.forget(&versions).await?;
        let is_known =
            |id: &String, version: i64| self.known.get(id).is_some_and(|known| known.live.version == version);
        let changed: Vec<String> =
            versions.into_iter().filter(|(id, version)| !is_known(id, *version)).map(|(id, _)| id).collect();
        let pool = self.endpoints.db.pool.clone();
        let mut read = stream::iter(changed).map(|id| async { (found(&pool, &id).await, id) }).buffer_unordered(READS);
        let mut all = Vec::new();
        while let Some((row, id)) = read.next().await {
            match row {
                Ok(Some(one)) => all.push(one),
                Ok(None) => {}
                // One bad row is not the others' matter.
                Err(Error::Store(failed @ store::Error::Impossible { .. })) => {
                    error!(endpoint = id, error = %Chain(&failed), "endpoint.impossible: it stays as it was known");
                }
                Err(error) => return Err(error),
            }
        }
        for (row, history_from) in all {
            self.learn(&row, history_from);
        }
        Ok(())
    }

    /// Forgets whose row says that they are deleted. Whose row is not there at all stays: what was set up for it is not
    /// to end because the database lost it, or is another one.
    async fn forget(&mut self, versions: &HashMap<String, i64>) -> Result<(), Error> {
        let missing: Vec<String> = self.known.keys().filter(|id| !versions.contains_key(*id)).cloned().collect();
        for id in missing {
            if self.endpoints.known(&id).await? == super::Known::Deleted {
                self.known.remove(&id);
                continue;
            }
            if let Some(known) = self.known.get_mut(&id).filter(|known| !known.vanished) {
                known.vanished = true;
                error!(
                    endpoint = id,
                    "endpoint.vanished: its row is gone, and it was not deleted; it stays as it was known"
                );
            }
        }
        Ok(())
    }

    fn learn(&mut self, row: &Row, history_from: Option<i64>) {
        let now = self.endpoints.clock.now();
        let mut live = row.live(&self.sealer, now).unwrap_or_else(|broken| {
            let advice = advice(&broken);
            warn!(org = row.endpoint.org_id, endpoint = row.endpoint.id, "endpoint.sealed: {advice}");
            row.sealed()
        });
        live.history_start = history_from.map_or(row.start, StartAt::Time);
        let known = Known { live: Arc::new(live), grace: row.grace(now), vanished: false };
        self.known.insert(row.endpoint.id.clone(), known);
    }

    /// Takes away the secrets whose grace has ended. Tells whether there were any.
    fn end_graces(&mut self) -> bool {
        let now = self.endpoints.clock.now();
        let mut ended = false;
        for known in self.known.values_mut().filter(|known| known.grace.is_some_and(|until| until <= now)) {
            let mut live = (*known.live).clone();
            live.secrets.truncate(1);
            (known.live, known.grace) = (Arc::new(live), None);
            ended = true;
        }
        ended
    }
}

/// A row, and when it asked for history where that was later.
async fn found(db: &AnyPool, id: &str) -> Result<Option<(Row, Option<i64>)>, Error> {
    let Some(row) = rows::get(db, id).await? else { return Ok(None) };
    let from = match row.endpoint.history && row.version > 1 {
        true => rows::history_from(db, id).await?,
        false => None,
    };
    Ok(Some((row, from)))
}
