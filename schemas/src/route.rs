//! Routes and connections as the key-value buckets hold them: all that ingest and router may know of a link.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{provider::Level, token::key_segment};

/// The bucket of routes, one key per link.
pub const ROUTES: &str = "gw_routes";
/// The bucket of connections, one key each.
pub const CONNECTIONS: &str = "gw_connections";

/// The value of a key in [`ROUTES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Version of the link's row; a value is only replaced by a newer one.
    pub version: i64,
    /// False once the link was removed. Such a value keeps older versions out and expires by itself.
    pub active: bool,
    /// The link.
    pub link_id: String,
    /// The organisation that wants the deliveries.
    pub org_id: String,
    /// The connection the link belongs to.
    pub connection_id: String,
    /// The generation of that connection.
    pub generation: i64,
    /// The provider's id.
    pub provider: String,
    /// The account of the connection.
    pub account: String,
    /// Whether the link names an account or a resource.
    pub level: String,
    /// The id of that account or resource.
    pub target: String,
    /// The workspace that made the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// The link's filter, see [`crate::filter`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Box<str>>>,
}

impl Route {
    /// The key of the route: `<provider>.<level>.<id>.<link>`.
    #[must_use]
    pub fn key(&self) -> String {
        format!(
            "{}.{}.{}.{}",
            key_segment(&self.provider),
            self.level,
            key_segment(&self.target),
            key_segment(&self.link_id)
        )
    }
}

/// The part of a route's key that all links of one account or resource share.
#[must_use]
pub fn target_key(provider: &str, level: Level, target: &str) -> String {
    format!("{}.{}.{}", key_segment(provider), level.as_str(), key_segment(target))
}

/// The value of a key in [`CONNECTIONS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionState {
    /// Version of the connection's row; a value is only replaced by a newer one.
    pub version: i64,
    /// The organisation.
    pub org_id: String,
    /// The provider's id.
    pub provider: String,
    /// The account at the provider.
    pub account: String,
    /// What may be done with it.
    pub status: Status,
    /// Counts up each time the account is connected anew.
    pub generation: i64,
}

/// What may be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConnectionStatus)]
pub enum Status {
    /// Authorisation has begun.
    Pending,
    /// In use.
    Active,
    /// The provider refuses it; a person must mend it.
    Error,
    /// Teardown has begun: nothing passes any more.
    Closing,
    /// Ended for good.
    Revoked,
}

impl Status {
    /// The status as it stands in rows, values and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Error => "error",
            Self::Closing => "closing",
            Self::Revoked => "revoked",
        }
    }

    /// Reads a status.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Active, Self::Error, Self::Closing, Self::Revoked]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}
