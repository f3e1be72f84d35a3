//! Every stream, bucket and consumer the gateway uses, and how a server is brought to them.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull},
    stream::{self, Compression, DiscardPolicy, RetentionPolicy, StorageType},
};
use schemas::{route, subject};
use tracing::info;

use crate::{
    connect::Broker,
    error::{Code, Error},
};

mod diff;
mod work;

pub use diff::{Difference, Plan};
pub use work::{ADVISORIES, GW_ADVISORY, GW_COMMAND, GW_JOB, GW_REPLAY, JOB_KEPT, LEASE, REPLAY};

/// Stream of deliveries: the source of truth.
pub const GW_WEBHOOK: &str = "GW_WEBHOOK";
/// Stream of events: what subscribers read.
pub const GW_EVENT: &str = "GW_EVENT";
/// How the consumer of an endpoint that reads history ends, behind the endpoint's id.
pub const HISTORY: &str = "-history";
/// Stream of deliveries that no link claims yet.
pub const GW_PARKED: &str = "GW_PARKED";
/// Stream of what became of deliveries, where it was not simply an event.
pub const GW_OUTCOME: &str = "GW_OUTCOME";
/// Stream of what happened to connections.
pub const GW_CONNECTION: &str = "GW_CONNECTION";
/// Stream of timers: pushes that wait for their next attempt.
pub const GW_RETRY: &str = "GW_RETRY";
/// Stream of what became of each push.
pub const GW_ATTEMPT: &str = "GW_ATTEMPT";
/// Stream of dead letters.
pub const GW_DLQ: &str = "GW_DLQ";
/// Stream on which publishers measure what storing costs.
pub const GW_PROBE: &str = "GW_PROBE";
/// Object store of bodies too large for a message.
pub const GW_PAYLOAD: &str = "gw_payload";
/// Consumer of live deliveries.
pub const ROUTER: &str = "router";
/// Consumer of history.
pub const ROUTER_HISTORY: &str = "router-history";

/// Consumer of pushes that are due again.
pub const RETRY: &str = "retry";

/// How long the broker waits for an acknowledgement before it hands a message out again.
pub const ACK_WAIT: Duration = Duration::from_secs(60);
/// How often a message is handed out at most.
pub const MAX_DELIVER: i64 = 8;
/// The server remembers message ids this long; beyond it the subject's expected sequence guards.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(24 * 3600);
const GIB: i64 = 1 << 30;

/// What an operator can choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 1, or 3 on a cluster.
    pub replicas: usize,
    /// How long deliveries, events and outcomes are kept.
    pub retention: Duration,
    /// Largest size of a stream in bytes, by stream name; others keep their default.
    pub max_bytes: HashMap<String, i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { replicas: 1, retention: 7 * DAY, max_bytes: HashMap::new() }
    }
}

/// A stream as it should be, and its consumers.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// The stream.
    pub config: stream::Config,
    /// Its durable consumers.
    pub consumers: Vec<pull::Config>,
}

/// All streams, buckets and object stores, in the order they are made.
#[must_use]
pub fn specs(settings: &Settings) -> Vec<StreamSpec> {
    // A delivery may be parked for 30 days before it becomes an event, and be a dead letter for 30 after its retention.
    let payload_age = settings.retention + 31 * DAY;
    let mut specs = vec![
        webhooks(settings),
        only(stream::Config {
            compression: Some(Compression::S2),
            duplicate_window: DUPLICATE_WINDOW.min(settings.retention),
            max_consumers: 5_000,
            ..base(
                settings,
                GW_EVENT,
                "Deliveries resolved to one organisation and normalised",
                &[subject::EVENTS, subject::HISTORY_EVENTS],
            )
        }),
        only(stream::Config {
            // Full, it gives up its oldest: else what nobody claims would stop everybody.
            discard: DiscardPolicy::Old,
            compression: Some(Compression::S2),
            max_age: 30 * DAY,
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes: settings.bytes(GW_PARKED, 4 * GIB),
            ..base(settings, GW_PARKED, "Verified deliveries that no link claims yet", &[subject::PARKED])
        }),
        only(stream::Config {
            discard: DiscardPolicy::Old,
            compression: Some(Compression::S2),
            max_bytes: settings.bytes(GW_OUTCOME, 4 * GIB),
            ..base(
                settings,
                GW_OUTCOME,
                "What became of a delivery, where it was not simply an event",
                &[subject::OUTCOMES],
            )
        }),
        retries(settings),
        only(stream::Config {
            discard: DiscardPolicy::Old,
            compression: Some(Compression::S2),
            duplicate_window: DUPLICATE_WINDOW.min(settings.retention),
            max_bytes: settings.bytes(GW_ATTEMPT, 4 * GIB),
            ..base(settings, GW_ATTEMPT, "What became of each push to an endpoint", &[subject::ATTEMPTS])
        }),
        only(stream::Config {
            max_age: 30 * DAY,
            discard: DiscardPolicy::Old,
            max_bytes: settings.bytes(GW_CONNECTION, GIB / 4),
            ..base(settings, GW_CONNECTION, "What happened to connections and links", &[subject::CONNECTIONS])
        }),
        only(stream::Config {
            discard: DiscardPolicy::Old,
            compression: Some(Compression::S2),
            max_age: 30 * DAY,
            max_bytes: settings.bytes(GW_DLQ, 2 * GIB),
            ..base(settings, GW_DLQ, "Messages that will not succeed by themselves", &[subject::DEAD])
        }),
        only(stream::Config {
            max_age: Duration::from_secs(3600),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            max_bytes: settings.bytes(GW_PROBE, GIB / 64),
            ..base(settings, GW_PROBE, "Publishers measure here what storing costs", &[subject::PROBES])
        }),
        only(bucket(settings, route::ROUTES, "Routes: one key per link")),
        only(bucket(settings, route::CONNECTIONS, "Connections: organisation, provider, status")),
        only(object_store(settings, GW_PAYLOAD, "Bodies too large for a message", payload_age)),
    ];
    specs.extend(work::specs(settings));
    specs
}

