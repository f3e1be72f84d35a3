//! A connection: an organisation's authorised account at a provider.

use schemas::{
    caller::Caller,
    instant,
    provider::{self, ProviderId},
    route::{ConnectionState, Status},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::fields::{Fault, Faults, Fields};

/// A row of `connections`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) org: String,
    pub(crate) provider: String,
    pub(crate) account: String,
    pub(crate) status: Status,
    pub(crate) generation: i64,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
}

impl Connection {
    pub(crate) fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    pub(crate) fn is_seen_by(&self, caller: &Caller) -> bool {
        caller.sees(&self.org)
    }

    /// What the bucket holds of it.
    pub(crate) fn state(&self) -> ConnectionState {
        ConnectionState {
            version: self.version,
            org_id: self.org.clone(),
            provider: self.provider.clone(),
            account: self.account.clone(),
            status: self.status,
            generation: self.generation,
        }
    }
}

/// What an organisation wants connected.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
pub(crate) struct NewConnection {
    /// The organisation.
    #[schema(rename = "orgId", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) org: String,
    /// The provider's id.
    #[schema(value_type = ProviderId)]
    pub(crate) provider: &'static str,
    /// The account's id at the provider.
    #[schema(rename = "externalId", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) account: String,
}

impl NewConnection {
    /// Reads `{provider, externalId, orgId}`.
    pub(crate) fn parse(body: &Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let provider = fields.required("provider").and_then(|id| match provider::find(id) {
            Some(provider) => Some(provider.id),
            None => fields.fault("provider", Fault::OneOf(known_providers())),
        });
        let account = fields.required("externalId").map(str::to_owned);
        let org = fields.required("orgId").map(str::to_owned);
        let read = || Some(Self { org: org?, provider: provider?, account: account? });
        fields.faults.none_or(read())
    }
}

fn known_providers() -> String {
    let ids: Vec<&str> = provider::ALL.iter().map(|provider| provider.id).collect();
    ids.join(", ")
}

/// A connection as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Connection)]
pub(crate) struct Shown {
    id: String,
    provider: String,
    external_id: String,
    org_id: String,
    status: Status,
    generation: i64,
    created_at: String,
}

impl From<Connection> for Shown {
    fn from(connection: Connection) -> Self {
        Self {
            created_at: instant::rfc3339(connection.created_at),
            id: connection.id,
            provider: connection.provider,
            external_id: connection.account,
            org_id: connection.org,
            status: connection.status,
            generation: connection.generation,
        }
    }
}
