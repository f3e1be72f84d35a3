//! What became of a delivery where it was not simply an event for each organisation that claims it: the messages of
//! `GW_OUTCOME`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of a message in `GW_OUTCOME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The provider's id.
    pub provider: String,
    /// The delivery.
    pub delivery_id: String,
    /// The delivery's place in `GW_WEBHOOK`.
    pub sequence: u64,
    /// What it was.
    pub outcome: Kind,
    /// Why it is dead: `unreadable`, `payload-unavailable`, `exhausted`; or that it was released from there: `redriven`;
    /// or, where it is parked, for whom a link was looked for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The organisations that got an event, and the links that admitted it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admitted: Vec<Claim>,
    /// The organisations whose filters admitted nothing, and the links they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<Claim>,
    /// How far the routes were known.
    pub route_revision: u64,
    /// When it was decided, milliseconds since the epoch.
    pub decided_at: i64,
}

/// What a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = OutcomeKind)]
pub enum Kind {
    /// Several organisations got an event, and nobody's filters refused it.
    Routed,
    /// Links claim it whose filters do not admit it.
    Filtered,
    /// No link claims it.
    Parked,
    /// It was parked, and a link claimed it; or it was a dead letter, and was sent back.
    Released,
    /// It is a dead letter.
    Dead,
}

/// An organisation that claims a delivery, and its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The organisation.
    pub org_id: String,
    /// Its links, [`MOST_LINKS`] of them where there are more.
    pub link_ids: Vec<String>,
}

/// So many links are named: what only names an account may be claimed by thousands.
pub const MOST_LINKS: usize = 16;