/// How long the broker waits for the acknowledgement of a stream's messages.
pub(crate) fn ack_wait(stream: &str) -> Duration {
    if stream == GW_JOB { LEASE } else { ACK_WAIT }
}

fn webhooks(settings: &Settings) -> StreamSpec {
    let config = stream::Config {
        compression: Some(Compression::S2),
        deny_delete: true,
        duplicate_window: DUPLICATE_WINDOW.min(settings.retention),
        max_consumers: 100,
        ..base(
            settings,
            GW_WEBHOOK,
            "Deliveries as they came in: the source of truth",
            &[subject::WEBHOOKS, subject::HISTORY_WEBHOOKS],
        )
    };
    let consumers = vec![
        consumer(ROUTER, "Resolves live deliveries to events", subject::WEBHOOKS),
        consumer(ROUTER_HISTORY, "Resolves history to events, behind live traffic", subject::HISTORY_WEBHOOKS),
    ];
    StreamSpec { config, consumers }
}

/// Timers fall due at any time: neither age nor size may end them, and full the stream would refuse new ones.
fn retries(settings: &Settings) -> StreamSpec {
    let config = stream::Config {
        discard: DiscardPolicy::Old,
        max_age: Duration::ZERO,
        max_bytes: -1,
        allow_rollup: true,
        allow_message_schedules: true,
        ..base(
            settings,
            GW_RETRY,
            "Pushes that wait for their next attempt",
            &[subject::RETRIES_WAITING, subject::RETRIES_DUE],
        )
    };
    StreamSpec { config, consumers: vec![consumer(RETRY, "Pushes that are due again", subject::RETRIES_DUE)] }
}

fn consumer(name: &str, description: &str, filter: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        description: Some(description.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: MAX_DELIVER,
        filter_subject: filter.to_owned(),
        replay_policy: ReplayPolicy::Instant,
        max_ack_pending: 10_000,
        metadata: metadata(),
        ..pull::Config::default()
    }
}

fn base(settings: &Settings, name: &str, description: &str, subjects: &[&str]) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_age: settings.retention,
        max_bytes: settings.bytes(name, 16 * GIB),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        num_replicas: settings.replicas,
        duplicate_window: Duration::from_secs(120).min(settings.retention),
        max_consumers: 100,
        allow_direct: true,
        allow_atomic_publish: true,
        compression: Some(Compression::None),
        metadata: metadata(),
        ..stream::Config::default()
    }
}

fn bucket(settings: &Settings, name: &str, description: &str) -> stream::Config {
    stream::Config {
        max_age: Duration::ZERO,
        max_messages_per_subject: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_message_ttl: true,
        max_consumers: 1_000,
        max_bytes: settings.bytes(&format!("KV_{name}"), 2 * GIB),
        ..base(settings, &format!("KV_{name}"), description, &[&format!("$KV.{name}.>")])
    }
}

fn object_store(settings: &Settings, name: &str, description: &str, max_age: Duration) -> stream::Config {
    stream::Config {
        max_age,
        allow_rollup: true,
        max_bytes: settings.bytes(&format!("OBJ_{name}"), 16 * GIB),
        ..base(settings, &format!("OBJ_{name}"), description, &[&format!("$O.{name}.C.>"), &format!("$O.{name}.M.>")])
    }
}

fn only(config: stream::Config) -> StreamSpec {
    StreamSpec { config, consumers: Vec::new() }
}

fn metadata() -> HashMap<String, String> {
    HashMap::from([("managed-by".to_owned(), "gangway".to_owned())])
}

