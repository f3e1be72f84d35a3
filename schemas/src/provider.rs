//! Providers as data: how each signs, what identifies a delivery, and what its events mean.
//!
//! A provider is one value in its own file and one line in [`ALL`]. It says *how* it signs and names things;
//! it performs nothing.

use std::{borrow::Cow, time::Duration};

use serde_json::Value;

use crate::{
    event_type::{EventType, TypeKey},
    source_event::{Context, SourceEvent},
};

mod github;
mod linear;
mod raw;
mod sentry;
mod vercel;
mod wording;

/// The media type of a form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Every provider the gateway knows.
pub static ALL: &[&Provider] = &[&github::PROVIDER, &vercel::PROVIDER, &linear::PROVIDER, &sentry::PROVIDER];

/// The provider with this id, compared exactly.
#[must_use]
pub fn find(id: &str) -> Option<&'static Provider> {
    ALL.iter().copied().find(|provider| provider.id == id)
}

/// Reads a time out of a raw body, milliseconds since the epoch.
pub type ReadTime = fn(&[u8]) -> Option<i64>;

/// Everything the gateway knows about a provider.
#[derive(Debug)]
pub struct Provider {
    /// The id in paths, subjects and settings, `github`.
    pub id: &'static str,
    /// The name for people, `GitHub`.
    pub name: &'static str,
    /// How a webhook is signed.
    pub signature: Signature,
    /// How long a webhook may wait for the broker before it is refused with 503, inside the provider's own timeout.
    pub ack_budget: Duration,
    /// Reads the signed time of sending (milliseconds since the epoch), where the provider signs one.
    pub signed_at: Option<ReadTime>,
    /// The header that holds the event type, where a header does.
    pub event_header: Option<&'static str>,
    /// The header that holds the delivery id, where a header does.
    pub delivery_header: Option<&'static str>,
    /// The field that holds the JSON where the provider can be set to send a form in its place.
    pub form_field: Option<&'static str>,
    /// Request headers worth keeping beside the body, lower case. Never signatures, cookies or authorization.
    pub kept_headers: &'static [&'static str],
    /// The kinds of link that name an account.
    pub account_kinds: &'static [&'static str],
    /// The kinds of link that name a resource.
    pub resource_kinds: &'static [&'static str],
    /// Reads what a delivery says of itself; what cannot be read is absent, never an error.
    pub identify: fn(&Received<'_>) -> Identity,
    /// The event types with a label, a weight and a category of their own.
    pub event_types: &'static [EventType],
    /// The normalised type of a delivery, from the event type as sent and the payload. Total: what is not in the
    /// registry has a type as well.
    pub type_of: fn(&str, &Value) -> TypeKey,
    /// The normalised event, or none where no normaliser exists for the type.
    pub normalise: fn(Context<'_>, &Value) -> Option<SourceEvent>,
    /// Realistic payloads, to try a gateway with. The first is what is sent when none is named.
    pub samples: &'static [Sample],
    /// Makes a sample a new delivery, as if it had just happened: `now` in milliseconds since the epoch, and a
    /// value that differs each time.
    pub refresh: fn(&mut Value, now: i64, nonce: &str),
}

impl Provider {
    /// The JSON of a body, whose raw bytes may be a form.
    #[must_use]
    pub fn json<'a>(&self, content_type: Option<&str>, body: &'a [u8]) -> Cow<'a, [u8]> {
        let form = content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with(FORM));
        let Some(field) = self.form_field.filter(|_| form) else { return Cow::Borrowed(body) };
        let found = form_urlencoded::parse(body).find(|(name, _)| name == field);
        found.map_or(Cow::Borrowed(body), |(_, json)| Cow::Owned(json.into_owned().into_bytes()))
    }

    /// Whether a link of this kind names an account or a resource, or none if the provider has no such kind.
    #[must_use]
    pub fn level(&self, kind: &str) -> Option<Level> {
        if self.account_kinds.contains(&kind) {
            Some(Level::Account)
        } else if self.resource_kinds.contains(&kind) {
            Some(Level::Resource)
        } else {
            None
        }
    }

    /// The registered event type with this key.
    #[must_use]
    pub fn event_type(&self, key: &TypeKey) -> Option<&'static EventType> {
        self.event_types.iter().find(|known| known.entity == key.entity && known.action == key.action.as_deref())
    }
}

/// The mechanisms by which webhooks are signed. The digest is over the raw body and sent as hex.
#[derive(Clone, Copy, Debug)]
pub enum Signature {
    /// HMAC-SHA256 in `header`, behind an optional prefix.
    HmacSha256 {
        /// The header, lower case.
        header: &'static str,
        /// A prefix that may stand before the digest.
        prefix: &'static str,
    },
    /// HMAC-SHA1 in `header`.
    HmacSha1 {
        /// The header, lower case.
        header: &'static str,
    },
}

impl Signature {
    /// The header that holds the signature, lower case.
    #[must_use]
    pub fn header(&self) -> &'static str {
        match self {
            Self::HmacSha256 { header, .. } | Self::HmacSha1 { header } => header,
        }
    }
}

/// The two levels at which an organisation can link what it wants; they never share a key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Everything of an account.
    Account,
    /// One resource.
    Resource,
}

impl Level {
    /// The level as it stands in a route key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Resource => "resource",
        }
    }

    /// Reads the level of a route key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "account" => Some(Self::Account),
            "resource" => Some(Self::Resource),
            _ => None,
        }
    }
}

/// A webhook as it arrived.
pub struct Received<'a> {
    /// A request header by its lower-case name.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The raw body.
    pub body: &'a [u8],
    /// SHA-256 of the raw body, lower-case hex: the id of a delivery that brings none.
    pub body_sha256: &'a str,
}

impl std::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// What a delivery says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The delivery id, or a hash where the provider gave none: the same delivery always has the same id.
    pub delivery: String,
    /// The event type as sent.
    pub event: Option<String>,
    /// The account whose delivery it is.
    pub account: Option<String>,
    /// The resources it is about, each once.
    pub resources: Vec<String>,
}

/// A realistic delivery.
#[derive(Debug)]
pub struct Sample {
    /// The event type as the provider sends it, `pull_request`, `Issue:create`.
    pub event: &'static str,
    /// What the sample shows, `merged`.
    pub name: &'static str,
    /// The payload.
    pub body: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_where_the_provider_sends_forms_and_nowhere_else() {
        let form = b"payload=%7B%22a%22%3A%22b+c%22%7D&x=1";
        let json = |provider: &Provider, kind| provider.json(kind, form).into_owned();
        let kind = Some("application/x-www-form-urlencoded; charset=utf-8");
        assert_eq!(json(&github::PROVIDER, kind), br#"{"a":"b c"}"#);
        assert_eq!(json(&github::PROVIDER, Some("application/json")), form);
        assert_eq!(json(&github::PROVIDER, None), form);
        assert_eq!(json(&linear::PROVIDER, kind), form);
        assert_eq!(github::PROVIDER.json(kind, b"{}").as_ref(), b"{}");
    }
}

/// A provider's id, where the API's description says which there are.
#[derive(Debug)]
pub enum ProviderId {}

impl utoipa::PartialSchema for ProviderId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let ids = ALL.iter().map(|provider| provider.id);
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("The id of a provider."))
            .enum_values(Some(ids))
            .into()
    }
}

impl utoipa::ToSchema for ProviderId {}
