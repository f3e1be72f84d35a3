//! Endpoints: their rows, their API, and what of them the pushes need.

use std::{collections::HashMap, sync::Arc};

use schemas::{endpoint::Endpoint, secret::Secret};
use store::Db;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Deps;

/// An endpoint as the pushes need it: its wishes and its secrets in clear.
#[derive(Clone, Debug)]
pub struct Live {
    /// What the organisation wants.
    pub endpoint: Endpoint,
    /// Counts the changes of the row.
    pub version: i64,
    /// What signs now: the newest secret first, then the one before while its grace lasts.
    pub secrets: Vec<Secret>,
    /// Where its consumer begins when it is made.
    pub start: StartAt,
}

/// Where an endpoint begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the event of this sequence in `GW_EVENT`, or the first after it. "Now" is resolved to one when the
    /// endpoint is made.
    Sequence(u64),
    /// With what was stored at or after this time, milliseconds since the epoch.
    Time(i64),
}

/// All endpoints by id, those that are paused or disabled among them; deleted ones are gone.
pub type Directory = Arc<HashMap<String, Arc<Live>>>;

/// The endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoints {
    #[expect(dead_code, reason = "the rows come next")]
    db: Db,
    directory: watch::Sender<Directory>,
}

impl Endpoints {
    /// The endpoints of a database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, directory: watch::Sender::new(Directory::default()) }
    }

    /// What is known now, and each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Directory> {
        self.directory.subscribe()
    }
}

/// Keeps the directory as the rows are: at once after a change made here, within a second after others.
pub(crate) async fn watch(_endpoints: Endpoints, _deps: Deps, stop: CancellationToken) {
    stop.cancelled().await;
}

/// The API of endpoints.
pub(crate) fn api(_endpoints: Endpoints, _deps: Deps) -> axum::Router {
    axum::Router::new()
}
