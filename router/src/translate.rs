//! Makes the event of an organisation from a delivery and the links that admit it.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use nats::{Error, Message, Outgoing, Payloads};
use schemas::{
    Delivery, Origin, Provider,
    event::{self, Event},
    event_type::TypeKey,
    header,
    outcome::MOST_LINKS,
    provider,
    provider::Received,
    significance,
    source_event::{Context, SourceEvent},
    subject,
};
use serde_json::{Value, value::RawValue};

use crate::table::Link;

/// Larger bodies are read off the runtime's threads.
const SMALL: usize = 256 * 1024;
/// What the envelope may take beside the payload.
const ENVELOPE: usize = 48 * 1024;
/// Bodies up to this have nothing that could make an event too large.
const HARMLESS: usize = 32 * 1024;

/// A delivery that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) delivery: Delivery,
    pub(crate) provider: &'static Provider,
    pub(crate) key: TypeKey,
    /// Its place in `GW_WEBHOOK`.
    pub(crate) sequence: u64,
    event_type: String,
    body: Bytes,
    payload: Box<RawValue>,
    normalised: Option<SourceEvent>,
    significance: u8,
    /// What the event holds beside the payload, where it may be much.
    extracted: usize,
}

/// Why an event is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Occasion<'a> {
    /// The delivery came in.
    First {
        /// The trace it belongs to.
        traceparent: Option<&'a str>,
    },
    /// This replay makes it anew, under an id of its own.
    Replay(&'a str),
}

/// Why a delivery could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It never can be.
    Never(String),
    /// The broker did not give the body.
    Later(Error),
}

impl Read {
    /// Whether the body is better read off the runtime's threads, a few at a time.
    pub(crate) fn is_large(message: &Message) -> bool {
        message.payload.len() > SMALL || message.header(header::PAYLOAD_REF).is_some()
    }

    /// The same without what only its events needed.
    pub(crate) fn shed(self) -> Self {
        Self { body: Bytes::new(), payload: RawValue::NULL.to_owned(), normalised: None, ..self }
    }

