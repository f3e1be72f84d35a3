//! The one webhook of all measurements: a GitHub push of 7 KiB, as a request and as a message. Only the delivery id
//! differs, and it stands in a header: so one signature holds for all.

use async_nats::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use schemas::{
    Delivery, Origin, Provider,
    event::{self, Event},
    event_type::TypeKey,
    header::{BODY_SHA256, DELIVERY, Headers},
    instant,
    provider::{self, Received},
    subject,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{batch::Item, error::Error};

/// Bytes of the body.
pub(crate) const BYTES: usize = 7 * 1024;
/// A UUID's form, as GitHub sends it.
pub(crate) const ID_LENGTH: usize = 36;
const PROVIDER: &str = "github";
const EVENT: &str = "push";
/// What a request of the gateway adds: 26 characters of base32.
const CORRELATION: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
const RECEIVED_AT: i64 = 1_767_225_600_000;

/// Ids of the bench's accounts and repositories begin here.
const ACCOUNTS: usize = 50_000_000;
const REPOSITORIES: usize = 600_000_000;

/// Account and repository of this number; `fill::routes` links them.
pub(crate) fn account(number: usize) -> (usize, usize) {
    (ACCOUNTS + number, REPOSITORIES + number)
}

/// Ids that no other run of the bench makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    run: u32,
    worker: u16,
    next: u64,
}

impl Ids {
    pub(crate) fn new(run: u32, worker: usize) -> Self {
        Self { run, worker: worker as u16, next: 0 }
    }

    pub(crate) fn next(&mut self) -> String {
        self.next += 1;
        id(self.run, self.worker, self.next)
    }
}

/// An id of always the same length, from which `number_of` reads its number back.
pub(crate) fn id(run: u32, worker: u16, number: u64) -> String {
    format!("{run:08x}-{worker:04x}-4000-8000-{number:012x}")
}

/// The number of an id of this run.
pub(crate) fn number_of(run: u32, id: &str) -> Option<usize> {
    let own = id.starts_with(&format!("{run:08x}-"));
    own.then(|| usize::from_str_radix(id.rsplit('-').next()?, 16).ok()).flatten()
}

/// The webhook.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) body: Bytes,
    pub(crate) delivery: Delivery,
}

impl Sample {
    /// The push of the provider's samples, of the account of this number, cut and filled up to 7 KiB.
    pub(crate) fn push(number: usize) -> Result<Self, Error> {
        let provider = provider::find(PROVIDER).ok_or_else(|| missing("provider"))?;
        let found = provider.samples.iter().find(|sample| sample.event == EVENT).ok_or_else(|| missing("sample"))?;
        let mut body: Value = serde_json::from_str(found.body)?;
        let (account, repository) = account(number);
        for (pointer, id) in [("/installation/id", account), ("/repository/id", repository)] {
            *body.pointer_mut(pointer).ok_or_else(|| missing(pointer))? = json!(id);
        }
        Ok(Self::of(provider, fitted(body, BYTES)?))
    }

    /// The least that is a push.
    pub(crate) fn small(bytes: usize) -> Result<Self, Error> {
        let provider = provider::find(PROVIDER).ok_or_else(|| missing("provider"))?;
        let (account, repository) = account(0);
        let body = json!({ "installation": { "id": account }, "repository": { "id": repository } });
        Ok(Self::of(provider, fitted(body, bytes)?))
    }

    fn of(provider: &'static Provider, body: Bytes) -> Self {
        let body_sha256 = HEXLOWER.encode(&Sha256::digest(&body));
        let id = id(0, 0, 0);
        let sent = sent_headers(&id);
        let header = |name: &str| sent.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        let identity = (provider.identify)(&Received { header: &header, body: &body, body_sha256: &body_sha256 });
        let kept = provider.kept_headers.iter().filter_map(|name| Some(((*name).to_owned(), header(name)?.to_owned())));
        let delivery = Delivery {
            provider: provider.id.to_owned(),
            event: identity.event,
            id: identity.delivery,
            account: identity.account,
            resources: identity.resources,
            received_at: RECEIVED_AT,
            origin: Origin::Live,
            bound: None,
            correlation: Some(CORRELATION.to_owned()),
            signature_key: Some("current".to_owned()),
            kept: kept.collect(),
            body_sha256,
            payload_ref: None,
        };
        Self { body, delivery }
    }

    /// A signed request, and where in it the delivery id stands.
    pub(crate) fn request(&self, host: &str, secret: &str) -> Result<(Vec<u8>, usize), Error> {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes())
            .map_err(|_| Error::Wrong("the secret has no usable length".into()))?;
        mac.update(&self.body);
        let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        let mut head = format!("POST /webhooks/{PROVIDER} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n");
        head.push_str(&format!("x-hub-signature-256: sha256={signature}\r\ncontent-length: {}\r\n", self.body.len()));
        let mut id_at = 0;
        for (name, value) in sent_headers(&self.delivery.id) {
            if name == "x-github-delivery" {
                id_at = head.len() + name.len() + 2;
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Ok(([head.as_bytes(), &self.body].concat(), id_at))
    }

    /// The event that the router makes of the webhook under this id, for an organisation.
    pub(crate) fn event(&self, delivery: &str, org: &str) -> Result<Item, Error> {
        let key = TypeKey::new(EVENT, None);
        let id = event::id(PROVIDER, delivery, org, None);
        let event = Event {
            delivery_id: delivery.to_owned(),
            connection_id: "con_1".to_owned(),
            connection_ids: vec!["con_1".to_owned()],
            org_id: org.to_owned(),
            provider: PROVIDER.to_owned(),
            event_type: EVENT.to_owned(),
            kind: key.of(PROVIDER),
            sequence: 1,
            received_at: RECEIVED_AT,
            occurred_at: instant::rfc3339(RECEIVED_AT),
            correlation_id: Some(CORRELATION.to_owned()),
            origin: Origin::Live.to_string(),
            replay_of: None,
            workspaces: Vec::new(),
            significance: 30,
            event: None,
            payload: Some(serde_json::from_slice(&self.body)?),
            payload_ref: None,
        };
        let mut headers = map_of(event.headers(&id, self.delivery.account.as_deref()))?;
        headers.insert(header::NATS_MESSAGE_ID, id.as_str());
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(0));
        let subject = subject::event(Origin::Live, org, PROVIDER, &key, &id);
        Ok(Item { subject, headers, body: serde_json::to_vec(&event)?.into() })
    }

