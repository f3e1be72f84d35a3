//! What happened to a connection or a link of it: the messages of `GW_CONNECTION`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of a message on `gw.connection.>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConnectionChange)]
pub struct Change {
    /// The organisation.
    pub org_id: String,
    /// The connection.
    pub connection_id: String,
    /// The provider's id.
    pub provider: String,
    /// The account at the provider.
    pub account: String,
    /// Which life of the connection it is: one more each time that it is connected again.
    pub generation: i64,
    /// The link that came or went, where the change is one of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<String>,
    /// What is linked: the provider's word, as `repository` or `team`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its id at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_resource_id: Option<String>,
    /// Where it belongs in the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// When it happened, RFC 3339.
    pub occurred_at: String,
}
