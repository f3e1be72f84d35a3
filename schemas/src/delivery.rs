//! A delivery as it travels: the headers of a message whose body is the provider's raw bytes.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{
    header::{self, Headers},
    token::SubjectToken,
};

/// The most resources that a delivery's headers name; the rest stand in its body only.
pub const MAX_RESOURCES: usize = 256;
/// The bytes that they take there at most. A broker takes 64 KiB of headers, and refuses a message with more.
const MAX_RESOURCES_SIZE: usize = 24 * 1024;
/// The longest value that is kept as it is; none that a provider gives comes near.
const MAX_VALUE: usize = 1024;
/// How much of a longer one stays readable.
const PREFIX: usize = 200;

/// How a delivery came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A provider's webhook.
    Live,
    /// An internal service's delivery.
    Service,
    /// An item of history.
    Backfill,
    /// A delivery the provider had failed to bring.
    Heal,
    /// A stored delivery, routed again.
    Replay,
}

impl Origin {
    /// The origin as it stands in headers and bodies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Service => "service",
            Self::Backfill => "backfill",
            Self::Heal => "heal",
            Self::Replay => "replay",
        }
    }

    /// Whether it travels on the history subjects, behind live traffic.
    #[must_use]
    pub fn is_history(self) -> bool {
        match self {
            Self::Backfill | Self::Replay => true,
            Self::Live | Self::Service | Self::Heal => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Origin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        [Self::Live, Self::Service, Self::Backfill, Self::Heal, Self::Replay]
            .into_iter()
            .find(|origin| origin.as_str() == text)
            .ok_or(Malformed::Origin)
    }
}

/// Everything known of a delivery beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The provider's id.
    pub provider: String,
    /// The event type as sent, `Issue:create`; none where it could not be read.
    pub event: Option<String>,
    /// The delivery id, unique within the provider.
    pub id: String,
    /// The account it names.
    pub account: Option<String>,
    /// The resources it names.
    pub resources: Vec<String>,
    /// Milliseconds since the epoch.
    pub received_at: i64,
    /// How it came in.
    pub origin: Origin,
    /// The connection it is bound to, and the organisation of that connection.
    pub bound: Option<Bound>,
    /// The correlation id of the request that brought it.
    pub correlation: Option<String>,
    /// Which secret matched: `current` or `previous`.
    pub signature_key: Option<String>,
    /// SHA-256 of the body, lower-case hex.
    pub body_sha256: String,
    /// The object that holds the body, where the message does not.
    pub payload_ref: Option<String>,
    /// The provider's headers that were kept, lower-case names.
    pub kept: Vec<(String, String)>,
}

/// The connection that a delivery belongs to, whatever its resources say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The connection.
    pub connection: String,
    /// The organisation of the connection.
    pub org: String,
}

/// Why headers are not those of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A header every delivery has is not there.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// The time of receipt is no number.
    #[error("header Gw-Received-At is not a number")]
    ReceivedAt,
    /// The origin is none we know.
    #[error("header Gw-Origin is unknown")]
    Origin,
}

/// A value as headers take it: as it is, or its beginning and its hash where it is longer than any that a provider
/// gives. Different values stay different.
#[must_use]
pub fn bounded(value: String) -> String {
    if value.len() <= MAX_VALUE {
        return value;
    }
    let prefix = &value[..value.floor_char_boundary(PREFIX)];
    format!("{prefix}~{}", HEXLOWER.encode(&Sha256::digest(&value)))
}

/// The headers of a request that are worth keeping; none that a provider sends is too long for it.
#[must_use]
pub fn kept_headers<'a>(names: &[&str], get: impl Fn(&str) -> Option<&'a str>) -> Vec<(String, String)> {
    let kept = names.iter().filter_map(|name| Some(((*name).to_owned(), get(name)?.to_owned())));
    kept.filter(|(_, value)| value.len() <= MAX_VALUE).collect()
}

/// As many of the resources as headers take.
#[must_use]
pub fn named(resources: Vec<String>) -> Vec<String> {
    let mut size = 0;
    let fits = |resource: &String| {
        size += size_of(resource);
        size <= MAX_RESOURCES_SIZE
    };
    resources.into_iter().take(MAX_RESOURCES).map(bounded).take_while(fits).collect()
}

/// Bytes of a resource's header.
fn size_of(resource: &str) -> usize {
    header::RESOURCE.len() + 4 + header::encode(resource).len()
}

impl Delivery {
    /// Whether its body may name more resources than its headers do.
    #[must_use]
    pub fn may_name_more(&self) -> bool {
        // Each byte takes three at most.
        let next = header::RESOURCE.len() + 4 + 3 * MAX_VALUE;
        let size: usize = self.resources.iter().map(|resource| size_of(resource)).sum();
        self.resources.len() >= MAX_RESOURCES || size + next > MAX_RESOURCES_SIZE
    }

