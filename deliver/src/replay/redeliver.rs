//! Redelivery: stored events again, to endpoints through `gw.retry.due`, or to subjects of the replay's own.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use nats::{
    Landing, Message, Outgoing, Reader, Start,
    consume::{self, Consumer, DeadLetters, Slots},
    job::walk::{Dealt, Failure, Room, Source, Walk, Walker, What},
    topology::{self, GW_ATTEMPT, GW_EVENT, GW_JOB, GW_REPLAY, GW_RETRY, RETRY},
};
use prometheus_client::metrics::counter::Counter;
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    endpoint::{self, EndpointStatus},
    header,
    replay::{Counts, REDELIVER, Replay, Request, Target},
    subject,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Deps,
    endpoint::{Directory, Live},
};

/// Events dealt with together where each is pushed to endpoints, and where each is only stored again: as many as a
/// processor's cache has room for.
const CHUNK: usize = 500;
const FREE: usize = 256;
/// Replays at once; more wait for their turn.
const SLOTS: usize = 4;
/// Pushes that may be due and not yet begun while a replay goes on: live retries stand in the same row.
const DUE: u64 = 2_000;
/// Pushes that may wait for one endpoint while a replay adds to them.
const WAITING: usize = 5_000;
/// Pushes looked up at once, and stored at once.
const LOOKUPS: usize = 32;
const AT_ONCE: usize = 256;
const PATIENCE: Duration = Duration::from_secs(20);

/// Does redeliveries until told to stop.
pub(crate) async fn run(
    deps: Deps,
    directory: watch::Receiver<Directory>,
    published: Counter,
    stop: CancellationToken,
) {
    let consumer = Consumer {
        broker: deps.broker.clone(),
        stream: GW_JOB,
        name: REDELIVER,
        slots: Slots::live(SLOTS),
        dead: DeadLetters::new(deps.dead.clone(), "job"),
        redelivered: Counter::default(),
        recreate: deps.recreate_consumers,
    };
    let (broker, clock) = (deps.broker.clone(), deps.clock.clone());
    let walk = Redeliver { deps, directory, published };
    consume::run(consumer, Arc::new(Walker { walk, broker, clock, stop: stop.clone() }), stop).await;
}

/// Sends stored events again.
#[derive(Debug)]
struct Redeliver {
    deps: Deps,
    /// Never marked as seen, so that its first change tells for good that the endpoints are known.
    directory: watch::Receiver<Directory>,
    published: Counter,
}

/// What of an event's headers is needed.
struct Facts<'a> {
    org: String,
    kind: String,
    id: &'a str,
    history: bool,
}

impl<'a> Facts<'a> {
    fn of(message: &'a Message) -> Option<Self> {
        Some(Self {
            org: message.header(header::ORG).map(header::decode)?,
            kind: message.header("ce-type").map(header::decode)?,
            id: message.header("ce-id")?,
            history: subject::is_history(&message.subject),
        })
    }
}

impl Walk for Redeliver {
    fn source(&self, replay: &Replay) -> Source {
        let Request { org_id, provider, kind, to, dry_run, .. } = &replay.request;
        let filters = match (org_id, kind) {
            // One filter costs the server less than two.
            (None, _) if provider.is_none() => vec![">".to_owned()],
            (Some(org), Some(kind)) => endpoint::subject_filters(org, std::slice::from_ref(kind), true),
            _ => {
                [false, true].map(|history| subject::events_of(org_id.as_deref(), provider.as_deref(), history)).into()
            }
        };
        let headers_only = *to == Target::Endpoints || *dry_run;
        let chunk = if *to == Target::Subject { FREE } else { CHUNK };
        Source { stream: GW_EVENT, what: What::Matching { filters, headers_only }, chunk }
    }

