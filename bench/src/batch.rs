//! Atomic batches by the bare client (the server's ADR-50): the ceiling where every write is synced, and the fast way
//! to fill a stream.

use async_nats::{Client, HeaderMap, Request, header};
use bytes::Bytes;
use serde_json::Value;

use crate::error::Error;

/// The server takes a thousand; the gateway sends as many at most.
pub(crate) const MOST: usize = 500;

/// One message of a batch.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Stores all in order or nothing. One alone is an ordinary message: as a batch it would be staged for nothing.
pub(crate) async fn store(client: &Client, items: Vec<Item>) -> Result<(), Error> {
    let id = format!("{:032x}", rand::random::<u128>());
    let last = items.len();
    for (index, mut item) in items.into_iter().enumerate() {
        if last > 1 {
            item.headers.insert(header::NATS_BATCH_ID, id.as_str());
            item.headers.insert(header::NATS_BATCH_SEQUENCE, (index + 1).to_string());
        }
        if index + 1 < last {
            client.publish_with_headers(item.subject, item.headers, item.body).await.map_err(Error::client)?;
            continue;
        }
        if last > 1 {
            item.headers.insert(header::NATS_BATCH_COMMIT, "1");
        }
        let request = Request::new().headers(item.headers).payload(item.body);
        let answer = client.send_request(item.subject, request).await.map_err(Error::client)?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if answer.get("error").is_some() {
            return Err(Error::Wrong(format!("the server refused a batch: {answer}")));
        }
    }
    Ok(())
}
