//! Claim check: a body too large for a message waits in the object store, and the message names it.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    object_store::{InfoErrorKind, ObjectInfo, ObjectMetadata, ObjectStore},
};
use bytes::Bytes;
use data_encoding::BASE64URL;
use schemas::SubjectToken;
use sha2::{Digest, Sha256};
use tokio::{sync::OnceCell, time::timeout};

use crate::{connect::Broker, error::Error, read, topology::GW_PAYLOAD};

/// Above this a body does not travel in a message.
const INLINE: usize = 512 * 1024;
/// What headers and the envelope may take of the server's `max_payload`.
const MARGIN: usize = 64 * 1024;
/// The most of a body that one message of the store holds.
const CHUNK: usize = 1 << 20;
/// Chunks that are asked for at once.
const AT_ONCE: usize = 16;

/// How long a body may take to be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// The store of large bodies.
#[derive(Clone)]
pub struct Payloads {
    broker: Broker,
    store: std::sync::Arc<OnceCell<ObjectStore>>,
}

impl std::fmt::Debug for Payloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Payloads")
    }
}

impl Payloads {
    /// The store on this broker.
    #[must_use]
    pub fn new(broker: &Broker) -> Self {
        Self { broker: broker.clone(), store: std::sync::Arc::default() }
    }

    /// The largest body that travels in a message, in bytes.
    #[must_use]
    pub fn inline_limit(&self) -> usize {
        inline_limit(self.broker.max_payload())
    }

    /// Stores a body, whose SHA-256 is known, and gives its name: `<provider>/<delivery>/<sha-256>`, so that a name
    /// never changes its bytes. What is stored already is not sent again.
    pub async fn put(&self, provider: &str, delivery: &str, sha256: &str, body: &Bytes) -> Result<String, Error> {
        let name = format!("{}/{}/{sha256}", SubjectToken::new(provider), SubjectToken::new(delivery));
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Payload {
            what: "store",
            name: name.clone(),
            source,
        };
        let store = self.store().await?;
        if store.info(&name).await.is_ok_and(|info| info.size == body.len()) {
            return Ok(name);
        }
        // Chunks are stored one after the other, each with an fsync: few large ones.
        let chunk = self.broker.max_payload().saturating_sub(MARGIN).clamp(1, CHUNK);
        let object = ObjectMetadata { name: name.clone(), chunk_size: Some(chunk), ..ObjectMetadata::default() };
        let mut bytes = body.as_ref();
        store.put(object, &mut bytes).await.map_err(|error| failed(Box::new(error)))?;
        Ok(name)
    }

    /// Reads a body, or none where the store does not hold it, or not as it was stored.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Payload {
            what: "read",
            name: name.to_owned(),
            source,
        };
        let info = match self.store().await?.info(name).await {
            Ok(info) if info.deleted => return Ok(None),
            Ok(info) => info,
            Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(Box::new(error))),
        };
        timeout(PATIENCE, self.chunks(&info)).await.map_err(|elapsed| failed(Box::new(elapsed)))?
    }

    /// The chunks of an object, put together. The client's own reader leaves a consumer behind each time, for half a
    /// minute, and a stream has only so many.
    async fn chunks(&self, info: &ObjectInfo) -> Result<Option<Bytes>, Error> {
        let (stream, subject) = (format!("OBJ_{GW_PAYLOAD}"), format!("$O.{GW_PAYLOAD}.C.{}", info.nuid));
        let mut body = Vec::with_capacity(info.size);
        let (mut next, mut left) = (1, info.chunks);
        while left > 0 {
            let chunks = read::batch_of(&self.broker, &stream, &subject, next, left.min(AT_ONCE)).await?;
            let Some(last) = chunks.last() else { return Ok(None) };
            (next, left) = (last.sequence + 1, left.saturating_sub(chunks.len()));
            chunks.iter().for_each(|chunk| body.extend_from_slice(&chunk.payload));
        }
        let digest = format!("SHA-256={}", BASE64URL.encode(&Sha256::digest(&body)));
        let whole = body.len() == info.size && info.digest.as_ref() == Some(&digest);
        Ok(whole.then(|| body.into()))
    }

    async fn store(&self) -> Result<&ObjectStore, Error> {
        let open = async || {
            jetstream::new(self.broker.client.clone())
                .get_object_store(GW_PAYLOAD)
                .await
                .map_err(|error| Error::reading(format!("OBJ_{GW_PAYLOAD}"), error))
        };
        self.store.get_or_try_init(open).await
    }
}

fn inline_limit(max_payload: usize) -> usize {
    INLINE.min(max_payload.saturating_sub(MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_below_both_our_limit_and_the_servers() {
        assert_eq!(inline_limit(1 << 20), 512 * 1024);
        assert_eq!(inline_limit(256 * 1024), 192 * 1024);
        assert_eq!(inline_limit(1024), 0);
    }
}
