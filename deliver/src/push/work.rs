//! An event that its consumer handed out, until it is acknowledged or given back.
//!
//! Nothing is acknowledged before what became of it is stored; the order of the writes makes a crash at any point
//! repeat at most this one request, with the same `webhook-id`.

use std::{sync::Arc, time::Duration};

use nats::{Message, topology::ACK_WAIT};
use schemas::{cause::Chain, endpoint};
use tokio::time::Instant;
use tracing::debug;

use super::{
    Engine,
    about::{About, Source},
    decide::{Reason, Tries},
    record::Stopped,
    settle::{After, Push},
    target::{Held, Rules, Target},
    turn::{Lane, Turn},
};

/// An event handed out this often was in the hands of as many processes that ended before it was settled.
const WORN: u64 = 32;
/// Tries to acknowledge.
const ACKS: usize = 3;

/// What is to be done with the message of a push.
enum Done {
    /// It is settled, and acknowledged.
    Settled,
    /// It goes back: the endpoint is not active, or the gateway stops.
    Back,
}

impl Engine {
    /// Pushes an event that its consumer handed out, and settles it.
    pub(super) async fn consumed(self: Arc<Self>, target: Arc<Target>, event: Message, lane: Lane, held: Held) {
        let broker = &self.deps.broker;
        let done = nats::keep_alive(broker, &event, self.consume(&target, &event, lane)).await;
        // First, for what is given back comes again at once.
        drop(held);
        match done {
            Ok(Done::Settled) => self.acknowledge(&event).await,
            Ok(Done::Back) => nats::give_back(broker, &event).await,
            // What was not stored is told again by whoever gets the event next.
            Err(Stopped) => debug!(sequence = event.sequence, "push.unsettled"),
        }
    }

    async fn consume(&self, target: &Target, event: &Message, lane: Lane) -> Result<Done, Stopped> {
        let Some(rules) = target.rules() else { return Ok(Done::Back) };
        let wishes = &rules.live.endpoint;
        let about = About::of_event(&wishes.org_id, &target.id, event);
        let again = event.delivered > 1;
        if !endpoint::admits(&wishes.events, &about.kind) || again && self.settled_event(&about).await? {
            return Ok(Done::Settled);
        }
        if event.delivered >= WORN && !wishes.ordered {
            let detail = format!("handed out {} times and never settled", event.delivered);
            self.give_up(&about, event, 0, Reason::Exhausted, &detail).await?;
            return Ok(Done::Settled);
        }
        let mut tries = if wishes.ordered { self.tried(&about).await? } else { Tries::NONE };
        let mut sure = Instant::now();
        loop {
            let Turn::Go(go) = self.turn(target, lane).await else { return Ok(Done::Back) };
            // The broker may have been away meanwhile, and handed it to another process.
            if sure.elapsed() >= ACK_WAIT {
                if self.settled_event(&about).await? {
                    self.unprobe(target, &go);
                    return Ok(Done::Settled);
                }
                sure = Instant::now();
            }
            let (source, holds) = (Source::of_event(event), go.rules.live.endpoint.ordered);
            let push = Push { target, about: &about, event, source, holds };
            match self.push(&push, &go, &mut tries).await? {
                After::Ended => return Ok(Done::Settled),
                After::Hold(until) => {
                    // What comes by timer may be pushed meanwhile: it stands outside of the order.
                    let rules = go.rules.clone();
                    drop(go);
                    self.hold(target, &rules, until).await;
                }
            }
        }
    }

    /// Keeps the place of an event until its time. A change of the endpoint ends the wait: it may have mended it.
    async fn hold(&self, target: &Target, rules: &Arc<Rules>, until: i64) {
        let mut changes = target.watch_rules();
        let changed = changes.borrow_and_update().as_ref().is_none_or(|now| !Arc::ptr_eq(now, rules));
        let pause = u64::try_from(until - self.deps.clock.now()).unwrap_or_default();
        if changed {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
            _ = changes.changed() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// A lost acknowledgement would repeat the request.
    async fn acknowledge(&self, event: &Message) {
        for _ in 0..ACKS {
            match nats::acknowledge(&self.deps.broker, event).await {
                Ok(()) => return,
                Err(error) => debug!(error = %Chain(&error), sequence = event.sequence, "push.ack"),
            }
        }
    }
}
