//! Consumers that come and go while the gateway runs: one an endpoint.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_nats::{
    Subscriber,
    jetstream::consumer::{AckPolicy, Config, ReplayPolicy},
};
use futures_util::StreamExt;
use schemas::instant;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    connect::Broker,
    error::{Code, Error},
    read::{Start, policy},
    topology::{self, ACK_WAIT},
};

/// Marks a consumer as ours, in its metadata.
const MANAGED: (&str, &str) = ("managed-by", "gangway");
/// The server's own metadata.
const SERVERS: &str = "_nats.";

/// A durable pull consumer as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The stream.
    pub stream: &'static str,
    /// Its name.
    pub name: String,
    /// For whoever looks at it with the nats CLI.
    pub description: String,
    /// Which subjects.
    pub filters: Vec<String>,
    /// How many messages may be handed out and not settled, in all processes together.
    pub max_ack_pending: u16,
    /// Where it begins when it is made; later this changes nothing.
    pub start: Start,
    /// Kept with it.
    pub metadata: BTreeMap<String, String>,
}

/// A durable pull consumer as the server has it.
#[derive(Clone, Debug)]
pub struct Found {
    config: Config,
}

impl Found {
    /// What is kept with it under a name.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.config.metadata.get(name).map(String::as_str)
    }

    /// Whether it is as it should be.
    #[must_use]
    pub fn is(&self, wanted: &Durable) -> bool {
        let mut filters = filters(&self.config);
        let mut wanted_filters = wanted.filters.clone();
        filters.sort();
        wanted_filters.sort();
        let own = self.config.metadata.iter().filter(|(name, _)| !name.starts_with(SERVERS));
        filters == wanted_filters
            && self.config.max_ack_pending == i64::from(wanted.max_ack_pending)
            && self.config.description.as_deref() == Some(&wanted.description)
            && own.map(|(name, value)| (name.clone(), value.clone())).collect::<HashMap<_, _>>() == metadata(wanted)
    }
}

/// What the server knows of a consumer, or none where there is no such.
pub async fn find(broker: &Broker, stream: &str, name: &str) -> Result<Option<Found>, Error> {
    Ok(topology::find_consumer(broker, stream, name).await?.map(|info| Found { config: info.config }))
}

/// Makes a consumer, or brings the one that was found to what is wanted. It keeps its place.
pub async fn put(broker: &Broker, wanted: &Durable, found: Option<&Found>) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Create<'a> {
        stream_name: &'a str,
        config: Config,
    }
    let mut config = match found {
        Some(found) => found.config.clone(),
        None => fresh(broker, wanted).await?,
    };
    config.description = Some(wanted.description.clone());
    config.max_ack_pending = wanted.max_ack_pending.into();
    config.metadata = metadata(wanted);
    (config.filter_subject, config.filter_subjects) = match wanted.filters.as_slice() {
        [only] => (only.clone(), Vec::new()),
        several => (String::new(), several.to_vec()),
    };
    let what = format!("CONSUMER.CREATE.{}.{}", wanted.stream, wanted.name);
    broker.api::<Value>(&what, &Create { stream_name: wanted.stream, config }).await.map(drop)
}

/// Hands nothing out until a time, milliseconds since the epoch; the consumer keeps its place.
pub async fn pause(broker: &Broker, stream: &str, name: &str, until: i64) -> Result<(), Error> {
    let body = json!({ "pause_until": instant::rfc3339(until) });
    broker.api::<Value>(&format!("CONSUMER.PAUSE.{stream}.{name}"), &body).await.map(drop)
}

/// Removes a consumer, and its place with it. That it is gone already is no error.
pub async fn remove(broker: &Broker, stream: &str, name: &str) -> Result<(), Error> {
    match broker.api::<Value>(&format!("CONSUMER.DELETE.{stream}.{name}"), &Map::new()).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(Code::ConsumerNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The names of all consumers of a stream.
pub async fn names(broker: &Broker, stream: &str) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Page {
        total: usize,
        consumers: Option<Vec<String>>,
    }
    let mut names = Vec::new();
    loop {
        let page: Page = broker.api(&format!("CONSUMER.NAMES.{stream}"), &json!({ "offset": names.len() })).await?;
        let more = page.consumers.unwrap_or_default();
        let done = more.is_empty() || names.len() + more.len() >= page.total;
        names.extend(more);
        if done {
            return Ok(names);
        }
    }
}

/// Removes what a stream holds on matching subjects, before a sequence where one is given.
pub async fn purge(broker: &Broker, stream: &str, filter: &str, before: Option<u64>) -> Result<(), Error> {
    let mut body = json!({ "filter": filter });
    if let Some(before) = before {
        body["seq"] = json!(before);
    }
    broker.api::<Value>(&format!("STREAM.PURGE.{stream}"), &body).await.map(drop)
}

/// The names of consumers of a stream, each time one of them is paused or goes on: the broker's own advisories.
#[derive(Debug)]
pub struct Pauses(Subscriber);

impl Pauses {
    /// Listens from now on.
    pub async fn of(broker: &Broker, stream: &str) -> Result<Self, Error> {
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.PAUSE.{stream}.*");
        let failed =
            |source: async_nats::SubscribeError| Error::Read { stream: stream.to_owned(), source: Box::new(source) };
        broker.client.subscribe(subject).await.map(Self).map_err(failed)
    }

    /// The next name. None when the connection is closed for good.
    pub async fn next(&mut self) -> Option<String> {
        let advisory = self.0.next().await?;
        Some(advisory.subject.rsplit('.').next().unwrap_or_default().to_owned())
    }
}

async fn fresh(broker: &Broker, wanted: &Durable) -> Result<Config, Error> {
    Ok(Config {
        durable_name: Some(wanted.name.clone()),
        name: Some(wanted.name.clone()),
        deliver_policy: policy(broker, wanted.stream, wanted.start).await?,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // A message that is never settled must stay visible: whoever reads it counts, and buries it by name.
        max_deliver: -1,
        replay_policy: ReplayPolicy::Instant,
        inactive_threshold: Duration::ZERO,
        ..Config::default()
    })
}

fn filters(config: &Config) -> Vec<String> {
    if config.filter_subject.is_empty() { config.filter_subjects.clone() } else { vec![config.filter_subject.clone()] }
}

fn metadata(wanted: &Durable) -> HashMap<String, String> {
    let mut metadata: HashMap<String, String> = wanted.metadata.clone().into_iter().collect();
    metadata.insert(MANAGED.0.to_owned(), MANAGED.1.to_owned());
    metadata
}