    pub(crate) async fn of(message: &Message, payloads: &Payloads) -> Result<Self, Unread> {
        let never = |detail: &str| Unread::Never(detail.to_owned());
        let delivery =
            Delivery::from_headers(&message.header_list()).map_err(|malformed| Unread::Never(malformed.to_string()))?;
        let provider = provider::find(&delivery.provider).ok_or_else(|| never("the provider is unknown"))?;
        let event_type = delivery.event.clone().ok_or_else(|| never("the delivery has no event type"))?;
        let body = match &delivery.payload_ref {
            None => message.payload.clone(),
            Some(name) => match payloads.get(name).await.map_err(Unread::Later)? {
                Some(body) => body,
                // A replica that lags may not have it yet.
                None => {
                    return Err(Unread::Later(Error::Payload {
                        what: "read",
                        name: name.clone(),
                        source: "the store does not hold it".into(),
                    }));
                }
            },
        };
        let sequence = match message.header(header::SEQUENCE) {
            Some(sequence) => sequence.parse().map_err(|_| never("header Gw-Sequence is not a number"))?,
            None => message.sequence,
        };
        let limit = payloads.inline_limit();
        let read = move || {
            let read = Self::new(delivery, provider, event_type, body, sequence)?;
            match read.extracted > limit {
                true => Err(Unread::Never(format!(
                    "its event takes {} bytes without the payload, and {limit} is the most",
                    read.extracted
                ))),
                false => Ok(read),
            }
        };
        if !Self::is_large(message) {
            // As below, where a thread of its own catches it.
            return catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(never("reading the payload failed")));
        }
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(never("reading the payload failed")))
    }

    fn new(
        mut delivery: Delivery,
        provider: &'static Provider,
        event_type: String,
        body: Bytes,
        sequence: u64,
    ) -> Result<Self, Unread> {
        let content_type =
            delivery.kept.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        let json = provider.json(content_type, &body);
        let text =
            std::str::from_utf8(&json).map_err(|error| Unread::Never(format!("the body is not UTF-8: {error}")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value: Value =
            serde_json::from_str(text).map_err(|error| Unread::Never(format!("the body is not JSON: {error}")))?;
        if !value.is_object() {
            return Err(Unread::Never("the body is not a JSON object".to_owned()));
        }
        let payload = RawValue::from_string(text.to_owned())
            .map_err(|error| Unread::Never(format!("the body is not JSON: {error}")))?;
        if delivery.may_name_more() {
            let received = Received { header: &|_| None, body: text.as_bytes(), body_sha256: &delivery.body_sha256 };
            delivery.resources = (provider.identify)(&received).resources;
        }
        let key = (provider.type_of)(&event_type, &value);
        let context = Context {
            provider: provider.id,
            delivery: &delivery.id,
            event: &event_type,
            received_at: delivery.received_at,
        };
        let normalised = (provider.normalise)(context, &value);
        let weight = provider.event_type(&key).map(|known| known.weight);
        let significance = significance::score(weight, normalised.as_ref());
        let extracted = if body.len() > HARMLESS { extracted(&key, normalised.as_ref()) } else { 0 };
        Ok(Self { delivery, provider, key, sequence, event_type, body, payload, normalised, significance, extracted })
    }

    /// What each organisation gets: an event, or nothing where its filters admit none.
    pub(crate) fn resolve(&self, claims: &[Arc<Link>]) -> Resolution {
        let mut orgs: BTreeMap<Arc<str>, Vec<Arc<Link>>> = BTreeMap::new();
        for link in claims {
            orgs.entry(link.org.clone()).or_default().push(link.clone());
        }
        let mut resolution = Resolution::default();
        for (org, links) in orgs {
            let (admitting, refusing): (Vec<_>, Vec<_>) =
                links.into_iter().partition(|link| link.admits(self.provider, &self.event_type, &self.key));
            if admitting.is_empty() {
                resolution.filtered.push((org, refusing));
            } else {
                resolution.admitted.push((org, admitting));
            }
        }
        resolution
    }

    /// The message that an organisation's subscribers get.
    pub(crate) async fn event(
        &self,
        org: &str,
        links: &[Arc<Link>],
        payloads: &Payloads,
        occasion: Occasion<'_>,
    ) -> Result<Outgoing, Error> {
        let reference = match &self.delivery.payload_ref {
            Some(reference) => Some(reference.clone()),
            None if self.payload.get().len() + ENVELOPE.max(self.extracted) > payloads.inline_limit() => {
                Some(payloads.put(self.provider.id, &self.delivery.id, &self.delivery.body_sha256, &self.body).await?)
            }
            None => None,
        };
        let own = event::id(self.provider.id, &self.delivery.id, org, None);
        let (id, origin, replay_of, traceparent) = match occasion {
            Occasion::First { traceparent } => (own, self.delivery.origin, None, traceparent),
            Occasion::Replay(replay) => {
                let id = event::id(self.provider.id, &self.delivery.id, org, Some(replay));
                (id, Origin::Replay, Some(own), None)
            }
        };
        let mut connections: Vec<String> = links.iter().map(|link| link.connection.to_string()).collect();
        connections.sort();
        connections.dedup();
        let mut workspaces: Vec<String> =
            links.iter().filter_map(|link| link.workspace.as_deref().map(str::to_owned)).collect();
        workspaces.sort();
        workspaces.dedup();
        let event = Event {
            delivery_id: self.delivery.id.clone(),
            connection_id: connections.first().cloned().unwrap_or_default(),
            connection_ids: connections,
            org_id: org.to_owned(),
            provider: self.provider.id.to_owned(),
            event_type: self.event_type.clone(),
            kind: self.key.of(self.provider.id),
            sequence: self.sequence,
            received_at: self.delivery.received_at,
            occurred_at: Event::time_of(self.normalised.as_ref(), self.delivery.received_at),
            correlation_id: self.delivery.correlation.clone(),
            origin: origin.to_string(),
            replay_of,
            workspaces,
            significance: self.significance,
            event: self.normalised.clone(),
            payload: reference.is_none().then(|| self.payload.clone()),
            payload_ref: reference,
        };
        let mut headers = event.headers(&id, self.delivery.account.as_deref());
        let named = links.iter().take(MOST_LINKS);
        headers.extend(named.map(|link| (header::LINK.to_owned(), header::encode(&link.id))));
        if let Occasion::Replay(replay) = occasion {
            headers.push((header::REPLAY.to_owned(), replay.to_owned()));
        }
        if let Some(traceparent) = traceparent {
            headers.push((header::TRACEPARENT.to_owned(), traceparent.to_owned()));
        }
        let payload =
            serde_json::to_vec(&event).map_err(|source| Error::Answer { what: "an event".to_owned(), source })?;
        let subject = subject::event(origin, org, self.provider.id, &self.key, &id);
        Ok(Outgoing { subject, id, headers, payload: payload.into(), once: true, ..Outgoing::default() })
    }
}

/// Bytes of what was read of a payload: the type stands in the event and, encoded, in a header of it.
fn extracted(key: &TypeKey, normalised: Option<&SourceEvent>) -> usize {
    4 * key.source_type().len() + serde_json::to_vec(&normalised).map_or(0, |json| json.len())
}

/// What becomes of a delivery, an entry an organisation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolution {
    /// With the links that want it.
    pub(crate) admitted: Vec<(Arc<str>, Vec<Arc<Link>>)>,
    /// With the links whose filters do not.
    pub(crate) filtered: Vec<(Arc<str>, Vec<Arc<Link>>)>,
}

impl Resolution {
    /// Whether nobody claims it.
    pub(crate) fn is_empty(&self) -> bool {
        self.admitted.is_empty() && self.filtered.is_empty()
    }
}
