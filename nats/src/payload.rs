//! Claim check: a body too large for a message waits in the object store, and the message names it.

use std::{io::ErrorKind, time::Duration};

use async_nats::jetstream::{
    self,
    object_store::{GetErrorKind, ObjectMetadata, ObjectStore},
};
use bytes::Bytes;
use schemas::SubjectToken;
use tokio::{io::AsyncReadExt, sync::OnceCell, time::timeout};

use crate::{connect::Broker, error::Error, topology::GW_PAYLOAD};

/// Above this a body does not travel in a message.
const INLINE: usize = 512 * 1024;
/// What headers and the envelope may take of the server's `max_payload`.
const MARGIN: usize = 64 * 1024;
/// The most of a body that one message of the store holds.
const CHUNK: usize = 1 << 20;

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
        let store = self.store().await?;
        let mut object = match store.get(name).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let mut body = Vec::with_capacity(object.info.size);
        // Without its chunks an object never ends.
        match timeout(PATIENCE, object.read_to_end(&mut body)).await {
            Ok(Ok(_)) => Ok(Some(body.into())),
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Ok(Err(error)) => Err(failed(Box::new(error))),
            Err(elapsed) => Err(failed(Box::new(elapsed))),
        }
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
