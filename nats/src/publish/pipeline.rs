//! Messages one by one, many in flight. What callers hand over while the task waits for its turn leaves in one write,
//! and one subscription takes all acknowledgements: where messages come alone, a write, a wake-up and a timer for each
//! would cost more than the publish itself.

use std::{collections::HashMap, sync::Arc};

use async_nats::{Client, PublishErrorKind, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::yield_now,
    time::Instant,
};
use tracing::error;

use super::{PublishError, Stored, ack};
use crate::{connect::Broker, message::Outgoing};

/// Messages in flight at once: the server refuses what exceeds 10,000 waiting for a stream.
const MOST: usize = 4_096;
/// Messages that leave together.
const BURST: usize = 512;

/// The payload of an acknowledgement, or why there is none.
type Answer = Result<Bytes, PublishError>;

/// A message on its way, and who waits for it.
#[derive(Debug)]
struct Unit {
    subject: String,
    headers: async_nats::HeaderMap,
    payload: Bytes,
    reply: oneshot::Sender<Answer>,
}

/// Hands messages to the task. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    units: mpsc::Sender<Unit>,
    room: Arc<Semaphore>,
}

impl Pipeline {
    pub(super) fn new(broker: &Broker) -> (Self, Pump) {
        let (sender, units) = mpsc::channel(MOST);
        let pump = Pump { client: broker.client.clone(), units, flying: HashMap::new(), last: 0 };
        (Self { units: sender, room: Arc::new(Semaphore::new(MOST)) }, pump)
    }

    /// Sends a message and waits for its acknowledgement.
    pub(super) async fn publish(&self, message: &Outgoing, limit: Instant) -> Result<Stored, PublishError> {
        let answered = async {
            let _room = self.room.acquire().await.map_err(|_closed| PublishError::Unconfirmed)?;
            let (reply, answer) = oneshot::channel();
            let unit = Unit {
                subject: message.subject.clone(),
                headers: message.header_map(),
                payload: message.payload.clone(),
                reply,
            };
            self.units.send(unit).await.map_err(|_closed| PublishError::Unconfirmed)?;
            answer.await.map_err(|_closed| PublishError::Unconfirmed)?
        };
        let answer = tokio::time::timeout_at(limit, answered).await;
        ack::read(&answer.map_err(|_elapsed| PublishError::Unconfirmed)??)
    }
}

/// The task behind a [`Pipeline`].
pub(super) struct Pump {
    client: Client,
    units: mpsc::Receiver<Unit>,
    /// Who waits for which acknowledgement. Who gave up stands here until it is swept out.
    flying: HashMap<u64, oneshot::Sender<Answer>>,
    last: u64,
}

impl Pump {
    /// Ends when the last sender is gone, or with the client.
    pub(super) async fn run(mut self) {
        let inbox = self.client.new_inbox();
        let mut acks = match self.client.subscribe(format!("{inbox}.*")).await {
            Ok(acks) => acks,
            Err(error) => return error!(%error, "publish.subscribe"),
        };
        let mut burst = Vec::new();
        loop {
            tokio::select! {
                ack = acks.next() => {
                    let Some(ack) = ack else { return };
                    self.settle(ack);
                    self.settle_arrived(&mut acks);
                }
                count = self.units.recv_many(&mut burst, BURST) => {
                    if count == 0 {
                        return;
                    }
                    self.gather(&mut burst).await;
                    for unit in burst.drain(..) {
                        self.launch(unit, &inbox).await;
                    }
                }
            }
        }
    }

    /// On a busy edge the other requests that are ready come first, so that their messages leave with this one. A
    /// lone message goes at once.
    async fn gather(&mut self, burst: &mut Vec<Unit>) {
        if self.flying.is_empty() {
            return;
        }
        yield_now().await;
        while burst.len() < BURST
            && let Ok(unit) = self.units.try_recv()
        {
            burst.push(unit);
        }
    }

    async fn launch(&mut self, unit: Unit, inbox: &str) {
        if unit.reply.is_closed() {
            return;
        }
        self.last += 1;
        let reply = format!("{inbox}.{:x}", self.last);
        match self.client.publish_with_reply_and_headers(unit.subject, reply, unit.headers, unit.payload).await {
            Ok(()) => {
                self.sweep();
                self.flying.insert(self.last, unit.reply);
            }
            Err(error) => {
                let why = match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
                    _ => PublishError::Unconfirmed,
                };
                let _gone = unit.reply.send(Err(why)).is_err();
            }
        }
    }

    /// Forgets those who gave up. Of those who wait there are at most [`MOST`].
    fn sweep(&mut self) {
        if self.flying.len() >= 2 * MOST {
            self.flying.retain(|_, reply| !reply.is_closed());
        }
    }

    fn settle_arrived(&mut self, acks: &mut Subscriber) {
        while let Some(Some(ack)) = acks.next().now_or_never() {
            self.settle(ack);
        }
    }

    fn settle(&mut self, ack: async_nats::Message) {
        let token = ack.subject.rsplit('.').next().and_then(|token| u64::from_str_radix(token, 16).ok());
        let Some(reply) = token.and_then(|token| self.flying.remove(&token)) else { return };
        let answer =
            if ack.status == Some(StatusCode::NO_RESPONDERS) { Err(PublishError::NoStream) } else { Ok(ack.payload) };
        // Who no longer waits has given up at its deadline.
        let _gone = reply.send(answer).is_err();
    }
}
