//! Endpoints: their rows, their API, and what of them the pushes need.
//!
//! `records` is what may be done with them, `rows` the SQL, `http` the API. `fields`, `url`, `headers` and `signing`
//! hold what a good request says; `watch` keeps the directory that the pushes work from.

mod breaker;
mod fields;
mod form;
mod headers;
mod http;
mod records;
mod row;
mod rows;
mod shown;
mod signing;
#[cfg(test)]
mod tests;
mod url;
mod wanted;
mod watch;

use std::{collections::HashMap, sync::Arc};

use schemas::{ambient::Clock, endpoint::Endpoint, secret::Secret};
use store::Db;
use tokio::sync::{Notify, watch as channel};

pub(crate) use http::api;
pub(crate) use watch::Keeper;

/// An endpoint as the pushes need it: its wishes and its secrets in clear, which its parts do not show.
#[derive(Clone, Debug)]
pub struct Live {
    /// What the organisation wants. One whose secrets cannot be opened is paused here, whatever its row says: it
    /// keeps its place until they can.
    pub endpoint: Endpoint,
    /// Counts the changes of the row.
    pub version: i64,
    /// What signs now: the newest secret first, then the one before while its grace lasts. Never empty, unless the
    /// secrets cannot be opened.
    pub secrets: Vec<Secret>,
    /// Where its consumer begins when it is made.
    pub start: StartAt,
    /// Where the one of history begins: at the start, or when history was asked for later.
    pub history_start: StartAt,
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

/// What the database has of an endpoint. Only a row that says so makes it a deleted one: a database that never heard of
/// it may be the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its row.
    Live {
        /// Counts the changes of the row.
        version: i64,
    },
    /// The row of one that was deleted.
    Deleted,
    /// Nothing.
    Never,
}

/// All endpoints by id, those that are paused or disabled among them; deleted ones are gone.
pub type Directory = Arc<HashMap<String, Arc<Live>>>;

/// The endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoints {
    db: Db,
    clock: Clock,
    directory: channel::Sender<Directory>,
    /// Tells the directory of a change made here.
    poke: Arc<Notify>,
}

impl Endpoints {
    /// The endpoints of a database.
    #[must_use]
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, directory: channel::Sender::new(Directory::default()), poke: Arc::default() }
    }

    /// What is known, and each change. It is empty until the rows were read for the first time: that is a change,
    /// even where there are none, so await the first before anything is taken for deleted.
    #[must_use]
    pub fn watch(&self) -> channel::Receiver<Directory> {
        self.directory.subscribe()
    }

    /// Whose an endpoint is, if there is one. What the directory has not heard of is asked of the database.
    pub(crate) async fn organisation_of(&self, id: &str) -> Result<Option<String>, crate::Error> {
        let known = self.directory.borrow().get(id).map(|live| live.endpoint.org_id.clone());
        match known {
            Some(org) => Ok(Some(org)),
            // PostgreSQL takes no NUL.
            None if id.contains('\0') => Ok(None),
            None => Ok(rows::get(&self.db.pool, id).await?.map(|row| row.endpoint.org_id)),
        }
    }
}
