//! What may be done with connections and links. Every change is one transaction: the row, and the outbox row
//! that tells the broker of it. Races are settled by the database, so any number of processes may share it.

use std::sync::Arc;

use schemas::{
    Provider,
    ambient::{Clock, Random},
    caller::Caller,
    provider,
};
use sqlx::AnyConnection;
use store::Db;
use tokio::sync::Notify;
use tracing::info;
use web::{Cursor, Paging};

use crate::{
    connection::{Connection, NewConnection},
    error::Error,
    link::{Link, NewLink},
    rows::{
        connections, links,
        outbox::{self, Key, Kind, What},
    },
};

/// The rows, and who changes them.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// Wakes the outbox after a commit.
    pub(crate) poke: Arc<Notify>,
}

/// What adopting an account came to.
#[derive(Debug)]
pub(crate) enum Adopted {
    /// It was connected now, for the first time or again.
    New(Connection),
    /// It was connected before.
    Existing(Connection),
}

impl Records {
    /// Connects an account without asking its provider.
    pub(crate) async fn adopt(&self, caller: &Caller, new: &NewConnection) -> Result<Adopted, Error> {
        if !caller.sees(&new.org) {
            return Err(Error::OtherOrganisation);
        }
        let now = self.clock.now();
        let mut write = self.db.begin().await?;
        let id = self.random.id("con_");
        let Some(connection) = connections::insert_or_revive(&mut write, &id, new, now).await? else {
            let existing = connections::find(&mut *write, new).await?.ok_or(Error::NotFound)?;
            active(&existing)?;
            return Ok(Adopted::Existing(existing));
        };
        changed(&mut write, &connection, What::Connected, now).await?;
        write.commit().await?;
        self.poke.notify_one();
        info!(
            org = connection.org,
            connection = connection.id,
            generation = connection.generation,
            "connection.connected"
        );
        Ok(Adopted::New(connection))
    }

    /// A page of the connections the caller sees, all or those of one organisation, and the cursor of the next.
    pub(crate) async fn connections(
        &self,
        caller: &Caller,
        org: Option<&str>,
        paging: &Paging,
    ) -> Result<(Vec<Connection>, Option<String>), Error> {
        let org = org.or(caller.org.as_deref());
        if org.is_some_and(|org| !caller.sees(org)) {
            return Err(Error::NotFound);
        }
        let mut rows = connections::list(&self.db.pool, org, paging).await?;
        let next = paging.cut(&mut rows, |row| Cursor { created_at: row.created_at, id: row.id.clone() });
        Ok((rows, next))
    }

    /// A connection the caller sees.
    pub(crate) async fn connection(&self, caller: &Caller, id: &str) -> Result<Connection, Error> {
        let connection = connections::get(&self.db.pool, id).await?;
        connection.filter(|connection| connection.is_seen_by(caller)).ok_or(Error::NotFound)
    }

    /// A connection the caller sees and may link to, and its provider.
    pub(crate) async fn linkable(&self, caller: &Caller, id: &str) -> Result<(Connection, &'static Provider), Error> {
        let connection = self.connection(caller, id).await?;
        active(&connection)?;
        let provider = provider::find(&connection.provider).ok_or_else(|| store::Error::Impossible {
            table: "connections",
            id: connection.id.clone(),
            column: "provider",
        })?;
        Ok((connection, provider))
    }

    /// A page of the active links of a connection the caller sees, and the cursor of the next.
    pub(crate) async fn links(
        &self,
        caller: &Caller,
        connection: &str,
        paging: &Paging,
    ) -> Result<(Vec<Link>, Option<String>), Error> {
        self.connection(caller, connection).await?;
        let mut rows = links::list(&self.db.pool, connection, paging).await?;
        let next = paging.cut(&mut rows, |row| Cursor { created_at: row.created_at, id: row.id.clone() });
        Ok((rows, next))
    }

    /// Makes a link, or revives a removed one.
    pub(crate) async fn link(&self, connection: &str, new: &NewLink) -> Result<Link, Error> {
        let now = self.clock.now();
        let mut write = self.db.begin().await?;
        let held = connections::hold(&mut write, connection).await?.ok_or(Error::NotFound)?;
        active(&held)?;
        let id = self.random.id("lnk_");
        let Some(link) = links::insert_or_revive(&mut write, &id, connection, new, now).await? else {
            let link = links::twin(&mut *write, connection, new).await?.ok_or(Error::NotFound)?;
            return Err(Error::AlreadyLinked { link });
        };
        outbox::insert(&mut write, &key(&link), What::Linked, now).await?;
        write.commit().await?;
        self.poke.notify_one();
        info!(org = held.org, connection, link = link.id, kind = link.kind, "link.added");
        Ok(link)
    }

    /// Removes an active link of a connection the caller sees.
    pub(crate) async fn unlink(&self, caller: &Caller, connection: &str, id: &str) -> Result<Link, Error> {
        let seen = self.connection(caller, connection).await?;
        let now = self.clock.now();
        let mut write = self.db.begin().await?;
        let Some(link) = links::remove(&mut write, connection, id, now).await? else {
            let exists = links::exists(&mut *write, connection, id).await?;
            return Err(if exists { Error::AlreadyRemoved } else { Error::NotFound });
        };
        outbox::insert(&mut write, &key(&link), What::Unlinked, now).await?;
        write.commit().await?;
        self.poke.notify_one();
        info!(org = seen.org, connection, link = link.id, kind = link.kind, "link.removed");
        Ok(link)
    }
}

/// Notes that a connection changed, and with it the routes of its links.
async fn changed(db: &mut AnyConnection, connection: &Connection, what: What, now: i64) -> Result<(), Error> {
    let key = Key { kind: Kind::Connection, subject: connection.id.clone(), version: connection.version };
    outbox::insert(db, &key, what, now).await?;
    links::touch_all(db, &connection.id, now).await?;
    outbox::insert_links_of(db, &connection.id, now).await
}

fn active(connection: &Connection) -> Result<(), Error> {
    if connection.is_active() { Ok(()) } else { Err(Error::NotActive(connection.status)) }
}

fn key(link: &Link) -> Key {
    Key { kind: Kind::Link, subject: link.id.clone(), version: link.version }
}