    async fn room(&self, replay: &Replay, messages: &[Message]) -> Result<Room, Failure> {
        if replay.request.to == Target::Subject {
            return Ok(Room::Free);
        }
        if self.directory.has_changed().is_ok_and(|known| !known) {
            return Ok(Room::WaitsFor("directory"));
        }
        if replay.request.dry_run {
            return Ok(Room::Free);
        }
        let broker = &self.deps.broker;
        let due = topology::consumer_info(broker, GW_RETRY, RETRY).await?;
        if due.num_pending + due.num_ack_pending as u64 > DUE {
            return Ok(Room::WaitsFor("retries"));
        }
        let directory = self.directory.borrow().clone();
        let mut touched: Vec<String> = Vec::new();
        for facts in messages.iter().filter_map(|message| admitted(&replay.request, message)) {
            touched.extend(wanted(&directory, replay, &facts).map(|live| live.endpoint.id.clone()));
        }
        touched.sort_unstable();
        touched.dedup();
        let waiting = stream::iter(touched)
            .map(|id| async move { nats::subjects(broker, GW_RETRY, &subject::retries_waiting_of(&id)).await })
            .buffered(LOOKUPS)
            .map_ok(|subjects| subjects.len())
            .try_collect::<Vec<usize>>()
            .await?;
        Ok(if waiting.into_iter().any(|waiting| waiting > WAITING) { Room::WaitsFor("endpoints") } else { Room::Free })
    }

    /// A push that is asked for twice is made once; of copies it is looked up which ones are there, behind those that
    /// are on their way still.
    async fn ahead(&self, replay: &Replay) -> Result<HashSet<String>, Failure> {
        let mut ids = HashSet::new();
        if replay.request.to == Target::Endpoints || replay.request.dry_run {
            return Ok(ids);
        }
        let (filter, start) = ([subject::replayed_of(&replay.request.id)], Start::Sequence(replay.landed + 1));
        let broker = &self.deps.copies.broker;
        let mut copies = Reader::open(broker, GW_REPLAY, &filter, start, true).await?;
        let mut last = replay.landed;
        while let Some(copy) = copies.next_waiting(PATIENCE).await? {
            last = copy.sequence;
            ids.extend(copy.header("ce-id").map(str::to_owned));
        }
        // They are being stored still, or what was read is of a replica that lags.
        if nats::holds(broker, GW_REPLAY, &filter, last + 1..=u64::MAX).await? {
            return Err("copies are being stored still, or a replica of GW_REPLAY does not have them yet".into());
        }
        Ok(ids)
    }

    async fn deal(&self, replay: &Replay, ahead: &HashSet<String>, messages: Vec<Message>) -> Result<Dealt, Failure> {
        let mut counts = Counts::default();
        let outgoing = match replay.request.to {
            Target::Subject => again(replay, ahead, messages, &mut counts),
            Target::Endpoints => self.pushes(replay, &messages, &mut counts).await?,
        };
        if replay.request.dry_run {
            return Ok(Dealt { counts, landing: Landing::done() });
        }
        let deadline = Instant::now() + PATIENCE;
        let landing = match replay.request.to {
            Target::Subject => self.deps.copies.publisher.launch_all(outgoing, deadline).await?,
            Target::Endpoints => {
                let timers = &self.deps.timers;
                let store = |push| async move { timers.publish(push, deadline).await.map(drop) };
                stream::iter(outgoing).map(Ok).try_for_each_concurrent(AT_ONCE, store).await?;
                Landing::done()
            }
        };
        Ok(Dealt { counts, landing })
    }

    fn published(&self, count: u64) {
        self.published.inc_by(count);
    }
}

impl Redeliver {
    /// The pushes of these events, counted.
    async fn pushes(
        &self,
        replay: &Replay,
        messages: &[Message],
        counts: &mut Counts,
    ) -> Result<Vec<Outgoing>, Failure> {
        let directory = self.directory.borrow().clone();
        let mut pushes = Vec::new();
        for message in messages {
            let Some(facts) = admitted(&replay.request, message) else { continue };
            for live in wanted(&directory, replay, &facts) {
                match live.endpoint.status {
                    EndpointStatus::Disabled => counts.skip("endpoint-disabled"),
                    EndpointStatus::Active | EndpointStatus::Paused => pushes.push(Retry {
                        org_id: facts.org.clone(),
                        endpoint_id: live.endpoint.id.clone(),
                        event_id: facts.id.to_owned(),
                        stream: GW_EVENT.to_owned(),
                        sequence: message.sequence,
                        event_sequence: message.sequence,
                        attempt: 1,
                        replay: Some(replay.request.id.clone()),
                        only_failed: replay.request.only_failed,
                    }),
                }
            }
        }
        let only_failed = replay.request.only_failed;
        let looked: Vec<(Retry, bool)> = stream::iter(pushes)
            .map(|push| async move {
                let wanted = !only_failed || self.failed(&push).await?;
                Ok::<_, Failure>((push, wanted))
            })
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        let mut outgoing = Vec::with_capacity(looked.len());
        for (push, wanted) in looked {
            if !wanted {
                counts.skip("not-failed");
                continue;
            }
            counts.publish(&push.org_id, Some(&push.endpoint_id));
            outgoing.push(due(&replay.request.id, &push)?);
        }
        Ok(outgoing)
    }

