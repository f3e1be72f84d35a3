//! Key-value buckets whose values only ever get newer.

use async_nats::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde::Deserialize;

use crate::{
    connect::Broker,
    error::{ApiError, Code, Error},
};

/// How often a write is tried against others who write the same key.
const TRIES: usize = 16;
/// How long a removed value stays, to keep older versions out.
const TOMBSTONE: &str = "24h";

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    broker: Broker,
    name: &'static str,
}

/// The part of every value that orders its writes.
#[derive(Deserialize)]
struct Versioned {
    version: i64,
}

struct Entry {
    revision: u64,
    value: Bytes,
}

impl Bucket {
    /// The bucket of this name.
    #[must_use]
    pub fn new(broker: &Broker, name: &'static str) -> Self {
        Self { broker: broker.clone(), name }
    }

    /// The stream under the bucket.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// The value of a key; none where it was purged.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.entry(key).await?.map(|entry| entry.value).filter(|value| !value.is_empty()))
    }

    /// Puts a value unless the key holds the same or a newer version. Tells whether it was put.
    pub async fn put_newer(&self, key: &str, version: i64, value: Bytes) -> Result<bool, Error> {
        self.write(key, version, value, false).await
    }

    /// Puts a value that says the key is gone, unless the key holds the same or a newer version. It expires by
    /// itself after a day.
    pub async fn put_tombstone(&self, key: &str, version: i64, value: Bytes) -> Result<bool, Error> {
        self.write(key, version, value, true).await
    }

    /// Removes a key whatever it holds.
    pub async fn purge(&self, key: &str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert(header::NATS_ROLLUP, "sub");
        headers.insert(header::NATS_MESSAGE_TTL, "1h");
        self.publish(key, headers, Bytes::new()).await
    }

    async fn write(&self, key: &str, version: i64, value: Bytes, tombstone: bool) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let entry = self.entry(key).await?;
            let known = entry.as_ref().and_then(|entry| serde_json::from_slice::<Versioned>(&entry.value).ok());
            if known.is_some_and(|known| known.version >= version) {
                return Ok(false);
            }
            let revision = entry.map_or(0, |entry| entry.revision);
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision));
            if tombstone {
                headers.insert(header::NATS_MESSAGE_TTL, TOMBSTONE);
            }
            match self.publish(key, headers, value.clone()).await {
                Ok(()) => return Ok(true),
                Err(error) if matches!(error.code(), Some(Code::WrongLastSequence | Code::SubjectInFlight)) => {}
                Err(error) => return Err(error),
            }
        }
        let what = format!("{} {key}", self.name);
        Err(Error::Refused { what, code: Code::WrongLastSequence, description: "others keep writing it".to_owned() })
    }

    async fn publish(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Ack {
            error: Option<ApiError>,
        }
        let what = format!("a write of {} {key}", self.name);
        let request = async_nats::Request::new().headers(headers).payload(value);
        let answer = self.broker.request(&what, format!("$KV.{}.{key}", self.name), request).await?;
        let ack: Ack =
            serde_json::from_slice(&answer.payload).map_err(|source| Error::Answer { what: what.clone(), source })?;
        ack.error.map_or(Ok(()), |error| Err(error.refused(&what)))
    }

    /// The last message of a key, from any replica: a stale read loses the compare-and-set that follows.
    async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        let what = format!("a read of {} {key}", self.name);
        let subject = format!("$JS.API.DIRECT.GET.{}.$KV.{}.{key}", self.stream(), self.name);
        let answer = self.broker.request(&what, subject, async_nats::Request::new()).await?;
        if answer.status.is_some_and(|status| status.as_u16() == 404) {
            return Ok(None);
        }
        let headers = answer.headers.as_ref();
        let revision = headers
            .and_then(|headers| headers.get(header::NATS_SEQUENCE))
            .and_then(|value| value.as_str().parse().ok());
        let Some(revision) = revision else {
            let description = answer.description.unwrap_or_else(|| "the answer names no revision".to_owned());
            return Err(Error::Refused {
                what,
                code: Code::Other(answer.status.map_or(0, |status| status.as_u16().into())),
                description,
            });
        };
        Ok(Some(Entry { revision, value: answer.payload }))
    }
}
