//! What may be done with endpoints. Every change is one transaction: the row, and what it admits from then on. Races
//! are settled by the database, so any number of processes may share it.

use schemas::{
    ambient::Random,
    caller::Caller,
    endpoint::{Endpoint, EndpointStatus},
    fields::{Fault, Faults},
    seal::Sealer,
    secret::Secret,
};
use serde_json::Value;
use store::Write;
use tracing::info;
use web::Cursor;

use super::{
    Endpoints, Known, StartAt,
    fields::{New, Rotation, Wishes},
    row::{Previous, Row},
    rows,
    shown::Shown,
    signing,
    wanted::Wanted,
};
use crate::{error::Error, push::Reach};

/// Endpoints an organisation may have.
const ENDPOINTS_MAX: i64 = 100;

/// The endpoints, and what is needed to change them.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) endpoints: Endpoints,
    /// Makes ids and secrets.
    pub(crate) random: Random,
    /// Seals secrets and custom headers.
    pub(crate) sealer: Sealer,
    /// Where requests may go.
    pub(crate) reach: Reach,
}

impl Records {
    /// Makes an endpoint. One that starts now begins behind the `last` event.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        body: &Value,
        last: impl AsyncFnOnce() -> Result<u64, nats::Error>,
    ) -> Result<Shown, Error> {
        let now = self.endpoints.clock.now();
        let id = self.random.id("ep_");
        let new = New::read(body, id, caller.org.as_deref(), &self.reach, now).map_err(Error::Invalid)?;
        if !caller.sees(&new.wishes.endpoint.org_id) {
            return Err(Error::OtherOrganisation);
        }
        let secret = new.secret.clone().unwrap_or_else(|| signing::new(&self.random));
        let start = match new.start {
            Some(StartAt::Time(time)) => StartAt::Time(time),
            Some(StartAt::Sequence(sequence)) => match last().await? {
                last if sequence <= last + 1 => StartAt::Sequence(sequence),
                last => {
                    let fault = Fault::Says(format!("is beyond the last event, which is {last}").into());
                    return Err(Error::Invalid(Faults::one("start", fault)));
                }
            },
            None => StartAt::Sequence(last().await? + 1),
        };
        let row = self.row(new, start, &secret, now)?;
        let mut write = self.endpoints.db.begin().await?;
        if rows::hold_and_count(&mut write, &row.endpoint.org_id).await? >= ENDPOINTS_MAX {
            return Err(Error::TooManyEndpoints(ENDPOINTS_MAX));
        }
        rows::insert(&mut write, &row).await?;
        rows::insert_version(&mut write, &row.endpoint, row.version, now).await?;
        self.commit(write).await?;
        info!(org = row.endpoint.org_id, endpoint = row.endpoint.id, "endpoint.created");
        Ok(self.shown(&row).with_secret(&secret))
    }

    fn row(&self, new: New, start: StartAt, secret: &Secret, now: i64) -> Result<Row, Error> {
        let sealer = &self.sealer;
        let Wishes { endpoint, headers } = new.wishes;
        Ok(Row {
            headers: Row::seal_headers(&endpoint.id, &headers.unwrap_or_default(), sealer)?,
            secret: Row::seal_secret(&endpoint.id, secret, sealer)?,
            previous: None,
            reason: None,
            start,
            version: 1,
            created_at: now,
            endpoint,
        })
    }

    /// A page of the endpoints the caller sees, and where the next begins.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        mut wanted: Wanted,
    ) -> Result<(Vec<Shown>, Option<String>), Error> {
        wanted.org = match (wanted.org, &caller.org) {
            (Some(org), _) if !caller.sees(&org) => return Err(Error::NotFound),
            (org, own) => org.or_else(|| own.clone()),
        };
        let mut rows = rows::page(&self.endpoints.db.pool, &wanted).await?;
        let place = |row: &Row| Cursor { created_at: row.created_at, id: row.endpoint.id.clone() };
        let next = wanted.paging.cut(&mut rows, place);
        Ok((rows.iter().map(|row| self.shown(row)).collect(), next))
    }

    /// An endpoint the caller sees.
    pub(crate) async fn show(&self, caller: &Caller, id: &str) -> Result<Shown, Error> {
        Ok(self.shown(&self.seen(caller, id).await?))
    }

    /// Changes an endpoint the caller sees; what the body does not name stays.
    pub(crate) async fn change(&self, caller: &Caller, id: &str, body: &Value) -> Result<Shown, Error> {
        loop {
            let row = self.seen(caller, id).await?;
            let changed = self.changed(&row, body)?;
            if changed == row {
                return Ok(self.shown(&row));
            }
            // Where somebody else was faster, it is read anew.
            if let Some(stored) = self.store(&row, &changed).await? {
                info!(
                    org = row.endpoint.org_id,
                    endpoint = id,
                    status = stored.endpoint.status.as_str(),
                    "endpoint.changed"
                );
                return Ok(self.shown(&stored));
            }
        }
    }

    fn changed(&self, row: &Row, body: &Value) -> Result<Row, Error> {
        let sealer = &self.sealer;
        let shown = serde_json::to_value(self.shown(row)).map_err(Error::Encode)?;
        let stored = || row.headers(sealer);
        let wishes = Wishes::change(body, row.endpoint.clone(), &shown, stored, &self.reach);
        let Wishes { endpoint, headers } = wishes.map_err(Error::Invalid)?;
        let headers = match headers {
            Some(headers) if row.headers(sealer).ok().as_ref() != Some(&headers) => {
                Row::seal_headers(&endpoint.id, &headers, sealer)?
            }
            _ => row.headers.clone(),
        };
        let reason = row.reason.clone().filter(|_| row.endpoint.status == endpoint.status);
        Ok(Row { endpoint, headers, reason, ..row.clone() })
    }

    /// Gives an endpoint a new secret; the one before signs as well until its grace ends.
    pub(crate) async fn rotate(&self, caller: &Caller, id: &str, rotation: &Rotation) -> Result<Shown, Error> {
        let secret = rotation.secret.clone().unwrap_or_else(|| signing::new(&self.random));
        loop {
            let row = self.seen(caller, id).await?;
            let now = self.endpoints.clock.now();
            let before = row.secret(&self.sealer).ok();
            if before.as_ref() == Some(&secret) {
                let fault = Fault::Says("is the one in use".into());
                return Err(Error::Invalid(Faults::one("secret", fault)));
            }
            let keeps = before.is_some() && rotation.grace > 0;
            let until = now + rotation.grace * 1_000;
            let rotated = Row {
                secret: Row::seal_secret(id, &secret, &self.sealer)?,
                previous: keeps.then(|| Previous { secret: row.secret.clone(), until }),
                ..row.clone()
            };
            if let Some(stored) = self.store(&row, &rotated).await? {
                info!(org = row.endpoint.org_id, endpoint = id, grace = rotation.grace, "endpoint.rotated");
                return Ok(self.shown(&stored).with_secret(&secret));
            }
        }
    }

    /// Deletes an endpoint the caller sees.
    pub(crate) async fn delete(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let row = self.seen(caller, id).await?;
        let now = self.endpoints.clock.now();
        let mut write = self.endpoints.db.begin().await?;
        let version = rows::delete(&mut write, id, now).await?.ok_or(Error::NotFound)?;
        let nothing = Endpoint { events: Vec::new(), ..row.endpoint };
        rows::insert_version(&mut write, &nothing, version, now).await?;
        self.commit(write).await?;
        info!(org = nothing.org_id, endpoint = id, "endpoint.deleted");
        Ok(())
    }

    async fn seen(&self, caller: &Caller, id: &str) -> Result<Row, Error> {
        let row = rows::get(&self.endpoints.db.pool, id).await?;
        row.filter(|row| caller.sees(&row.endpoint.org_id)).ok_or(Error::NotFound)
    }

    /// Stores a changed row, unless somebody changed it since it was read.
    async fn store(&self, row: &Row, changed: &Row) -> Result<Option<Row>, Error> {
        let now = self.endpoints.clock.now();
        let mut write = self.endpoints.db.begin().await?;
        let Some(stored) = rows::update(&mut write, changed, now).await? else { return Ok(None) };
        let admits = |row: &Row| (row.endpoint.events.clone(), row.endpoint.history);
        if admits(row) != admits(&stored) {
            rows::insert_version(&mut write, &stored.endpoint, stored.version, now).await?;
        }
        self.commit(write).await?;
        Ok(Some(stored))
    }

    async fn commit(&self, write: Write) -> Result<(), Error> {
        write.commit().await?;
        self.endpoints.poke.notify_one();
        Ok(())
    }

    fn shown(&self, row: &Row) -> Shown {
        Shown::of(row, &self.sealer, self.endpoints.clock.now())
    }
}

impl Endpoints {
    /// What the database has of this id now.
    pub async fn known(&self, id: &str) -> Result<Known, Error> {
        rows::known(&self.db.pool, id).await
    }

    /// Disables an endpoint of this version for a reason that its owner sees. Tells whether it is disabled now.
    pub async fn disable(&self, id: &str, version: i64, reason: &str) -> Result<bool, Error> {
        let mut write = self.db.begin().await?;
        let Some(row) = rows::disable(&mut write, id, version, reason, self.clock.now()).await? else {
            drop(write);
            let row = rows::get(&self.db.pool, id).await?;
            return Ok(row.is_some_and(|row| row.endpoint.status == EndpointStatus::Disabled));
        };
        write.commit().await?;
        self.poke.notify_one();
        info!(org = row.endpoint.org_id, endpoint = id, reason, "endpoint.disabled");
        Ok(true)
    }
}