    /// The headers of the message, without those that are the publisher's.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let mut headers = Headers::with_capacity(12 + self.kept.len());
        let mut put = |name: &str, value: &str| headers.push((name.to_owned(), header::encode(value)));
        put(header::PROVIDER, &self.provider);
        if let Some(event) = &self.event {
            put(header::EVENT, event);
        }
        put(header::DELIVERY, &self.id);
        if let Some(account) = &self.account {
            put(header::ACCOUNT, account);
        }
        for resource in &self.resources {
            put(header::RESOURCE, resource);
        }
        put(header::RECEIVED_AT, &self.received_at.to_string());
        put(header::ORIGIN, self.origin.as_str());
        if let Some(bound) = &self.bound {
            put(header::CONNECTION, &bound.connection);
            put(header::ORG, &bound.org);
        }
        if let Some(correlation) = &self.correlation {
            put(header::CORRELATION, correlation);
        }
        if let Some(key) = &self.signature_key {
            put(header::SIGNATURE_KEY, key);
        }
        put(header::BODY_SHA256, &self.body_sha256);
        if let Some(reference) = &self.payload_ref {
            put(header::PAYLOAD_REF, reference);
        }
        for (name, value) in &self.kept {
            put(&format!("{}{name}", header::KEPT_PREFIX), value);
        }
        headers
    }

    /// Reads the headers of a stored delivery.
    pub fn from_headers(headers: &Headers) -> Result<Self, Malformed> {
        let get = |name: &str| header::first(headers, name).map(header::decode);
        let need = |name: &'static str| get(name).ok_or(Malformed::Missing(name));
        let bound = match (get(header::CONNECTION), get(header::ORG)) {
            (Some(connection), Some(org)) => Some(Bound { connection, org }),
            _ => None,
        };
        let resources = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(header::RESOURCE));
        Ok(Self {
            provider: need(header::PROVIDER)?,
            event: get(header::EVENT),
            id: need(header::DELIVERY)?,
            account: get(header::ACCOUNT),
            resources: resources.map(|(_, value)| header::decode(value)).collect(),
            received_at: need(header::RECEIVED_AT)?.parse().map_err(|_| Malformed::ReceivedAt)?,
            origin: need(header::ORIGIN)?.parse()?,
            bound,
            correlation: get(header::CORRELATION),
            signature_key: get(header::SIGNATURE_KEY),
            body_sha256: need(header::BODY_SHA256)?,
            payload_ref: get(header::PAYLOAD_REF),
            kept: headers.iter().filter_map(kept).collect(),
        })
    }

    /// The dedup id of the delivery: the same for the same delivery, whoever sends it again.
    #[must_use]
    pub fn message_id(&self) -> String {
        format!("{}:{}", self.provider, SubjectToken::new(&self.id))
    }
}

fn kept((name, value): &(String, String)) -> Option<(String, String)> {
    let prefix = name.get(..header::KEPT_PREFIX.len())?;
    prefix
        .eq_ignore_ascii_case(header::KEPT_PREFIX)
        .then(|| (name[prefix.len()..].to_ascii_lowercase(), header::decode(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            provider: "linear".into(),
            event: Some("Issue:create".into()),
            id: "a b/é".into(),
            account: Some("org\r\nNats-TTL: 1s".into()),
            resources: vec!["team-1".into(), "team-2".into()],
            received_at: 1_700_000_000_000,
            origin: Origin::Live,
            bound: Some(Bound { connection: "con_1".into(), org: "org_1".into() }),
            correlation: Some("req-1".into()),
            signature_key: Some("previous".into()),
            body_sha256: "00".into(),
            payload_ref: Some("linear/x/00".into()),
            kept: vec![("user-agent".into(), "Linear-Webhook".into())],
        }
    }

    #[test]
    fn what_a_delivery_knows_survives_its_headers() {
        let delivery = delivery();
        let headers = delivery.headers();
        assert!(headers.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
        assert_eq!(Delivery::from_headers(&headers), Ok(delivery));
    }

    #[test]
    fn headers_without_an_id_are_refused_by_name() {
        let mut headers = delivery().headers();
        headers.retain(|(name, _)| name != header::DELIVERY);
        assert_eq!(Delivery::from_headers(&headers), Err(Malformed::Missing(header::DELIVERY)));
    }

    #[test]
    fn what_is_longer_than_headers_take_is_cut_and_stays_different() {
        let long = format!("é{}", "x".repeat(MAX_VALUE));
        let cut = bounded(long.clone());
        assert!(cut.len() < MAX_VALUE && cut.starts_with("éx"));
        assert_eq!(bounded(long.clone()), cut);
        assert_ne!(bounded(format!("{long}y")), cut);
        assert_eq!(bounded("x".repeat(MAX_VALUE)), "x".repeat(MAX_VALUE));
    }

    #[test]
    fn a_delivery_says_whether_its_headers_had_room_for_all_it_names() {
        let with = |resources: Vec<String>| Delivery { resources, ..delivery() };
        let numbers = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert!(!with(named(numbers(MAX_RESOURCES - 1))).may_name_more());
        assert!(with(named(numbers(MAX_RESOURCES + 1))).may_name_more());
        let long: Vec<String> = (0..100).map(|number| format!("{number}{}", "é".repeat(100))).collect();
        let cut = named(long.clone());
        assert!(cut.len() < long.len() && long.starts_with(&cut));
        let cut = with(cut);
        assert!(cut.may_name_more());
        let size: usize = cut.headers().iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        assert!(size < 32 * 1024, "{size}");
        assert!(!with(named(vec!["x".repeat(5_000)])).may_name_more());
    }

    #[test]
    fn the_dedup_id_tells_providers_and_awkward_ids_apart() {
        assert_eq!(delivery().message_id(), "linear:a~20b~2F~C3~A9");
    }
}
