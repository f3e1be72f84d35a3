//! What became of pushing an event to an endpoint: the messages of `GW_ATTEMPT`, and the timers of `GW_RETRY`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One step in the life of a push. Holds no payload and no secret.
///
/// It is stored before the event or timer that led to it is acknowledged: whatever was acknowledged has its attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The organisation.
    pub org_id: String,
    /// The endpoint.
    pub endpoint_id: String,
    /// The event, and the `webhook-id` of the request.
    pub event_id: String,
    /// The event's place in `GW_EVENT`.
    pub sequence: u64,
    /// The delivery's provider.
    pub provider: String,
    /// The delivery.
    pub delivery_id: String,
    /// The normalised type.
    #[serde(rename = "type")]
    pub kind: String,
    /// 1 for the first request, 0 where none was made.
    pub attempt: u32,
    /// How it ended.
    pub outcome: PushOutcome,
    /// What the receiver answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Why there is no answer, or none that counts: `timeout`, `connect`, `tls`, `dns`, `blocked`, `reset`, `protocol`,
    /// `status`, `redirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// How long the request took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// When the request began or the decision was taken, milliseconds since the epoch.
    pub at: i64,
    /// When the next attempt is due, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<i64>,
    /// Why it is dead, dropped or expired: `exhausted`, `permanent`, `gone`, `disabled`, `deleted`, `filter-changed`,
    /// `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The replay that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// The dead letter whose push it is, sent back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<u64>,
    /// The object that holds the event's payload, where the event does not. A dead letter that is sent back may outlive
    /// its event; this leads its receiver to the object then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_ref: Option<String>,
}

/// How a step of a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PushOutcome {
    /// The receiver took it.
    Delivered,
    /// It did not, and a timer is set.
    Scheduled,
    /// An ordered endpoint's event failed and keeps its place.
    Held,
    /// It is a dead letter.
    Dead,
    /// It will not be pushed: the endpoint was deleted, or wants it no more.
    Dropped,
    /// The stream gave the event up before it could be pushed.
    Expired,
    /// A dead letter was sent back to its endpoint.
    Redriven,
}

impl PushOutcome {
    /// Whether nothing of the push is left to do.
    #[must_use]
    pub fn ends(self) -> bool {
        match self {
            Self::Delivered | Self::Dead | Self::Dropped | Self::Expired => true,
            Self::Scheduled | Self::Held | Self::Redriven => false,
        }
    }

    /// As the messages and the database have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Scheduled => "scheduled",
            Self::Held => "held",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
            Self::Expired => "expired",
            Self::Redriven => "redriven",
        }
    }
}

/// The body of a timer, and of what it becomes when it is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// The organisation.
    pub org_id: String,
    /// The endpoint.
    pub endpoint_id: String,
    /// The event.
    pub event_id: String,
    /// Where the event's message stands: `GW_EVENT`, or `GW_DLQ` for a dead letter sent back.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
    /// The event's place in `GW_EVENT`.
    pub event_sequence: u64,
    /// The attempt to make, 1 for the first.
    pub attempt: u32,
    /// The replay that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// Whether the replay asked for what failed only: not for what has been delivered meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_failed: bool,
}
