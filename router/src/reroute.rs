//! Replays of stored deliveries: through today's links and normalisers, behind live traffic.
//!
//! Each becomes history with an event id of its own. What was stored and never routed is routed as it would have been
//! then: with its own ids, and live where it was live.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use nats::{
    Landing, Message, consume,
    job::walk::{Dealt, Failure, Room, Source, Walk, Walker, What},
    topology::{self, GW_EVENT, GW_OUTCOME, GW_PARKED, GW_WEBHOOK, ROUTER, ROUTER_HISTORY},
};
use schemas::{
    Delivery, endpoint, event, header,
    replay::{Counts, REROUTE, Replay},
    subject,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Inner,
    translate::{Occasion, Read, Resolution, Unread},
};

mod routed;

use routed::Wanted;

/// Deliveries dealt with together.
const CHUNK: usize = 500;
/// Replays at once; more wait for their turn.
const SLOTS: usize = 2;
/// Live deliveries that may wait while a replay goes on.
const BACKLOG: u64 = 1_000;
/// Deliveries looked up at once.
const LOOKUPS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);

/// Routes stored deliveries again.
#[derive(Debug)]
struct Reroute(Arc<Inner>);

pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let consumer = inner.worker(REROUTE, SLOTS);
    let (broker, clock) = (inner.deps.broker.clone(), inner.deps.clock.clone());
    let walker = Walker { walk: Reroute(inner), broker, clock, stop: stop.clone() };
    consume::run(consumer, Arc::new(walker), stop).await;
}

/// A delivery of the range, and what today's links make of it.
struct Resolved {
    message: Message,
    read: Read,
    resolution: Resolution,
}

impl Walk for Reroute {
    /// Of all providers: that needs no consumer, and the router may make none on this stream.
    fn source(&self, _replay: &Replay) -> Source {
        Source { stream: GW_WEBHOOK, what: What::All, chunk: CHUNK }
    }

    async fn room(&self, _replay: &Replay, _messages: &[Message]) -> Result<Room, Failure> {
        if self.0.routes.unready().is_some() {
            return Ok(Room::WaitsFor("routes"));
        }
        let live = topology::consumer_info(&self.0.deps.broker, GW_WEBHOOK, ROUTER).await?;
        let waiting = live.num_pending + live.num_ack_pending as u64;
        Ok(if waiting > BACKLOG { Room::WaitsFor("live-traffic") } else { Room::Free })
    }

    async fn deal(&self, replay: &Replay, _ahead: &HashSet<String>, messages: Vec<Message>) -> Result<Dealt, Failure> {
        let mut counts = Counts::default();
        let mut resolved = Vec::with_capacity(messages.len());
        for message in &messages {
            match self.resolve(replay, message).await? {
                Ok(one) => resolved.push(one),
                Err(why) => counts.skip(why),
            }
        }
        match replay.request.only_undelivered {
            false => self.again(replay, &resolved, &mut counts).await?,
            true => self.catch_up(replay, resolved, &mut counts).await?,
        }
        Ok(Dealt { counts, landing: Landing::done() })
    }

    fn published(&self, count: u64) {
        self.0.metrics.rerouted(count);
    }
}

