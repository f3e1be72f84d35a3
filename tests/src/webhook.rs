//! A webhook as a provider sends it.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use schemas::{
    Provider, provider,
    provider::{Sample, Signature},
};
use sha1::Sha1;
use sha2::Sha256;

/// A webhook, ready to be posted.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The provider's id.
    pub provider: String,
    /// All request headers.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
}

impl Webhook {
    /// A signed webhook of an event type, with a new delivery id where a header carries it.
    #[must_use]
    pub fn new(provider: &str, event: &str, body: impl Into<Vec<u8>>) -> Self {
        let known = provider::find(provider).expect("a known provider");
        let mut webhook = Self { provider: provider.to_owned(), headers: Vec::new(), body: body.into() };
        webhook.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        if let Some(name) = known.event_header {
            webhook.headers.push((name.to_owned(), event.to_owned()));
        }
        if let Some(name) = known.delivery_header {
            webhook.headers.push((name.to_owned(), format!("{:032x}", rand::random::<u128>())));
        }
        webhook.signed_with(crate::world::SECRET)
    }

    /// The provider's sample, as if it had just happened.
    #[must_use]
    pub fn sample(provider: &str, event: &str) -> Self {
        let known = provider::find(provider).expect("a known provider");
        let sample = known.samples.iter().find(|sample| sample.event == event).expect("a sample of the event");
        Self::of(known, sample)
    }

    /// This sample of a provider, as if it had just happened.
    #[must_use]
    pub fn of(known: &Provider, sample: &Sample) -> Self {
        let mut body: serde_json::Value = serde_json::from_str(sample.body).expect("a sample is JSON");
        (known.refresh)(&mut body, crate::world::now(), &format!("{:032x}", rand::random::<u128>()));
        Self::new(known.id, sample.event, serde_json::to_vec(&body).expect("a value is JSON"))
    }

    /// A GitHub push to a repository of an installation.
    #[must_use]
    pub fn push(repository: u64, installation: u64) -> Self {
        Self::push_numbered(repository, installation, 0)
    }

    /// The same with a number in it, to tell several apart.
    #[must_use]
    pub fn push_numbered(repository: u64, installation: u64, number: u64) -> Self {
        let body = serde_json::json!({
            "ref": "refs/heads/main",
            "before": "0".repeat(40),
            "after": format!("{number:040x}"),
            "repository": { "id": repository, "full_name": "octo-org/hello", "html_url": "https://github.com/octo-org/hello" },
            "installation": { "id": installation },
            "sender": { "id": 1, "login": "octocat" },
            "commits": [],
            "head_commit": null,
        });
        Self::new("github", "push", body.to_string())
    }

    /// The same webhook with another signature.
    #[must_use]
    pub fn signed_with(mut self, secret: &str) -> Self {
        let provider = provider::find(&self.provider).expect("a known provider");
        let value = sign(provider, secret, &self.body);
        self.set(provider.signature.header(), &value)
    }

    /// The same webhook with a header changed or added.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut webhook = self;
        webhook.set(name, value)
    }

    /// The same webhook without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The delivery id that a header carries.
    #[must_use]
    pub fn delivery(&self) -> String {
        let provider = provider::find(&self.provider).expect("a known provider");
        provider.delivery_header.and_then(|name| self.header(name)).expect("a delivery id").to_owned()
    }

    fn set(&mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self.clone()
    }
}

/// The signature header's value, as the provider writes it.
#[must_use]
pub fn sign(provider: &Provider, secret: &str, body: &[u8]) -> String {
    match provider.signature {
        Signature::HmacSha256 { prefix, .. } => {
            let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
            format!("{prefix}{}", HEXLOWER.encode(&mac.chain_update(body).finalize().into_bytes()))
        }
        Signature::HmacSha1 { .. } => {
            let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length");
            HEXLOWER.encode(&mac.chain_update(body).finalize().into_bytes())
        }
    }
}
