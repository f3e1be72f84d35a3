//! The event: a delivery resolved to one organisation and normalised. What subscribers read.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    header::{self, Headers},
    instant,
    source_event::SourceEvent,
};

/// Characters of an event id.
const ID_LENGTH: usize = 26;

/// The id of the event that a delivery becomes for an organisation: 26 lower-case base32 characters, always the
/// same for the same delivery and organisation, and another for each replay.
#[must_use]
pub fn id(provider: &str, delivery: &str, org: &str, replay: Option<&str>) -> String {
    let mut hash = Sha256::new();
    for part in [provider, delivery, org, replay.unwrap_or("")] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = BASE32_NOPAD.encode(&hash.finalize());
    id.truncate(ID_LENGTH);
    id.make_ascii_lowercase();
    id
}

/// The body of an event message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The delivery it was made from.
    pub delivery_id: String,
    /// The first connection whose link admits it.
    pub connection_id: String,
    /// All connections of the organisation whose links admit it.
    pub connection_ids: Vec<String>,
    /// The organisation.
    pub org_id: String,
    /// The provider's id.
    pub provider: String,
    /// The event type as the provider sent it.
    pub event_type: String,
    /// The normalised type, `github:pull-request.opened`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The delivery's place in `GW_WEBHOOK`.
    pub sequence: u64,
    /// Milliseconds since the epoch.
    pub received_at: i64,
    /// RFC 3339 in UTC; the time of receipt where the payload does not say.
    pub occurred_at: String,
    /// The correlation id of the request that brought the delivery.
    pub correlation_id: Option<String>,
    /// How the delivery came in.
    pub origin: String,
    /// The event that a replay made this one anew from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    /// The workspaces whose own link admits it.
    pub workspaces: Vec<String>,
    /// 0 to 100.
    pub significance: u8,
    /// The normalised event; null where no normaliser exists for the type.
    pub event: Option<SourceEvent>,
    /// The provider's JSON, unmodified. Absent where `payloadRef` stands for it.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Name of the object in the bucket `gw_payload` that holds the provider's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_ref: Option<String>,
}

impl Event {
    /// The CloudEvents attributes and ours, as headers of the message (binary mode).
    #[must_use]
    pub fn headers(&self, id: &str, account: Option<&str>) -> Headers {
        let mut headers = Headers::with_capacity(16);
        let mut put = |name: &str, value: &str| headers.push((name.to_owned(), header::encode(value)));
        put("ce-specversion", "1.0");
        put("ce-id", id);
        put("ce-source", &format!("/{}/{}", self.provider, account.unwrap_or("")));
        put("ce-type", &self.kind);
        put("ce-time", &self.occurred_at);
        put("ce-datacontenttype", "application/json");
        put("ce-orgid", &self.org_id);
        put("content-type", "application/json");
        put(header::ORG, &self.org_id);
        put(header::CONNECTION, &self.connection_id);
        put(header::PROVIDER, &self.provider);
        put(header::EVENT, &self.event_type);
        put(header::DELIVERY, &self.delivery_id);
        put(header::SEQUENCE, &self.sequence.to_string());
        put(header::ORIGIN, &self.origin);
        put(header::RECEIVED_AT, &self.received_at.to_string());
        if let Some(correlation) = &self.correlation_id {
            put(header::CORRELATION, correlation);
        }
        if let Some(reference) = &self.payload_ref {
            put(header::PAYLOAD_REF, reference);
        }
        headers
    }

    /// When it happened: what the normalised event says, else the time of receipt.
    #[must_use]
    pub fn time_of(event: Option<&SourceEvent>, received_at: i64) -> String {
        event.map_or_else(|| instant::rfc3339(received_at), |event| event.occurred_at.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_is_stable_and_differs_by_every_part() {
        let own = id("github", "d1", "org_1", None);
        assert_eq!(own, "sdrql32n3chi6haifkkug4uiax");
        for other in [
            id("linear", "d1", "org_1", None),
            id("github", "d2", "org_1", None),
            id("github", "d1", "org_2", None),
            id("github", "d1", "org_1", Some("r1")),
            id("github", "d1org_1", "", None),
        ] {
            assert_ne!(own, other);
            assert_eq!(other.len(), ID_LENGTH);
        }
    }
}