impl Reroute {
    /// A delivery with those of its organisations that are asked for, or why it is passed over.
    async fn resolve(&self, replay: &Replay, message: &Message) -> Result<Result<Resolved, &'static str>, Failure> {
        let request = &replay.request;
        let Ok(delivery) = Delivery::from_headers(&message.header_list()) else { return Ok(Err("unreadable")) };
        if request.provider.as_ref().is_some_and(|wanted| *wanted != delivery.provider) {
            return Ok(Err("other-provider"));
        }
        let unclaimed = !delivery.may_name_more() && self.0.routes.read().claims(&delivery).is_empty();
        if unclaimed && !request.only_undelivered {
            return Ok(Err("unclaimed"));
        }
        let _room = if Read::is_large(message) { Some(self.0.large.acquire().await?) } else { None };
        let read = match Read::of(message, &self.0.payloads).await {
            Ok(read) => read,
            Err(Unread::Never(_)) => return Ok(Err("unreadable")),
            Err(Unread::Later(nats::Error::Payload { .. })) => return Ok(Err("payload-unavailable")),
            Err(Unread::Later(error)) => return Err(error.into()),
        };
        let kind = read.key.of(read.provider.id);
        if request.kind.as_ref().is_some_and(|wanted| !endpoint::admits(std::slice::from_ref(wanted), &kind)) {
            return Ok(Err("other-type"));
        }
        let whole = self.0.resolve(&read);
        let claimed = !whole.is_empty();
        let mut resolution = whole.clone();
        if let Some(only) = &request.org_id {
            resolution.admitted.retain(|(org, _)| **org == **only);
            resolution.filtered.retain(|(org, _)| **org == **only);
        }
        Ok(match (resolution.admitted.is_empty(), resolution.filtered.is_empty()) {
            // What was never routed is routed to all: once one of them has its event, nobody would look for the others'.
            (false, _) if request.only_undelivered => {
                Ok(Resolved { message: message.clone(), read, resolution: whole })
            }
            (false, _) => Ok(Resolved { message: message.clone(), read, resolution }),
            (true, false) => Err("filtered"),
            (true, true) if claimed || request.org_id.is_some() => Err("other-organisation"),
            (true, true) if request.only_undelivered => Ok(Resolved { message: message.clone(), read, resolution }),
            (true, true) => Err("unclaimed"),
        })
    }

    /// Makes new events, as history.
    async fn again(&self, replay: &Replay, resolved: &[Resolved], counts: &mut Counts) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(resolved.len());
        for Resolved { read, resolution, .. } in resolved {
            for (org, _) in &resolution.admitted {
                counts.publish(org, None);
            }
            if !replay.request.dry_run {
                events.extend(self.0.events(read, resolution, Occasion::Replay(&replay.request.id)).await?);
            }
        }
        self.0.deps.events.publish_in_order(events, Instant::now() + PATIENCE).await?;
        Ok(())
    }

    /// Does for what was never routed what routing would have done.
    async fn catch_up(&self, replay: &Replay, resolved: Vec<Resolved>, counts: &mut Counts) -> Result<(), Failure> {
        let floors = self.floors().await?;
        let looked: Vec<(Resolved, Option<&'static str>)> = stream::iter(resolved)
            .map(async |one| self.known(&one, &floors).await.map(|known| (one, known)))
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        let found = self.routed(&looked).await?;
        for (Resolved { message, read, resolution }, known) in looked {
            let routed = || found.contains(&read.sequence).then_some("routed");
            if let Some(why) = known.or_else(routed) {
                counts.skip(why);
                continue;
            }
            let asked = |org: &str| replay.request.org_id.as_deref().is_none_or(|only| only == org);
            for (org, _) in resolution.admitted.iter().filter(|(org, _)| asked(org)) {
                counts.publish(org, None);
            }
            let unclaimed = resolution.is_empty();
            if unclaimed {
                counts.skip("parked");
            }
            if replay.request.dry_run {
                continue;
            }
            if unclaimed {
                self.0.park(&[(message, read)]).await?;
                continue;
            }
            let occasion = Occasion::First { traceparent: message.header(header::TRACEPARENT) };
            let events = self.0.events(&read, &resolution, occasion).await?;
            self.0.publish(&[(read.shed(), resolution)], events).await?;
        }
        Ok(())
    }

    /// Which of those that nothing is known of have events all the same: of organisations that have unlinked since.
    async fn routed(&self, looked: &[(Resolved, Option<&'static str>)]) -> Result<BTreeSet<u64>, Failure> {
        let mut lanes = [Wanted::default(), Wanted::default()];
        let mut since = i64::MAX;
        for (Resolved { message, read, .. }, _) in looked.iter().filter(|(_, known)| known.is_none()) {
            lanes[usize::from(read.delivery.origin.is_history())].insert(read.sequence);
            since = since.min(message.stored_at);
        }
        Ok(routed::among(&self.0.deps.broker, lanes, since).await?)
    }

    /// How far each of the router's consumers has got: what stands behind is still going to be routed.
    async fn floors(&self) -> Result<HashMap<bool, u64>, Failure> {
        let mut floors = HashMap::new();
        for (history, name) in [(false, ROUTER), (true, ROUTER_HISTORY)] {
            let info = topology::consumer_info(&self.0.deps.broker, GW_WEBHOOK, name).await?;
            // With nothing left to do its place is the end, wherever its last message was.
            let idle = info.num_pending == 0 && info.num_ack_pending == 0;
            floors.insert(history, if idle { u64::MAX } else { info.ack_floor.stream_sequence });
        }
        Ok(floors)
    }

    /// What became of a delivery, if something did.
    async fn known(&self, one: &Resolved, floors: &HashMap<bool, u64>) -> Result<Option<&'static str>, Failure> {
        let Resolved { message, read, resolution } = one;
        let (broker, delivery) = (&self.0.deps.broker, &read.delivery);
        if floors.get(&delivery.origin.is_history()).is_some_and(|floor| message.sequence > *floor) {
            return Ok(Some("pending"));
        }
        for (org, _) in &resolution.admitted {
            let id = event::id(read.provider.id, &delivery.id, org, None);
            let place = subject::event(delivery.origin, org, read.provider.id, &read.key, &id);
            if nats::last(broker, GW_EVENT, &place).await?.is_some() {
                return Ok(Some("routed"));
            }
        }
        if nats::last(broker, GW_OUTCOME, &subject::outcome(read.provider.id, &delivery.id)).await?.is_some() {
            return Ok(Some("routed"));
        }
        let parked = nats::last(broker, GW_PARKED, &subject::parked(delivery)).await?.is_some();
        Ok(parked.then_some("parked"))
    }
}
