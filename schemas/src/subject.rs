//! Every subject the gateway publishes to. A subject literal stands nowhere else.

use crate::{
    delivery::{Delivery, Origin},
    event_type::{TypeKey, event_name},
    token::{self, SubjectToken},
};

/// What [`webhook`] makes, live traffic.
pub const WEBHOOKS: &str = "gw.webhook.>";
/// What [`webhook`] makes, history.
pub const HISTORY_WEBHOOKS: &str = "gw.history.webhook.>";
/// What [`event`] makes, live traffic.
pub const EVENTS: &str = "gw.event.>";
/// What [`event`] makes, history.
pub const HISTORY_EVENTS: &str = "gw.history.event.>";
/// What [`parked`] makes.
pub const PARKED: &str = "gw.parked.>";
/// What [`outcome`] makes.
pub const OUTCOMES: &str = "gw.outcome.>";
/// What [`dead`] makes.
pub const DEAD: &str = "gw.dlq.>";
/// What [`connection`] makes.
pub const CONNECTIONS: &str = "gw.connection.>";
/// What [`retry_wait`] makes.
pub const RETRIES_WAITING: &str = "gw.retry.wait.>";
/// What [`retry_due`] makes.
pub const RETRIES_DUE: &str = "gw.retry.due.>";
/// What [`attempt`] makes.
pub const ATTEMPTS: &str = "gw.attempt.>";
/// Asks for a replay.
pub const REPLAY_REQUESTED: &str = "gw.replay.requested";
/// Every command: what somebody wants done.
pub const COMMANDS: [&str; 4] =
    [REPLAY_REQUESTED, "gw.backfill.requested", "gw.backfill.cancelled", "gw.teardown.requested"];
/// What [`job_state`] makes.
pub const JOB_STATES: &str = "gw.job.state.*";
/// What [`job_task`] makes.
pub const JOB_TASKS: &str = "gw.job.task.>";
/// What [`job_timer`] makes.
pub const JOB_TIMERS: &str = "gw.job.timer.>";
/// What a job tells of itself between two steps.
pub const JOB_PROGRESS: &str = "gw.job.progress.*";
/// What [`replayed`] makes.
pub const REPLAYED: &str = "gw.replay.*.*.*.*.*";
/// The server's word that a consumer gave a message up.
pub const MAX_DELIVERIES: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>";
/// The server's word that a message was ended by who consumed it.
pub const TERMINATED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>";
/// What [`probe`] makes.
pub const PROBES: &str = "gw.probe.>";

/// Where a delivery is stored: `gw.webhook.<provider>.<event>.<delivery>`, or the same under `gw.history`.
#[must_use]
pub fn webhook(delivery: &Delivery) -> String {
    format!(
        "{}webhook.{}.{}.{}",
        lane(delivery.origin),
        SubjectToken::new(&delivery.provider),
        SubjectToken::optional(delivery.event.as_deref().map(event_name)),
        SubjectToken::new(&delivery.id),
    )
}

/// Where an event is stored: `gw.event.<org>.<provider>.<entity>.<action>.<event-id>`, or under `gw.history`.
#[must_use]
pub fn event(origin: Origin, org: &str, provider: &str, key: &TypeKey, id: &str) -> String {
    format!(
        "{}event.{}.{}.{}.{}.{id}",
        lane(origin),
        SubjectToken::new(org),
        SubjectToken::new(provider),
        SubjectToken::new(&key.entity),
        SubjectToken::optional(key.action.as_deref()),
    )
}

/// The events of an organisation and a provider, where given: a filter for subscribers.
#[must_use]
pub fn events_of(org: Option<&str>, provider: Option<&str>, history: bool) -> String {
    let token = |name: Option<&str>| name.map_or_else(|| "*".to_owned(), |name| SubjectToken::new(name).to_string());
    let lane = if history { "gw.history." } else { "gw." };
    match (org, provider) {
        (None, None) => format!("{lane}event.>"),
        (org, provider) => format!("{lane}event.{}.{}.>", token(org), token(provider)),
    }
}

/// Whether a subject is one of history.
#[must_use]
pub fn is_history(subject: &str) -> bool {
    subject.starts_with("gw.history.")
}

/// The events of an organisation whose subjects end like this: `<provider>.<entity>.<action>.<event-id>`.
#[must_use]
pub fn events_within(history: bool, org: &str, tail: &str) -> String {
    format!("{}event.{}.{tail}", if history { "gw.history." } else { "gw." }, SubjectToken::new(org))
}

