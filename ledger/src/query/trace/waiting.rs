//! What of an event's pushes waits, and why, as the broker has it now: a timer that was put off is in no row.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use nats::{
    Broker, Message,
    topology::{self, GW_EVENT, GW_RETRY},
};
use schemas::{
    attempt::Retry,
    endpoint::{self, EndpointStatus},
    subject,
};
use store::{Columns, Db};

use crate::error::Error;

/// Timers and consumers asked for at once.
const AT_ONCE: usize = 32;

/// The timers of an event, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Timers(HashMap<String, Vec<Timer>>);

/// When a push is tried next.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    pub(super) at: String,
    /// The replay that asked for it, and for which nothing was tried yet.
    pub(super) replay: Option<String>,
}

impl Timers {
    /// Asks the broker.
    pub(super) async fn of(broker: &Broker, event: &str) -> Result<Self, Error> {
        let mut places = Vec::new();
        for filter in subject::retries_of_event(event) {
            places.extend(nats::subjects(broker, GW_RETRY, &filter).await?.into_keys());
        }
        let read = stream::iter(places).map(|place| async move { nats::last(broker, GW_RETRY, &place).await });
        let messages: Vec<Option<Message>> = read.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut timers: HashMap<String, Vec<Timer>> = HashMap::new();
        for (endpoint, timer) in messages.iter().flatten().filter_map(timer) {
            timers.entry(endpoint).or_default().push(timer);
        }
        timers.values_mut().for_each(|timers| timers.sort_by(|one, other| one.at.cmp(&other.at)));
        Ok(Self(timers))
    }

    /// Those of one endpoint, the next first.
    pub(super) fn of_endpoint(&self, endpoint: &str) -> &[Timer] {
        self.0.get(endpoint).map_or(&[], Vec::as_slice)
    }
}

fn timer(message: &Message) -> Option<(String, Timer)> {
    let retry: Retry = serde_json::from_slice(&message.payload).ok()?;
    let at = message.header("Nats-Schedule")?.strip_prefix("@at ")?.to_owned();
    let replay = retry.replay.filter(|_| retry.attempt == 1);
    Some((retry.endpoint_id, Timer { at, replay }))
}

/// Why pushes to an endpoint wait: it is `paused` or `disabled`, or its `breaker` is open. None where they do not.
pub(super) async fn why(db: &Db, broker: &Broker, endpoint: &str) -> Result<Option<&'static str>, Error> {
    let query = sqlx::query("select status from endpoints where id = $1 and deleted_at is null");
    let Some(row) = query.bind(endpoint.to_owned()).fetch_optional(&db.pool).await.map_err(store::Error::from)? else {
        return Ok(None);
    };
    let columns = Columns { row: &row, table: "endpoints", prefix: "" };
    match columns.known("status", EndpointStatus::parse)? {
        EndpointStatus::Paused => Ok(Some("paused")),
        EndpointStatus::Disabled => Ok(Some("disabled")),
        EndpointStatus::Active => {
            let Some(info) = topology::find_consumer(broker, GW_EVENT, endpoint).await? else { return Ok(None) };
            let breaker = info.config.metadata.get(endpoint::BREAKER);
            Ok(breaker.and_then(|breaker| endpoint::left_alone_until(breaker)).map(|_until| "breaker"))
        }
    }
}
