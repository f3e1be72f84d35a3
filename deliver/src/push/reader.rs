//! The task of an endpoint: keeps its consumers as they should be, and reads them while it is active.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nats::{
    Message, Pull, Start,
    durable::{self, Durable},
    topology,
};
use schemas::{
    cause::Chain,
    endpoint::{self, BREAKER, EndpointStatus},
};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tracing::{debug, error, warn};

use super::{
    Engine,
    breaker::Breaker,
    closing,
    target::{Rules, Target},
    turn::Lane,
};
use crate::{
    endpoint::{Known, StartAt},
    error::Error,
};

const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

type Changes = watch::Receiver<Option<Arc<Rules>>>;

/// Runs until the endpoint is deleted and nothing is left of it, or until the gateway stops.
pub(super) async fn run(engine: Arc<Engine>, target: Arc<Target>) {
    let mut reader = Reader {
        changes: target.watch_rules(),
        engine,
        target,
        pushes: JoinSet::new(),
        pause: PAUSE.0,
        failing: false,
    };
    while !reader.engine.stop.is_cancelled() {
        let Some(rules) = reader.changes.borrow_and_update().clone() else { break };
        if let Err(error) = reader.serve(&rules).await {
            reader.complain(&error);
            reader.rest().await;
        }
    }
    while let Some(ended) = reader.pushes.join_next().await {
        said(ended);
    }
    if reader.target.rules().is_none() {
        closing::deleted(&reader.engine, &reader.target.id).await;
    }
}

struct Reader {
    engine: Arc<Engine>,
    target: Arc<Target>,
    changes: Changes,
    /// What is in hand.
    pushes: JoinSet<()>,
    pause: Duration,
    failing: bool,
}

impl Reader {
    /// Does what one version of the rules wants, until there is another.
    async fn serve(&mut self, rules: &Rules) -> Result<(), Error> {
        if let Brought::Outdated = self.bring(rules, true).await? {
            self.changed().await;
            return Ok(());
        }
        (self.pause, self.failing) = (PAUSE.0, false);
        match rules.live.endpoint.status {
            EndpointStatus::Active => self.read(rules).await,
            EndpointStatus::Paused => {
                self.changed().await;
                Ok(())
            }
            EndpointStatus::Disabled => {
                closing::disabled(&self.engine, &self.target).await?;
                self.changed().await;
                Ok(())
            }
        }
    }

    /// Brings the consumers to the rules, and the breaker to what all processes know of it.
    async fn bring(&self, rules: &Rules, first: bool) -> Result<Brought, Error> {
        let (engine, target) = (&self.engine, &self.target);
        // Few at a time: thousands of endpoints begin at once.
        let _few = engine.opening.acquire().await;
        let asked = target.breaker();
        let own_change = target.take_unwritten();
        let brought = bring(engine, target, rules, (!own_change).then_some(asked), first).await;
        if own_change && !matches!(brought, Ok(Brought::Done)) {
            target.keep_unwritten();
        }
        brought
    }

    /// Hands out events until the rules change, the gateway stops, or reading fails.
    async fn read(&mut self, rules: &Rules) -> Result<(), Error> {
        let broker = self.engine.deps.broker.clone();
        let id = self.target.id.clone();
        let mut live = Pull::open(&broker, topology::GW_EVENT, &id).await?;
        let mut history = match rules.live.endpoint.history {
            true => Some(Pull::open(&broker, topology::GW_EVENT, &topology::history_of(&id)).await?),
            false => None,
        };
        let ended = self.take(rules, &mut live, history.as_mut()).await;
        let (left, more) = tokio::join!(live.close(), async {
            match history {
                Some(history) => history.close().await,
                None => Vec::new(),
            }
        });
        for event in left.iter().chain(&more) {
            // What is in hand was handed out again: whoever has it settles it.
            if self.target.hold(event, Lane::History).is_some() {
                nats::give_back(&broker, event).await;
            }
        }
        ended
    }