/// An event wherever it stands, of one organisation or of any: a filter.
#[must_use]
pub fn event_by_id(history: bool, org: Option<&str>, id: &str) -> String {
    let org = org.map_or_else(|| "*".to_owned(), |org| SubjectToken::new(org).to_string());
    format!("{}event.{org}.*.*.*.{}", if history { "gw.history." } else { "gw." }, SubjectToken::new(id))
}

/// Where a delivery that no link claims waits: `gw.parked.<provider>.<account>.<delivery>`.
#[must_use]
pub fn parked(delivery: &Delivery) -> String {
    format!(
        "gw.parked.{}.{}.{}",
        SubjectToken::new(&delivery.provider),
        SubjectToken::optional(delivery.account.as_deref()),
        SubjectToken::new(&delivery.id),
    )
}

/// The parked deliveries of a provider.
#[must_use]
pub fn parked_of(provider: &str) -> String {
    format!("gw.parked.{}.>", SubjectToken::new(provider))
}

/// What became of a delivery: `gw.outcome.<provider>.<delivery>`.
#[must_use]
pub fn outcome(provider: &str, delivery: &str) -> String {
    format!("gw.outcome.{}.{}", SubjectToken::new(provider), SubjectToken::new(delivery))
}

/// Where a message that will not succeed by itself is kept: `gw.dlq.<stage>.<reason>`.
#[must_use]
pub fn dead(stage: &str, reason: &str) -> String {
    format!("gw.dlq.{}.{}", SubjectToken::new(stage), SubjectToken::new(reason))
}

/// Where a push waits for its time: `gw.retry.wait.<endpoint>.<event-id>`.
#[must_use]
pub fn retry_wait(endpoint: &str, event: &str) -> String {
    format!("gw.retry.wait.{}.{}", SubjectToken::new(endpoint), SubjectToken::new(event))
}

/// Where a push that a replay asked for waits for its first attempt: `gw.retry.wait.<endpoint>.<event-id>.<replay>`. The
/// event's own timer stands beside it.
#[must_use]
pub fn repeat_wait(endpoint: &str, event: &str, replay: &str) -> String {
    format!("{}.{}", retry_wait(endpoint, event), SubjectToken::new(replay))
}

/// Where a push is due: `gw.retry.due.<endpoint>.<event-id>`.
#[must_use]
pub fn retry_due(endpoint: &str, event: &str) -> String {
    format!("gw.retry.due.{}.{}", SubjectToken::new(endpoint), SubjectToken::new(event))
}

/// The pushes of an endpoint that wait for their next attempt.
#[must_use]
pub fn retries_scheduled_of(endpoint: &str) -> String {
    format!("gw.retry.wait.{}.*", SubjectToken::new(endpoint))
}

/// The pushes of an endpoint that wait for their time, for the next attempt or the first of a replay.
#[must_use]
pub fn retries_waiting_of(endpoint: &str) -> String {
    format!("gw.retry.wait.{}.>", SubjectToken::new(endpoint))
}

/// The pushes of an event that wait for their next attempt, and those that replays asked for.
#[must_use]
pub fn retries_of_event(event: &str) -> [String; 2] {
    let own = format!("gw.retry.wait.*.{}", SubjectToken::new(event));
    let asked = format!("{own}.*");
    [own, asked]
}

/// The pushes of an endpoint that are due.
#[must_use]
pub fn retries_due_of(endpoint: &str) -> String {
    format!("gw.retry.due.{}.>", SubjectToken::new(endpoint))
}

/// What became of a push: `gw.attempt.<org>.<endpoint>.<event-id>`.
#[must_use]
pub fn attempt(org: &str, endpoint: &str, event: &str) -> String {
    format!("gw.attempt.{}.{}.{}", SubjectToken::new(org), SubjectToken::new(endpoint), SubjectToken::new(event))
}

/// What became of the pushes of an event, of one organisation or of any: a filter.
#[must_use]
pub fn attempts_of(org: Option<&str>, event: &str) -> String {
    let org = org.map_or_else(|| "*".to_owned(), |org| SubjectToken::new(org).to_string());
    format!("gw.attempt.{org}.*.{}", SubjectToken::new(event))
}

/// The dead letters of a stage and a reason, where given: a filter.
#[must_use]
pub fn dead_of(stage: Option<&str>, reason: Option<&str>) -> String {
    let token = |name: Option<&str>| name.map_or_else(|| "*".to_owned(), |name| SubjectToken::new(name).to_string());
    format!("gw.dlq.{}.{}", token(stage), token(reason))
}

