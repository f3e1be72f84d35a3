//! Keys of the API: an admin's, or one that reads what belongs to one organisation. A key is shown once, when it is
//! made; what is kept is its hash. A key has 128 random bits, so that the hash needs neither salt nor slowness.
//!
//! `rows` is the SQL, `http` the API. [`active`] and [`used`] are for whoever checks keys.

mod http;
mod rows;

use schemas::{caller::Caller, caller::Scope, instant, secret::Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::Db;
use tracing::info;
use utoipa::ToSchema;
use web::{Cursor, Paging};

pub(crate) use http::routes;

use crate::{
    error::Error,
    fields::{Fault, Faults, Fields},
    records::Records,
};

/// SHA-256 of a key.
pub type Hash = [u8; 32];

/// A key that is not revoked, for whoever checks keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveKey {
    /// `key_…`.
    pub id: String,
    /// What it is for.
    pub scope: Scope,
    /// The one organisation it reads.
    pub org: Option<String>,
    /// What it is known by.
    pub hash: Hash,
    /// When it was last used, about; milliseconds since the epoch.
    pub last_used_at: Option<i64>,
}

/// What a key is known by.
#[must_use]
pub fn hash(key: &str) -> Hash {
    Sha256::digest(key).into()
}

/// Every key that is not revoked.
pub async fn active(db: &Db) -> Result<Vec<ActiveKey>, store::Error> {
    rows::active(&db.pool).await
}

/// Notes when keys were used.
pub async fn used(db: &Db, ids: &[String], now: i64) -> Result<(), store::Error> {
    let mut write = db.begin().await?;
    for id in ids {
        rows::touch(&mut write, id, now).await?;
    }
    write.commit().await
}

/// A row of `api_keys`, without the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: String,
    name: Option<String>,
    scope: Scope,
    org: Option<String>,
    created_at: i64,
    last_used_at: Option<i64>,
}

/// A key to be made.
#[derive(Debug)]
struct NewKey {
    name: Option<String>,
    scope: Scope,
    org: Option<String>,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "scope", rename_all = "lowercase", deny_unknown_fields)]
#[schema(as = NewKey)]
#[expect(dead_code, reason = "a body is read field by field, to say everything that is wrong with it")]
enum Form {
    /// It may do everything.
    Admin {
        /// A name for people.
        #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        name: Option<String>,
    },
    /// It reads what belongs to one organisation.
    #[serde(rename_all = "camelCase")]
    Read {
        /// A name for people.
        #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        name: Option<String>,
        /// The organisation.
        #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        org_id: String,
    },
}

impl NewKey {
    /// Reads `{name?, scope, orgId?}`: an organisation for a key that reads, and for no other.
    fn parse(body: &Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        fields.only(&["name", "scope", "orgId"]);
        let name = fields.optional("name").map(str::to_owned);
        let scope = fields.required("scope").and_then(|text| {
            Scope::parse(text).or_else(|| fields.fault("scope", Fault::OneOf("admin, read".to_owned())))
        });
        let org = match scope {
            Some(Scope::Read) => fields.required("orgId"),
            _ => fields.optional("orgId"),
        };
        if scope == Some(Scope::Admin) && org.is_some() {
            fields.faults.add("orgId", Fault::Says("is for keys of scope read: an admin's key sees all".into()));
        }
        let read = scope.map(|scope| Self { name, scope, org: org.map(str::to_owned) });
        fields.faults.none_or(read)
    }
}

impl Records {
    /// Makes a key. It is in this answer and nowhere else.
    async fn make_key(&self, caller: &Caller, new: NewKey) -> Result<(Key, Secret), Error> {
        match (&new.org, &caller.org) {
            (Some(org), _) if caller.sees(org) => {}
            (None, None) => {}
            _ => return Err(Error::OtherOrganisation),
        }
        let secret = Secret::new(self.random.id("gwk_"));
        let NewKey { name, scope, org } = new;
        let key =
            Key { id: self.random.id("key_"), name, scope, org, created_at: self.clock.now(), last_used_at: None };
        let mut write = self.db.begin().await?;
        rows::insert(&mut write, &key, &hash(secret.expose())).await?;
        write.commit().await?;
        info!(key = key.id, scope = key.scope.as_str(), org = key.org, "key.made");
        Ok((key, secret))
    }

    /// A page of the keys that are not revoked, of all or of the caller's organisation, and the cursor of the next.
    async fn keys(&self, caller: &Caller, paging: &Paging) -> Result<(Vec<Key>, Option<String>), Error> {
        let mut rows = rows::list(&self.db.pool, caller.org.as_deref(), paging).await?;
        let next = paging.cut(&mut rows, |row| Cursor { created_at: row.created_at, id: row.id.clone() });
        Ok((rows, next))
    }

    /// Revokes a key.
    async fn revoke_key(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let mut write = self.db.begin().await?;
        let revoked = rows::revoke(&mut write, id, caller.org.as_deref(), self.clock.now()).await?;
        if !revoked {
            return Err(Error::NotFound);
        }
        write.commit().await?;
        info!(key = id, "key.revoked");
        Ok(())
    }
}

/// A key as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
struct Shown {
    id: String,
    name: Option<String>,
    scope: Scope,
    org_id: Option<String>,
    created_at: String,
    last_used_at: Option<String>,
    /// Only when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl From<Key> for Shown {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scope: key.scope,
            org_id: key.org,
            created_at: instant::rfc3339(key.created_at),
            last_used_at: key.last_used_at.map(instant::rfc3339),
            key: None,
        }
    }
}
