//! Reading a stream from some point on, without leaving a trace on the server.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use async_nats::jetstream::stream::Info as StreamInfo;
use schemas::instant;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    connect::Broker,
    error::{Code, Error},
    message::{Message, value},
    topology,
};

mod batch;
mod ephemeral;
mod reader;

pub use batch::batch;
pub(crate) use batch::batch_of;
pub(crate) use ephemeral::{Ephemeral, Wanted, policy};
pub use reader::Reader;

/// How long the consumer of a count lives, should nobody come to delete it.
const COUNTED: Duration = Duration::from_secs(5);
/// How long a leader that lacks what a replica had is waited for, and between two looks at it.
pub(crate) const BEHIND: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(250);

/// Why a message that is there could not be read.
pub(crate) const LAGS: &str = "a replica lags behind its leader";

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message the stream holds.
    First,
    /// With what is stored from now on.
    New,
    /// With what was stored at or after this time, milliseconds since the epoch.
    Since(i64),
    /// With this sequence.
    Sequence(u64),
    /// With the last message of each subject, then what follows.
    LastPerSubject,
}

/// One message of a stream by its sequence, or none where its leader does not hold it any more. That only the replica
/// that was asked lacks it is an error.
pub async fn get(broker: &Broker, stream: &str, sequence: u64) -> Result<Option<Message>, Error> {
    // The broker takes 0 for no question at all.
    if sequence == 0 {
        return Ok(None);
    }
    let place = json!({ "seq": sequence });
    let found = direct(broker, stream, place.clone()).await?;
    if found.is_none() && leaders(broker, stream, &place).await?.is_some() {
        return Err(Error::reading(stream, LAGS));
    }
    Ok(found)
}

/// The first message at or after a sequence whose subject matches, or none.
pub async fn next_from(broker: &Broker, stream: &str, sequence: u64, filter: &str) -> Result<Option<Message>, Error> {
    direct(broker, stream, json!({ "seq": sequence, "next_by_subj": filter })).await
}

/// Whether a stream holds a message of the range that matches one of the filters, or any where there are none, as its
/// leader knows. What a consumer or a direct read tells may be of a replica that lags.
pub async fn holds(
    broker: &Broker,
    stream: &str,
    filters: &[String],
    range: RangeInclusive<u64>,
) -> Result<bool, Error> {
    if range.is_empty() {
        return Ok(false);
    }
    let all = [">".to_owned()];
    for filter in if filters.is_empty() { &all } else { filters } {
        let next = json!({ "seq": range.start(), "next_by_subj": filter });
        if leaders(broker, stream, &next).await?.is_some_and(|found| range.contains(&found)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a stream is to whoever stands at a place in it.
pub async fn look(broker: &Broker, stream: &str, place: u64) -> Result<StreamInfo, Error> {
    let begun = Instant::now();
    loop {
        let info = topology::stream_info(broker, stream).await?;
        // A leader may be a moment behind a replica that was read.
        if info.state.last_sequence >= place || begun.elapsed() >= BEHIND {
            return Ok(info);
        }
        sleep(LOOK).await;
    }
}

/// The sequence of the first message of a stream that was stored at or after a time, milliseconds since the epoch, as
/// its leader knows.
pub async fn first_since(broker: &Broker, stream: &str, millis: i64) -> Result<Option<u64>, Error> {
    leaders(broker, stream, &json!({ "start_time": instant::rfc3339(millis), "next_by_subj": ">" })).await
}

/// The sequence of the message that the leader of a stream finds.
async fn leaders(broker: &Broker, stream: &str, request: &Value) -> Result<Option<u64>, Error> {
    #[derive(serde::Deserialize)]
    struct Found {
        message: Place,
    }
    #[derive(serde::Deserialize)]
    struct Place {
        seq: u64,
    }
    match broker.api::<Found>(&format!("STREAM.MSG.GET.{stream}"), request).await {
        Ok(found) => Ok(Some(found.message.seq)),
        Err(error) if error.code() == Some(Code::NoMessage) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many messages of a stream match one of the filters, from a sequence on.
pub async fn count(broker: &Broker, stream: &str, filters: &[String], from: u64) -> Result<u64, Error> {
    let wanted = Wanted { stream: stream.to_owned(), filters: filters.to_vec(), headers_only: true };
    let start = if from > 1 { Start::Sequence(from) } else { Start::First };
    Ephemeral::create(broker, "count", &wanted, start, COUNTED).await.map(|counted| counted.waiting)
}

/// The last message of a subject, or none. A replica that lags may give one before it.
pub async fn last(broker: &Broker, stream: &str, subject: &str) -> Result<Option<Message>, Error> {
    direct(broker, stream, json!({ "last_by_subj": subject })).await
}

/// The subjects of a stream that match, with how many messages each holds. For filters that few match.
pub async fn subjects(broker: &Broker, stream: &str, filter: &str) -> Result<HashMap<String, u64>, Error> {
    #[derive(serde::Deserialize)]
    struct Info {
        state: State,
    }
    #[derive(serde::Deserialize)]
    struct State {
        #[serde(default)]
        subjects: Option<HashMap<String, u64>>,
    }
    let what = format!("STREAM.INFO.{stream}");
    let info: Info = broker.api(&what, &json!({ "subjects_filter": filter })).await?;
    Ok(info.state.subjects.unwrap_or_default())
}

async fn direct(broker: &Broker, stream: &str, request: Value) -> Result<Option<Message>, Error> {
    let what = format!("a read of {stream} {request}");
    let body = request.to_string();
    let asked = async_nats::Request::new().payload(body.into());
    let answer = broker.request(&what, format!("$JS.API.DIRECT.GET.{stream}"), asked).await?;
    if answer.status.is_some_and(|status| status.as_u16() == 404) {
        return Ok(None);
    }
    stored(&what, answer).map(Some)
}

/// The message of an answer.
fn stored(what: &str, answer: async_nats::Message) -> Result<Message, Error> {
    let raw = answer.headers.unwrap_or_default();
    let Some(subject) = value(&raw, "Nats-Subject").map(str::to_owned) else {
        let description = answer.description.unwrap_or_else(|| "the answer names no subject".to_owned());
        return Err(Error::Refused {
            what: what.to_owned(),
            code: Code::Other(answer.status.map_or(0, |status| status.as_u16().into())),
            description,
        });
    };
    let sequence = value(&raw, "Nats-Sequence").and_then(|sequence| sequence.parse().ok()).unwrap_or_default();
    let stored_at = value(&raw, "Nats-Time-Stamp").and_then(instant::parse).unwrap_or_default();
    Ok(Message {
        subject,
        payload: answer.payload,
        sequence,
        delivered: 1,
        order: 0,
        pending: 0,
        stored_at,
        reply: String::new(),
        raw,
    })
}

/// Removes one message from a stream. That it is gone already is no error.
pub async fn delete(broker: &Broker, stream: &str, sequence: u64) -> Result<(), Error> {
    #[derive(serde::Serialize)]
    struct Delete {
        seq: u64,
        no_erase: bool,
    }
    let deleted =
        broker.api::<Value>(&format!("STREAM.MSG.DELETE.{stream}"), &Delete { seq: sequence, no_erase: true }).await;
    match deleted {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.code(), Some(Code::NoMessage | Code::Other(10043 | 10057))) => Ok(()),
        Err(error) => Err(error),
    }
}