/// Where a job's state is kept: `gw.job.state.<job>`.
#[must_use]
pub fn job_state(job: &str) -> String {
    format!("gw.job.state.{}", SubjectToken::new(job))
}

/// A job's next piece of work: `gw.job.task.<worker>.<job>.<task>`.
#[must_use]
pub fn job_task(worker: &str, job: &str, task: &str) -> String {
    format!("gw.job.task.{}.{}.{}", SubjectToken::new(worker), SubjectToken::new(job), SubjectToken::new(task))
}

/// A job's piece of work that waits for its time: `gw.job.timer.<worker>.<job>.<task>`.
#[must_use]
pub fn job_timer(worker: &str, job: &str, task: &str) -> String {
    format!("gw.job.timer.{}.{}.{}", SubjectToken::new(worker), SubjectToken::new(job), SubjectToken::new(task))
}

/// All work of a worker: the filter of its consumer.
#[must_use]
pub fn job_tasks_of(worker: &str) -> String {
    format!("gw.job.task.{}.>", SubjectToken::new(worker))
}

/// All that a job has still to do, now and later.
#[must_use]
pub fn job_work_of(job: &str) -> [String; 2] {
    let job = SubjectToken::new(job);
    [format!("gw.job.task.*.{job}.>"), format!("gw.job.timer.*.{job}.>")]
}

/// Where a replay stores an event again for whoever reads it:
/// `gw.replay.<replay>.<org>.<provider>.<entity>.<action>`. None where the subject is no event's.
#[must_use]
pub fn replayed(replay: &str, event_subject: &str) -> Option<String> {
    let tail = event_subject.strip_prefix("gw.event.").or_else(|| event_subject.strip_prefix("gw.history.event."))?;
    let (kind, _id) = tail.rsplit_once('.')?;
    Some(format!("gw.replay.{}.{kind}", SubjectToken::new(replay)))
}

/// Everything that a replay stored again.
#[must_use]
pub fn replayed_of(replay: &str) -> String {
    format!("gw.replay.{}.>", SubjectToken::new(replay))
}

/// What happened to a connection: `gw.connection.<org>.<what>`.
#[must_use]
pub fn connection(org: &str, what: &str) -> String {
    format!("gw.connection.{}.{}", SubjectToken::new(org), SubjectToken::new(what))
}

/// Where a publisher measures what storing a message costs.
#[must_use]
pub fn probe(instance: &str) -> String {
    format!("gw.probe.{}", SubjectToken::new(instance))
}

/// The events of an organisation, live and history.
#[must_use]
pub fn all_events_of(org: &str) -> [String; 2] {
    [false, true].map(|history| events_within(history, org, ">"))
}

/// The deliveries of a provider, live or history.
#[must_use]
pub fn webhooks_of(history: bool, provider: &str) -> String {
    format!("{}webhook.{}.>", if history { "gw.history." } else { "gw." }, SubjectToken::new(provider))
}

/// Where a delivery is stored whose event is not known.
#[must_use]
pub fn webhook_by_id(history: bool, provider: &str, delivery: &str) -> String {
    let lane = if history { "gw.history." } else { "gw." };
    format!("{lane}webhook.{}.*.{}", SubjectToken::new(provider), SubjectToken::new(delivery))
}

/// What the subject of a delivery names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookNames {
    /// Whether it is history.
    pub history: bool,
    /// The provider.
    pub provider: String,
    /// The delivery; where its id was shortened, what stands in the subject.
    pub delivery: String,
}

/// Reads what [`webhook`] makes.
#[must_use]
pub fn webhook_names(subject: &str) -> Option<WebhookNames> {
    let raw = |token: &str| token::decode(token).unwrap_or_else(|| token.to_owned());
    let history = is_history(subject);
    let tokens: Vec<&str> =
        subject.strip_prefix(if history { "gw.history.webhook." } else { "gw.webhook." })?.split('.').collect();
    match tokens[..] {
        [provider, _event, delivery] => {
            Some(WebhookNames { history, provider: raw(provider), delivery: raw(delivery) })
        }
        _ => None,
    }
}

/// Who gave a message up, of a subject that [`dead`] makes.
#[must_use]
pub fn dead_stage(subject: &str) -> Option<&str> {
    subject.strip_prefix("gw.dlq.")?.split('.').next()
}

fn lane(origin: Origin) -> &'static str {
    if origin.is_history() { "gw.history." } else { "gw." }
}
