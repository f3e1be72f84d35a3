//! Makes a durable job of a request: its range is fixed now.

use std::{sync::Arc, time::Duration};

use nats::{
    Broker, Message, Verdict,
    consume::{Consumer, DeadLetters, Handler, Slots},
    job::{Jobs, Step, walk},
    topology::{self, GW_COMMAND, GW_EVENT, GW_WEBHOOK},
};
use schemas::{
    ambient::Clock,
    cause::Chain,
    fields::Faults,
    replay::{Counts, Mode, Replay, Request, Status},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::wish;
use crate::{Deps, error::Error};

const SLOTS: usize = 8;
const AGAIN: Duration = Duration::from_secs(1);

/// Begins a replay, or finds the one that has this id.
pub(super) async fn start(broker: &Broker, clock: &Clock, request: Request) -> Result<Replay, Error> {
    let jobs = Jobs::new(broker);
    let id = request.id.clone();
    if let Some(held) = jobs.load::<Replay>(&id).await? {
        return Ok(held.state);
    }
    let (from, to) = range(broker, &request).await?;
    let now = clock.now();
    let replay = Replay {
        request,
        status: Status::Running,
        from,
        to,
        next: from,
        counts: Counts::default(),
        landed: 0,
        started_at: now,
        updated_at: now,
        ended_at: None,
        waits_for: None,
        failure: None,
    };
    let task = walk::task(&replay);
    match jobs.begin(&id, replay, &task).await? {
        Step::Taken(held) => {
            info!(replay = id, from, to, "replay.started");
            Ok(held.state)
        }
        Step::Refused => jobs.load(&id).await?.map(|held| held.state).ok_or(Error::NotFound),
    }
}

/// The first and the last sequence of a request; what comes later is not part of it.
async fn range(broker: &Broker, request: &Request) -> Result<(u64, u64), Error> {
    let stream = match request.mode {
        Mode::Redeliver => GW_EVENT,
        Mode::Reroute => GW_WEBHOOK,
    };
    let state = topology::stream_info(broker, stream).await?.state;
    let mut from = state.first_sequence.max(1).max(request.from_sequence.unwrap_or(1));
    let mut to = state.last_sequence.min(request.to_sequence.unwrap_or(u64::MAX));
    if let Some(since) = request.since {
        from = from.max(nats::first_since(broker, stream, since).await?.unwrap_or(state.last_sequence + 1));
    }
    if let Some(until) = request.until
        && let Some(after) = nats::first_since(broker, stream, until).await?
    {
        to = to.min(after.saturating_sub(1));
    }
    Ok((from, to))
}

/// Turns commands into replays until told to stop.
pub(crate) async fn commands(deps: Deps, stop: CancellationToken) {
    let consumer = Consumer {
        broker: deps.broker.clone(),
        stream: GW_COMMAND,
        name: topology::REPLAY,
        slots: Slots::live(SLOTS),
        dead: DeadLetters::new(deps.dead.clone(), "command"),
        redelivered: Default::default(),
        recreate: deps.recreate_consumers,
    };
    nats::consume::run(consumer, Arc::new(Commands(deps)), stop).await;
}

struct Commands(Deps);

impl Handler for Commands {
    fn lane(&self, message: &Message) -> u64 {
        message.sequence
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            verdicts.push(self.command(message).await);
        }
        verdicts
    }
}

impl Commands {
    async fn command(&self, message: &Message) -> Verdict {
        let unreadable = |detail| Verdict::Dead { reason: "unreadable", detail };
        let request: Request = match serde_json::from_slice(&message.payload) {
            Ok(request) => request,
            Err(error) => return unreadable(format!("the command cannot be read: {error}")),
        };
        let mut faults = Faults::default();
        wish::check(&request, &mut faults);
        if !faults.is_empty() {
            return unreadable(format!("the command is wrong: {faults}"));
        }
        match start(&self.0.broker, &self.0.clock, request).await {
            Ok(_) => Verdict::Done,
            Err(error) => {
                warn!(error = %Chain(&error), sequence = message.sequence, "replay.command");
                Verdict::Retry { after: AGAIN }
            }
        }
    }
}
