//! Messages on their way out and in.

use std::{fmt, str::FromStr};

use async_nats::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use schemas::{header::Headers, instant};

/// A message to be stored.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Where.
    pub subject: String,
    /// The dedup id, unique within the stream.
    pub id: String,
    /// Our headers; names of the broker's (`Nats-…`) are left out.
    pub headers: Headers,
    /// Of a copy: the headers of the first, but for the broker's. Those above, each once then, take their place.
    pub copied: Copied,
    /// The body.
    pub payload: Bytes,
    /// Whether the subject may hold this one message only: stored once within the retention.
    pub once: bool,
    /// When it is due, where it is a timer. A new timer on a subject takes the place of the one before.
    pub timer: Option<Timer>,
}

/// A message that the broker keeps until its time and then stores elsewhere in the same stream, with the same body
/// and our headers. Its dedup id is gone then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Milliseconds since the epoch; the broker is up to 250 ms late.
    pub at: i64,
    /// The subject it is stored under when it is due.
    pub target: String,
}

impl Outgoing {
    /// Bytes it takes in a batch, roughly.
    pub(crate) fn size(&self) -> usize {
        let line = |name: &str, value: &str| name.len() + value.len() + 4;
        let headers: usize = self.headers.iter().map(|(name, value)| line(name, value)).sum();
        let copied: usize = pairs(&self.copied.0).map(|(name, value)| line(name, value)).sum();
        self.subject.len() + self.id.len() + headers + copied + self.payload.len()
    }

    /// The headers as the client wants them.
    pub(crate) fn header_map(&self) -> HeaderMap {
        let mut map = self.unnamed(self.copied.clone());
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            map.insert(header::NATS_MESSAGE_ID, id);
        }
        map
    }

    /// The same without the id, where the message is not sent a second time.
    pub(crate) fn take_header_map(&mut self) -> HeaderMap {
        let copied = std::mem::take(&mut self.copied);
        self.unnamed(copied)
    }

    fn unnamed(&self, copied: Copied) -> HeaderMap {
        let mut map = copied.under(&self.headers);
        if let Some(timer) = &self.timer
            && let Ok(target) = HeaderValue::from_str(&timer.target)
        {
            map.insert(
                header::NATS_SCHEDULE,
                HeaderValue::from(format!("@at {}", instant::rfc3339(timer.at)).as_str()),
            );
            map.insert(header::NATS_SCHEDULE_TARGET, target);
        }
        if self.once {
            map.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(0));
        }
        map
    }
}

/// The headers of a message that is stored again, as the client read them: to make thousands a second anew is dear.
#[derive(Clone, Debug, Default)]
pub struct Copied(HeaderMap);

impl Copied {
    /// These and ours; of a name that both have, ours. A name or value that could break the protocol is left out, and
    /// so is the broker's own: what it wrote of the batch of the first message would make this one part of it.
    fn under(self, headers: &Headers) -> HeaderMap {
        let brokers = |name: &HeaderName| is_brokers(name.as_ref());
        let mut map = if self.0.iter().any(|(name, _)| brokers(name)) {
            let mut kept = HeaderMap::new();
            for (name, values) in self.0.iter().filter(|(name, _)| !brokers(name)) {
                match values.as_slice() {
                    // The map looks a name up once less.
                    [only] => kept.insert(name.clone(), only.clone()),
                    several => several.iter().for_each(|value| kept.append(name.clone(), value.clone())),
                }
            }
            kept
        } else {
            self.0
        };
        let fresh = map.is_empty();
        for (name, value) in headers {
            if let (false, Ok(name), Ok(value)) =
                (is_brokers(name), HeaderName::from_str(name), HeaderValue::from_str(value))
            {
                if fresh { map.append(name, value) } else { map.insert(name, value) }
            }
        }
        map
    }
}

/// Whether the broker writes a header of this name, or obeys one.
#[must_use]
pub fn is_brokers(name: &str) -> bool {
    name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-"))
}