    /// The message that the gateway makes of the webhook: what a bare client publishes.
    pub(crate) fn message(&self) -> Result<Message, Error> {
        let headers = header_map(&self.delivery)?;
        let subject = subject::webhook(&self.delivery);
        let stem = subject.strip_suffix(&self.delivery.id).unwrap_or(&subject).to_owned();
        Ok(Message { headers, stem, body: self.body.clone() })
    }
}

/// A message whose id is still to be set.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    headers: HeaderMap,
    stem: String,
    pub(crate) body: Bytes,
}

impl Message {
    /// Subject and headers of a delivery with this id.
    pub(crate) fn with_id(&self, id: &str) -> (String, HeaderMap) {
        let mut headers = self.headers.clone();
        headers.insert(DELIVERY, id);
        headers.insert("Gw-H-x-github-delivery", id);
        headers.insert(header::NATS_MESSAGE_ID, format!("{PROVIDER}:{id}"));
        (format!("{}{id}", self.stem), headers)
    }
}

/// All headers that the gateway's publisher sends with a delivery.
fn header_map(delivery: &Delivery) -> Result<HeaderMap, Error> {
    let mut map = map_of(delivery.headers())?;
    map.insert(header::NATS_MESSAGE_ID, delivery.message_id());
    map.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(0));
    debug_assert!(map.get(BODY_SHA256).is_some());
    Ok(map)
}

fn map_of(headers: Headers) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_| Error::Wrong(format!("{name} is no header")))?;
        map.append(name, value.parse::<HeaderValue>().map_err(Error::client)?);
    }
    Ok(map)
}

/// What GitHub sends beside the signature.
fn sent_headers(id: &str) -> Vec<(&'static str, String)> {
    [
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("content-type", "application/json"),
        ("x-github-event", EVENT),
        ("x-github-delivery", id),
        ("x-github-hook-id", "292430182"),
        ("x-github-hook-installation-target-id", "79929171"),
        ("x-github-hook-installation-target-type", "integration"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// The value as JSON of exactly this many bytes: links of the repository are left out, then a text fills up.
fn fitted(mut value: Value, bytes: usize) -> Result<Bytes, Error> {
    const FILLER: &str = r#","filler":"""#;
    while serde_json::to_vec(&value)?.len() + FILLER.len() > bytes {
        let repository = value.get_mut("repository").and_then(Value::as_object_mut);
        let link = repository.as_ref().and_then(|names| names.keys().find(|name| name.ends_with("_url"))).cloned();
        let (Some(repository), Some(link)) = (repository, link) else { break };
        repository.remove(&link);
    }
    let missing = bytes.saturating_sub(serde_json::to_vec(&value)?.len() + FILLER.len());
    if let Some(object) = value.as_object_mut() {
        let words = "The quick brown fox jumps over the lazy dog. ".repeat(missing / 45 + 1);
        object.insert("filler".to_owned(), json!(words[..missing]));
    }
    Ok(serde_json::to_vec(&value)?.into())
}

fn missing(what: &str) -> Error {
    Error::Wrong(format!("schemas has no {what} {PROVIDER} {EVENT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_is_seven_kibibytes_of_json_that_names_its_account_and_repository() {
        let sample = Sample::push(0).unwrap();
        assert_eq!(sample.body.len(), BYTES);
        assert!(serde_json::from_slice::<Value>(&sample.body).unwrap()["commits"].is_array());
        let (account, repository) = account(0);
        assert_eq!(sample.delivery.account, Some(account.to_string()));
        assert_eq!(sample.delivery.resources, [repository.to_string()]);
        assert_eq!(Sample::small(300).unwrap().body.len(), 300);
        assert_eq!(Sample::small(300).unwrap().delivery.account, sample.delivery.account);
    }

    #[test]
    fn the_id_of_a_request_can_be_replaced_in_its_place() {
        let sample = Sample::push(0).unwrap();
        let (request, at) = sample.request("127.0.0.1", "secret").unwrap();
        assert_eq!(&request[at..at + ID_LENGTH], sample.delivery.id.as_bytes());
        assert_eq!(Ids::new(1, 2).next().len(), ID_LENGTH);
        assert_eq!(number_of(7, &id(7, 0, 41)), Some(41));
        assert_eq!(number_of(8, &id(7, 0, 41)), None);
    }

    #[test]
    fn a_message_has_every_header_of_the_gateways() {
        let sample = Sample::push(0).unwrap();
        let (subject, headers) = sample.message().unwrap().with_id("d-1");
        assert_eq!(subject, "gw.webhook.github.push.d-1");
        assert_eq!(headers.get("Nats-Msg-Id").map(HeaderValue::as_str), Some("github:d-1"));
        assert_eq!(headers.len(), sample.delivery.headers().len() + 2);
    }
}