impl Settings {
    fn bytes(&self, stream: &str, default: i64) -> i64 {
        self.max_bytes.get(stream).copied().unwrap_or(default)
    }
}

/// Brings the server to the wanted topology. Refuses to make a stream keep less than it does, unless forced.
pub async fn apply(broker: &Broker, settings: &Settings, force: bool) -> Result<Vec<Plan>, Error> {
    let plans = diff(broker, settings).await?;
    if !force && let Some(shrink) = plans.iter().find_map(Plan::shrinks) {
        return Err(shrink);
    }
    let context = broker.jetstream();
    for plan in plans.iter().filter(|plan| !plan.is_empty()) {
        let name = &plan.spec.config.name;
        if plan.missing || !plan.differences.is_empty() {
            context
                .create_or_update_stream(plan.spec.config.clone())
                .await
                .map_err(|error| Error::applying(name, error))?;
        }
        for consumer in &plan.consumers {
            context
                .create_consumer_on_stream(consumer.clone(), name)
                .await
                .map_err(|error| Error::applying(name, error))?;
        }
        info!(stream = name, created = plan.missing, "topology.applied");
    }
    Ok(plans)
}

/// What differs between the server and the wanted topology, a plan a stream.
pub async fn diff(broker: &Broker, settings: &Settings) -> Result<Vec<Plan>, Error> {
    let mut plans = Vec::new();
    for spec in specs(settings) {
        let name = spec.config.name.clone();
        let info = match stream_info(broker, &name).await {
            Ok(info) => Some(info),
            Err(error) if error.code() == Some(Code::StreamNotFound) => None,
            Err(error) => return Err(error),
        };
        let mut consumers = Vec::new();
        for consumer in &spec.consumers {
            let durable = consumer.durable_name.as_deref().unwrap_or_default();
            let found = match (&info, durable) {
                (None, _) => None,
                (Some(_), durable) => find_consumer(broker, &name, durable).await?.map(|info| info.config),
            };
            match found {
                Some(found) if diff::same_consumer(&found, consumer) => {}
                // Where a consumer began cannot be changed.
                Some(found) => {
                    consumers.push(pull::Config { deliver_policy: found.deliver_policy, ..consumer.clone() });
                }
                None => consumers.push(consumer.clone()),
            }
        }
        plans.push(Plan::new(spec, info.map(|info| info.config), consumers));
    }
    Ok(plans)
}

/// A stream's configuration and state.
pub async fn stream_info(broker: &Broker, stream: &str) -> Result<stream::Info, Error> {
    broker.api(&format!("STREAM.INFO.{stream}"), &serde_json::Map::new()).await
}

/// When the first message that a stream holds was stored, milliseconds since the epoch.
#[must_use]
pub fn first_stored_at(state: &stream::State) -> i64 {
    i64::try_from(state.first_timestamp.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// When a stream was made, nanoseconds since the epoch: tells it from another of its name.
#[must_use]
pub fn made(info: &stream::Info) -> i64 {
    i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default()
}

/// The consumer of an endpoint that reads history.
#[must_use]
pub fn history_of(endpoint: &str) -> String {
    format!("{endpoint}{HISTORY}")
}

/// A consumer's state.
pub async fn consumer_info(
    broker: &Broker,
    stream: &str,
    consumer: &str,
) -> Result<async_nats::jetstream::consumer::Info, Error> {
    broker.api(&format!("CONSUMER.INFO.{stream}.{consumer}"), &serde_json::Map::new()).await
}

/// A consumer's state, or none where there is no such.
pub async fn find_consumer(
    broker: &Broker,
    stream: &str,
    consumer: &str,
) -> Result<Option<async_nats::jetstream::consumer::Info>, Error> {
    match consumer_info(broker, stream, consumer).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.code() == Some(Code::ConsumerNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes one of our consumers, that begins behind a sequence.
pub(crate) async fn create_consumer(broker: &Broker, stream: &str, consumer: &str, after: u64) -> Result<(), Error> {
    let spec = specs(&Settings::default()).into_iter().find(|spec| spec.config.name == stream);
    let mut consumers = spec.into_iter().flat_map(|spec| spec.consumers);
    let wanted = consumers.find(|wanted| wanted.durable_name.as_deref() == Some(consumer));
    let mut wanted = wanted.ok_or_else(|| Error::applying(stream, "it has no such consumer"))?;
    if after > 0 {
        wanted.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: after + 1 };
    }
    let created = broker.jetstream().create_consumer_on_stream(wanted, stream).await;
    created.map(drop).map_err(|error| Error::applying(stream, error))
}

/// Deletes a stream and all it holds.
pub async fn delete_stream(broker: &Broker, stream: &str) -> Result<(), Error> {
    broker.api::<serde_json::Value>(&format!("STREAM.DELETE.{stream}"), &serde_json::Map::new()).await.map(drop)
}