    async fn take(&mut self, rules: &Rules, live: &mut Pull, mut history: Option<&mut Pull>) -> Result<(), Error> {
        let (stop, room) = (self.engine.stop.clone(), usize::from(rules.room()));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = self.changes.changed() => return Ok(()),
                () = self.target.look.notified() => if let Brought::Outdated = self.bring(rules, false).await? {
                    return Ok(());
                },
                event = live.next(room) => self.spawn(event?, Lane::Live),
                event = next(&mut history, room) => self.spawn(event?, Lane::History),
                Some(ended) = self.pushes.join_next() => said(ended),
            }
        }
    }

    /// What is in hand already is settled by whoever has it.
    fn spawn(&mut self, event: Message, lane: Lane) {
        match self.target.hold(&event, lane) {
            Some(held) => drop(self.pushes.spawn(self.engine.clone().consumed(self.target.clone(), event, lane, held))),
            None => debug!(endpoint = self.target.id, sequence = event.sequence, "push.in_hand"),
        }
    }

    /// Waits for another version of the rules. What is in hand goes on.
    async fn changed(&mut self) {
        let stop = self.engine.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.changes.changed() => return,
                Some(ended) = self.pushes.join_next() => said(ended),
            }
        }
    }

    /// A lost connection is said once for the whole gateway, another failure once when it begins.
    fn complain(&mut self, error: &Error) {
        let endpoint = &self.target.id;
        if self.failing || !self.engine.deps.broker.is_connected() {
            debug!(error = %Chain(error), endpoint, "endpoint.unread");
        } else {
            warn!(error = %Chain(error), endpoint, "endpoint.unread: it is tried again");
        }
        self.failing = true;
    }

    async fn rest(&mut self) {
        let stop = self.engine.stop.clone();
        let half = rand::random_range(0.5..1.0);
        let pause = async {
            sleep(self.pause.mul_f64(half)).await;
            self.engine.deps.broker.connected().await;
        };
        let _stopped = stop.run_until_cancelled(pause).await.is_none();
        self.pause = (self.pause * 2).min(PAUSE.1);
    }
}

async fn next(pull: &mut Option<&mut Pull>, room: usize) -> Result<Message, Error> {
    match pull {
        Some(pull) => Ok(pull.next((room / 2).max(1)).await?),
        None => std::future::pending().await,
    }
}

fn said(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        error!(error = &panic as &dyn std::error::Error, "push.panic: the broker hands its event out again");
    }
}

/// Whether the consumers are as the rules want them.
enum Brought {
    Done,
    /// The rules are not the endpoint's any more: one of its consumers is gone, and is not made again by them. It would
    /// begin where the endpoint did.
    Outdated,
}

/// `asked`: the breaker as it was before, where what the consumer says of it counts; otherwise it changed here.
/// `first`: for the first time with these rules.
async fn bring(
    engine: &Engine,
    target: &Target,
    rules: &Rules,
    asked: Option<Breaker>,
    first: bool,
) -> Result<Brought, Error> {
    let broker = &engine.deps.broker;
    let found = durable::find(broker, topology::GW_EVENT, &target.id).await?;
    if let Some(asked) = asked {
        target.adopt(asked, found.as_ref().and_then(|found| Breaker::parse(found.metadata(BREAKER)?)));
    }
    let breaker = target.breaker();
    let mut wanted = vec![(wanted(rules, Lane::Live, breaker), found)];
    if rules.live.endpoint.history {
        let history = self::wanted(rules, Lane::History, breaker);
        let found = durable::find(broker, topology::GW_EVENT, &history.name).await?;
        wanted.push((history, found));
    } else if rules.live.version > 1 && first {
        durable::remove(broker, topology::GW_EVENT, &topology::history_of(&target.id)).await?;
    }
    if wanted.iter().any(|(_, found)| found.is_none()) {
        // Asked after the look: whoever removed it had changed the row before.
        let known = engine.endpoints.known(&target.id).await?;
        if known != (Known::Live { version: rules.live.version }) {
            return Ok(Brought::Outdated);
        }
    }
    for (wanted, found) in wanted {
        if found.as_ref().is_none_or(|found| !found.is(&wanted)) {
            durable::put(broker, &wanted, found.as_ref()).await?;
        }
        if let (None, Breaker::Open { until, .. }) = (asked, breaker)
            && until > engine.deps.clock.now()
        {
            durable::pause(broker, topology::GW_EVENT, &wanted.name, until).await?;
        }
    }
    Ok(Brought::Done)
}

/// A consumer as it should be. While the breaker is open, one event at a time is handed out: after the pause it probes.
fn wanted(rules: &Rules, lane: Lane, breaker: Breaker) -> Durable {
    let endpoint = &rules.live.endpoint;
    let (suffix, filters, room) = match lane {
        Lane::History => (
            topology::HISTORY,
            endpoint::history_filters(&endpoint.org_id, &endpoint.events),
            // Live events always find the other half.
            (rules.room() / 2).max(1),
        ),
        _ => ("", endpoint::subject_filters(&endpoint.org_id, &endpoint.events, false), rules.room()),
    };
    let begins = if lane == Lane::History { rules.live.history_start } else { rules.live.start };
    let mut metadata = BTreeMap::from([("gw-org".to_owned(), endpoint.org_id.clone())]);
    if breaker.is_open() {
        metadata.insert(BREAKER.to_owned(), breaker.to_string());
    }
    Durable {
        stream: topology::GW_EVENT,
        name: format!("{}{suffix}", endpoint.id),
        description: match lane {
            Lane::History => format!("History for endpoint {}, behind live events", endpoint.id),
            _ => format!("Pushes to endpoint {}", endpoint.id),
        },
        filters,
        max_ack_pending: if breaker.is_open() { 1 } else { room },
        start: match begins {
            StartAt::Sequence(sequence) => Start::Sequence(sequence),
            StartAt::Time(at) => Start::Since(at),
        },
        metadata,
    }
}