/// A stored message.
#[derive(Clone)]
pub struct Message {
    /// Where it is stored.
    pub subject: String,
    /// The body.
    pub payload: Bytes,
    /// Its place in the stream.
    pub sequence: u64,
    /// How often it was handed out, this time included.
    pub delivered: u64,
    /// Its place among all that its consumer handed out, from 1 on.
    pub(crate) order: u64,
    /// Messages of the same consumer that wait behind it.
    pub pending: u64,
    /// When the broker stored it, milliseconds since the epoch.
    pub stored_at: i64,
    /// The subject that acknowledges it; empty for what needs no acknowledgement.
    pub(crate) reply: String,
    /// All its headers, as the client read them.
    pub(crate) raw: HeaderMap,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject)
            .field("sequence", &self.sequence)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl Message {
    /// First value of a header, name compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.raw, name)
    }

    /// All headers, the broker's too: names and raw values. Those of one name stand in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.raw)
    }

    /// The same as a list.
    #[must_use]
    pub fn header_list(&self) -> Headers {
        self.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The same message with other headers; the broker's are left out.
    #[must_use]
    pub fn with_headers(self, headers: &Headers) -> Self {
        Self { raw: Copied::default().under(headers), ..self }
    }

    /// What a copy of the message takes with it: its headers, and its body.
    #[must_use]
    pub fn into_copy(self) -> (Copied, Bytes) {
        (Copied(self.raw), self.payload)
    }

    /// The dedup id it was stored under.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.header("Nats-Msg-Id")
    }

    /// A message that a consumer handed out, or none if it says nothing of its place.
    pub(crate) fn consumed(message: async_nats::Message) -> Option<Self> {
        let reply = message.reply?.into_string();
        let place = Place::parse(&reply)?;
        Some(Self {
            subject: message.subject.into_string(),
            payload: message.payload,
            sequence: place.sequence,
            delivered: place.delivered,
            order: place.order,
            pending: place.pending,
            stored_at: place.stored_at,
            reply,
            raw: message.headers.unwrap_or_default(),
        })
    }
}

/// First value of a header, name compared without case.
pub(crate) fn value<'a>(map: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let found = map.iter().find(|(candidate, _)| {
        let candidate: &str = candidate.as_ref();
        candidate.eq_ignore_ascii_case(name)
    });
    found?.1.first().map(HeaderValue::as_str)
}

fn pairs(map: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    map.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    })
}

/// What an acknowledgement subject tells:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<nanos>.<pending>`.
struct Place {
    sequence: u64,
    delivered: u64,
    order: u64,
    pending: u64,
    stored_at: i64,
}

impl Place {
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.split('.').collect();
        if tokens.first() != Some(&"$JS") || tokens.get(1) != Some(&"ACK") {
            return None;
        }
        // The longer form begins with domain and account, and ends in a random token.
        let at = if tokens.len() >= 11 { 6 } else { 4 };
        let number = |index: usize| tokens.get(at + index)?.parse::<u64>().ok();
        Some(Self {
            delivered: number(0)?,
            sequence: number(1)?,
            order: number(2)?,
            stored_at: i64::try_from(number(3)? / 1_000_000).ok()?,
            pending: number(4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_acknowledgement_subject_tell_the_place() {
        for reply in [
            "$JS.ACK.GW_WEBHOOK.router.2.41.7.1700000000123000000.5",
            "$JS.ACK.hub.ACC.GW_WEBHOOK.router.2.41.7.1700000000123000000.5.rnd",
        ] {
            let place = Place::parse(reply).expect("a place");
            assert_eq!((place.delivered, place.sequence, place.order, place.pending), (2, 41, 7, 5));
            assert_eq!(place.stored_at, 1_700_000_000_123);
        }
        assert!(Place::parse("_INBOX.x").is_none());
    }

    #[test]
    fn neither_a_line_break_nor_the_brokers_own_headers_pass() {
        let headers: Headers =
            [("Gw-Event", "a\r\nNats-TTL: 1s"), ("nats-ttl", "1s"), ("Gw-Org", "o"), ("bad name", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let map = Copied::default().under(&headers);
        assert_eq!(map.len(), 1);
        assert_eq!(map.get("Gw-Org").map(HeaderValue::as_str), Some("o"));
    }
}
