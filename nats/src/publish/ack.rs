//! One message, and what the broker says to it.

use std::time::Duration;

use async_nats::{Client, Request};
use serde::Deserialize;

use super::{PublishError, Stored};
use crate::{
    error::{ApiError, Code},
    message::Outgoing,
};

/// A publish acknowledgement as the server writes it.
#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

pub(super) async fn publish(client: &Client, message: &Outgoing, limit: Duration) -> Result<Stored, PublishError> {
    let request = Request::new().headers(message.header_map()).payload(message.payload.clone()).timeout(Some(limit));
    let answer = client
        .send_request(message.subject.clone(), request)
        .await
        .map_err(|error| PublishError::of_request(&error))?;
    read(&answer.payload)
}

/// Reads an acknowledgement.
pub(super) fn read(answer: &[u8]) -> Result<Stored, PublishError> {
    let ack: PubAck = serde_json::from_slice(answer).map_err(|_| PublishError::Unconfirmed)?;
    if let Some(error) = ack.error {
        return refused(error);
    }
    let sequence = ack.seq;
    // Whoever answers without a place is no stream.
    if sequence == 0 {
        return Err(PublishError::Unconfirmed);
    }
    Ok(if ack.duplicate { Stored::Duplicate { sequence } } else { Stored::New { sequence } })
}

/// Reads why a message was not taken. That the subject's only message is there already makes a duplicate; which of the
/// two checks comes first depends on the number of replicas.
pub(super) fn refused(error: ApiError) -> Result<Stored, PublishError> {
    match error.code() {
        Code::WrongLastSequence => match last_sequence(&error.description) {
            Some(sequence) if sequence > 0 => Ok(Stored::Duplicate { sequence }),
            _ => Err(PublishError::of(Code::WrongLastSequence, error.description)),
        },
        code => Err(PublishError::of(code, error.description)),
    }
}

/// The number of `wrong last sequence: 41`.
fn last_sequence(description: &str) -> Option<u64> {
    description.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_stored_duplicate_or_a_reason() {
        let error = |code: u64, text: &str| {
            format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"S","seq":0}}"#)
        };
        assert_eq!(read(br#"{"stream":"S","seq":7}"#), Ok(Stored::New { sequence: 7 }));
        assert_eq!(read(br#"{"stream":"S","seq":7,"duplicate":true}"#), Ok(Stored::Duplicate { sequence: 7 }));
        assert_eq!(read(error(10071, "wrong last sequence: 41").as_bytes()), Ok(Stored::Duplicate { sequence: 41 }));
        assert!(read(error(10071, "wrong last sequence: 0").as_bytes()).is_err_and(|error| error.is_transient()));
        assert_eq!(read(error(10077, "maximum bytes exceeded").as_bytes()), Err(PublishError::Full));
        assert_eq!(read(error(10008, "no leader").as_bytes()), Err(PublishError::NoQuorum));
        assert!(read(error(10158, "in process").as_bytes()).is_err_and(|error| error.is_transient()));
        for nobody in [&b"not json"[..], b"{}", br#"{"stream":"S","seq":0}"#] {
            assert_eq!(read(nobody), Err(PublishError::Unconfirmed));
        }
    }
}
