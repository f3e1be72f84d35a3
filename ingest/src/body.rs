//! Reads a body within bounds: its own size, the bytes of all bodies held at once, and time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// The largest body taken, in bytes: no provider documents a larger one.
pub(crate) const MAX_BODY: usize = 25 << 20;

/// A body, and the room it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Room is taken as bytes arrive, not as they are announced: who announces much and sends nothing takes none.
pub(crate) async fn read(
    budget: &Arc<Semaphore>,
    headers: &HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<Held, Error> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(Error::TooLarge);
    }
    tokio::time::timeout(timeout, collect(budget, body)).await.map_err(|_elapsed| Error::SlowBody)?
}

async fn collect(budget: &Arc<Semaphore>, body: Body) -> Result<Held, Error> {
    let mut frames = body.into_data_stream();
    let mut room: Option<OwnedSemaphorePermit> = None;
    let mut bytes = Bytes::new();
    let mut more: Option<BytesMut> = None;
    let mut length = 0;
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_gone| Error::BrokenBody)?;
        if frame.is_empty() {
            continue;
        }
        length += frame.len();
        if length > MAX_BODY {
            return Err(Error::TooLarge);
        }
        let permit = budget.clone().try_acquire_many_owned(frame.len() as u32).map_err(|_full| Error::Overloaded)?;
        match &mut room {
            Some(room) => room.merge(permit),
            none => *none = Some(permit),
        }
        // A body that came in one piece is kept as it is.
        if bytes.is_empty() && more.is_none() {
            bytes = frame;
        } else {
            more.get_or_insert_with(|| BytesMut::from(bytes.as_ref())).extend_from_slice(&frame);
        }
    }
    let bytes = more.map_or(bytes, BytesMut::freeze);
    if bytes.is_empty() {
        return Err(Error::EmptyBody);
    }
    Ok(Held { bytes, _room: room })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read_all(budget: usize, frames: Vec<Vec<u8>>) -> Result<Held, Error> {
        let body = Body::from_stream(stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>)));
        read(&Arc::new(Semaphore::new(budget)), &HeaderMap::new(), body, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_the_same_body() {
        let held = read_all(100, vec![b"a".to_vec(), Vec::new(), b"bc".to_vec(), b"d".to_vec()]).await.unwrap();
        assert_eq!(held.bytes, Bytes::from_static(b"abcd"));
    }

    #[tokio::test]
    async fn bodies_beyond_the_common_room_are_refused_and_give_their_room_back() {
        let budget = Arc::new(Semaphore::new(4));
        let body = || Body::from("abcde");
        let limit = Duration::from_secs(5);
        assert!(matches!(read(&budget, &HeaderMap::new(), body(), limit).await, Err(Error::Overloaded)));
        let held = read(&budget, &HeaderMap::new(), Body::from("abcd"), limit).await.unwrap();
        assert_eq!(budget.available_permits(), 0);
        drop(held);
        assert_eq!(budget.available_permits(), 4);
    }

    #[tokio::test]
    async fn empty_and_oversized_bodies_are_refused() {
        assert!(matches!(read_all(100, vec![]).await, Err(Error::EmptyBody)));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, (MAX_BODY + 1).into());
        let announced = read(&Arc::new(Semaphore::new(1)), &headers, Body::empty(), Duration::from_secs(5)).await;
        assert!(matches!(announced, Err(Error::TooLarge)));
        let chunks = vec![vec![0; MAX_BODY / 2]; 3];
        assert!(matches!(read_all(usize::MAX >> 4, chunks).await, Err(Error::TooLarge)));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let read = read(&Arc::new(Semaphore::new(1)), &HeaderMap::new(), body, Duration::from_millis(20)).await;
        assert!(matches!(read, Err(Error::SlowBody)));
    }
}
