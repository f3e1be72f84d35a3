//! Group commit: what waits while a batch is in flight becomes the next one. No timer: a lone message goes at
//! once, and a few go each by itself, since to stage a batch costs as much as to sync some messages.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{PublishError, SERIAL, Stored, batch, limit, pipeline::Pipeline};
use crate::{connect::Broker, message::Outgoing};

/// The server takes 1,000 messages a batch; half of that keeps a batch's latency low.
const MAX_MESSAGES: usize = 500;
const MAX_BYTES: usize = 4 << 20;
/// Units that may wait before callers do.
const QUEUE: usize = 8_192;

type Outcomes = Vec<Result<Stored, PublishError>>;

/// Messages that stay together and in order, and who waits for them.
#[derive(Debug)]
pub(super) struct Unit {
    messages: Arc<[Outgoing]>,
    deadline: Instant,
    reply: oneshot::Sender<Outcomes>,
}

pub(super) struct Group {
    broker: Broker,
    pipeline: Pipeline,
    /// So many messages are not worth a batch.
    single: usize,
    units: mpsc::Receiver<Unit>,
    /// A unit that did not fit into the batch before.
    left: Option<Unit>,
}

/// Hands messages to the group and waits for what became of them.
pub(super) async fn submit(
    group: &mpsc::Sender<Unit>,
    messages: Arc<[Outgoing]>,
    deadline: Instant,
) -> Result<Outcomes, PublishError> {
    let (reply, outcomes) = oneshot::channel();
    let sent = async {
        group.send(Unit { messages, deadline, reply }).await.map_err(|_closed| PublishError::Unconfirmed)?;
        outcomes.await.map_err(|_closed| PublishError::Unconfirmed)
    };
    tokio::time::timeout_at(deadline, sent).await.map_err(|_elapsed| PublishError::Unconfirmed)?
}

impl Group {
    pub(super) fn new(broker: Broker, pipeline: Pipeline, single: usize) -> (Self, mpsc::Sender<Unit>) {
        let (sender, units) = mpsc::channel(QUEUE);
        (Self { broker, pipeline, single, units, left: None }, sender)
    }

    /// One batch at a time: what comes meanwhile makes the next one larger, and a larger batch costs no more syncs.
    pub(super) async fn run(mut self) {
        while let Some(mut units) = self.gather().await {
            let now = Instant::now();
            units.retain(|unit| unit.deadline > now && !unit.reply.is_closed());
            let count: usize = units.iter().map(|unit| unit.messages.len()).sum();
            if count <= self.single && units.iter().all(|unit| unit.messages.len() <= SERIAL) {
                join_all(units.into_iter().map(|unit| one_by_one(&self.pipeline, unit))).await;
            } else {
                commit(&self.broker, units).await;
            }
        }
    }

    /// Everything that waits, as far as one batch holds it; waits for the first.
    async fn gather(&mut self) -> Option<Vec<Unit>> {
        let first = match self.left.take() {
            Some(left) => left,
            None => self.units.recv().await?,
        };
        let (mut count, mut bytes) = size(&first);
        let mut units = vec![first];
        while let Ok(unit) = self.units.try_recv() {
            let (more, larger) = size(&unit);
            if count + more > MAX_MESSAGES || bytes + larger > MAX_BYTES {
                self.left = Some(unit);
                break;
            }
            (count, bytes) = (count + more, bytes + larger);
            units.push(unit);
        }
        Some(units)
    }
}

fn size(unit: &Unit) -> (usize, usize) {
    (unit.messages.len(), unit.messages.iter().map(Outgoing::size).sum())
}

/// Stores the messages of a unit one after the other. What follows one that failed must not overtake it.
async fn one_by_one(pipeline: &Pipeline, unit: Unit) {
    let mut outcomes = Outcomes::with_capacity(unit.messages.len());
    for message in unit.messages.iter() {
        let outcome = match outcomes.last() {
            Some(Err(_failed)) => Err(PublishError::Unconfirmed),
            _ => pipeline.publish(message, Instant::now() + limit(unit.deadline)).await,
        };
        outcomes.push(outcome);
    }
    let _gone = unit.reply.send(outcomes).is_err();
}

/// Stores the units as one batch. The same id twice is stored once, and the second told so.
async fn commit(broker: &Broker, units: Vec<Unit>) {
    let Some(deadline) = units.iter().map(|unit| unit.deadline).max() else { return };
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut unique: Vec<&Outgoing> = Vec::new();
    let mut index: Vec<(usize, bool)> = Vec::new();
    for message in units.iter().flat_map(|unit| unit.messages.iter()) {
        let fresh = unique.len();
        let place = *places.entry(&message.id).or_insert(fresh);
        if place == fresh {
            unique.push(message);
        }
        index.push((place, place == fresh));
    }
    let outcomes = batch::store(&broker.client, &unique, limit(deadline)).await;
    let mut index = index.into_iter();
    let replies: Vec<Outcomes> = units
        .iter()
        .map(|unit| index.by_ref().take(unit.messages.len()).map(|place| outcome(&outcomes, place)).collect())
        .collect();
    for (unit, outcomes) in units.into_iter().zip(replies) {
        // Who no longer waits has given up at its deadline.
        let _gone = unit.reply.send(outcomes).is_err();
    }
}

fn outcome(outcomes: &[Result<Stored, PublishError>], (place, first): (usize, bool)) -> Result<Stored, PublishError> {
    match outcomes.get(place) {
        Some(Ok(stored)) if !first => Ok(Stored::Duplicate { sequence: stored.sequence() }),
        Some(outcome) => outcome.clone(),
        None => Err(PublishError::Unconfirmed),
    }
}