    /// Whether the last that is known of a push is a failure, and nobody is at it now.
    async fn failed(&self, push: &Retry) -> Result<bool, Failure> {
        let place = subject::attempt(&push.org_id, &push.endpoint_id, &push.event_id);
        let last = nats::last(&self.deps.broker, GW_ATTEMPT, &place).await?;
        let last = last.and_then(|message| serde_json::from_slice::<Attempt>(&message.payload).ok());
        Ok(last.is_some_and(|attempt| match attempt.outcome {
            PushOutcome::Dead | PushOutcome::Dropped | PushOutcome::Expired | PushOutcome::Scheduled => true,
            PushOutcome::Delivered | PushOutcome::Held | PushOutcome::Redriven => false,
        }))
    }
}

/// What a replay needs to know of an event, if it is of those asked for.
fn admitted<'a>(request: &Request, message: &'a Message) -> Option<Facts<'a>> {
    let facts = Facts::of(message)?;
    let kind = request.kind.as_ref().is_none_or(|kind| endpoint::admits(std::slice::from_ref(kind), &facts.kind));
    let org = request.org_id.as_ref().is_none_or(|org| *org == facts.org);
    let provider = request.provider.as_deref();
    let provider =
        provider.is_none_or(|id| message.header(header::PROVIDER).map(header::decode).as_deref() == Some(id));
    (kind && org && provider).then_some(facts)
}

/// The endpoints that an event is sent to again: those that were asked for, and that take it.
fn wanted<'a>(
    directory: &'a Directory,
    replay: &'a Replay,
    facts: &'a Facts<'a>,
) -> impl Iterator<Item = &'a Arc<Live>> {
    let chosen = &replay.request.endpoint_ids;
    directory.values().filter(move |live| {
        let endpoint = &live.endpoint;
        endpoint.org_id == facts.org
            && (chosen.is_empty() || chosen.contains(&endpoint.id))
            && (endpoint.history || !facts.history)
            && endpoint::admits(&endpoint.events, &facts.kind)
    })
}

/// A push that is due now; it reads the event where it stands.
fn due(replay: &str, push: &Retry) -> Result<Outgoing, Failure> {
    Ok(Outgoing {
        subject: subject::retry_due(&push.endpoint_id, &push.event_id),
        id: format!("{replay}:{}:{}", push.endpoint_id, push.event_id),
        headers: vec![(header::REPLAY.to_owned(), replay.to_owned())],
        payload: serde_json::to_vec(push)?.into(),
        ..Outgoing::default()
    })
}

/// The events themselves, on subjects of the replay's own.
fn again(replay: &Replay, ahead: &HashSet<String>, messages: Vec<Message>, counts: &mut Counts) -> Vec<Outgoing> {
    let id = &replay.request.id;
    let mut outgoing = Vec::with_capacity(messages.len());
    for message in messages {
        let Some(facts) = admitted(&replay.request, &message) else { continue };
        let Some(subject) = subject::replayed(id, &message.subject) else { continue };
        counts.publish(&facts.org, None);
        if replay.request.dry_run || ahead.contains(facts.id) {
            continue;
        }
        let event = format!("{id}:{}", facts.id);
        let headers = vec![
            (header::ORIGIN.to_owned(), schemas::Origin::Replay.to_string()),
            (header::REPLAY.to_owned(), id.clone()),
        ];
        let (copied, payload) = message.into_copy();
        outgoing.push(Outgoing { subject, id: event, headers, copied, payload, ..Outgoing::default() });
    }
    outgoing
}
