//! The way of a delivery: read, resolve, publish an event for each organisation, or park it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use nats::{
    Message, Outgoing, PublishError, Verdict,
    consume::{Dying, Handler},
};
use schemas::{cause::Chain, header};
use tokio::time::Instant;
use tracing::{Instrument, Span, info_span, warn};

use crate::{
    Inner,
    translate::{Occasion, Read, Resolution, Unread},
};

/// How long one try to store events may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a lane waits before it tries again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a payload is asked for before its lane goes on without it.
const ATTEMPTS: u32 = 1_200;
/// The most that goes into one batch of events.
const BATCH: usize = 400;
const BATCH_BYTES: usize = 3 << 20;

impl Handler for Inner {
    /// One lane an account: order is kept within it.
    fn lane(&self, message: &Message) -> u64 {
        let mut lane = DefaultHasher::new();
        message.header(header::PROVIDER).hash(&mut lane);
        let own = message
            .header(header::ACCOUNT)
            .or_else(|| message.header(header::RESOURCE))
            .or_else(|| message.header(header::DELIVERY));
        own.hash(&mut lane);
        lane.finish()
    }

    fn ready(&self) -> bool {
        self.routes.unready().is_none()
    }

    async fn handle(&self, messages: Arc<[Message]>, attempt: u32) -> Vec<Verdict> {
        if self.routes.unready().is_some() {
            return vec![Verdict::Retry { after: PAUSE }];
        }
        let mut verdicts = Vec::with_capacity(messages.len());
        let mut batch = Batch::default();
        for message in messages.iter() {
            let prepared = match self.prepare(message).instrument(span(message)).await {
                Ok(prepared) => prepared,
                Err(error) => {
                    self.complain(&*error, message.sequence);
                    let hopeless = verdicts.is_empty() && batch.is_empty() && attempt >= ATTEMPTS;
                    if hopeless && matches!(error.downcast_ref(), Some(nats::Error::Payload { what: "read", .. })) {
                        verdicts.push(Verdict::Dead { reason: "payload-unavailable", detail: error.to_string() });
                    }
                    break;
                }
            };
            // What stands before goes first.
            if !batch.takes(&prepared) && self.flush(&mut batch, &mut verdicts).await.is_err() {
                break;
            }
            match prepared {
                Prepared::Events { read, resolution, events } => batch.add(read.shed(), resolution, events),
                Prepared::Unclaimed(read) => batch.unclaimed.push((message.clone(), read.shed())),
                Prepared::Settled(verdict) => verdicts.push(verdict),
            }
        }
        let _said = self.flush(&mut batch, &mut verdicts).await.is_err();
        if verdicts.len() < messages.len() {
            verdicts.push(Verdict::Retry { after: PAUSE });
        }
        verdicts
    }

    /// Every dead letter of a delivery leaves an outcome.
    async fn dying(&self, message: &Message, reason: &'static str) -> Result<Dying, PublishError> {
        let (provider, delivery) = (named(message, header::PROVIDER), named(message, header::DELIVERY));
        self.record_dead(&provider, &delivery, message.sequence, reason, Instant::now() + PATIENCE).await?;
        Ok(Dying::Bury)
    }
}

/// A header's value; empty where it is absent.
fn named(message: &Message, name: &str) -> String {
    message.header(name).map(header::decode).unwrap_or_default()
}

/// The part of a delivery's trace that is ours.
fn span(message: &Message) -> Span {
    let text = |name| message.header(name).unwrap_or_default();
    let span = info_span!(
        "route",
        otel.kind = "consumer",
        provider = text(header::PROVIDER),
        delivery_id = text(header::DELIVERY)
    );
    nats::trace::adopt(&span, message.header(header::TRACEPARENT));
    span
}

enum Prepared {
    Events { read: Box<Read>, resolution: Resolution, events: Vec<Outgoing> },
    Unclaimed(Box<Read>),
    Settled(Verdict),
}

/// Consecutive deliveries of one lane whose events are stored together and in order, or that nobody claims.
#[derive(Default)]
struct Batch {
    deliveries: Vec<(Read, Resolution)>,
    events: Vec<Outgoing>,
    bytes: usize,
    unclaimed: Vec<(Message, Read)>,
}

impl Batch {
    fn add(&mut self, read: Read, resolution: Resolution, events: Vec<Outgoing>) {
        self.bytes += events.iter().map(|event| event.payload.len()).sum::<usize>();
        self.events.extend(events);
        self.deliveries.push((read, resolution));
    }

    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.unclaimed.is_empty()
    }

    /// Whether the next may join what waits here.
    fn takes(&self, next: &Prepared) -> bool {
        match next {
            Prepared::Events { .. } => {
                self.unclaimed.is_empty() && self.events.len() < BATCH && self.bytes < BATCH_BYTES
            }
            Prepared::Unclaimed(_) => self.deliveries.is_empty(),
            Prepared::Settled(_) => self.is_empty(),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Inner {
    async fn prepare(&self, message: &Message) -> Result<Prepared, Failure> {
        // A few large bodies in memory at a time, whatever many lanes there are.
        let _room = if Read::is_large(message) { Some(self.large.acquire().await?) } else { None };
        let read = match Read::of(message, &self.payloads).await {
            Ok(read) => read,
            Err(Unread::Later(error)) => return Err(error.into()),
            Err(Unread::Never(detail)) => {
                self.metrics.unreadable(&named(message, header::PROVIDER));
                return Ok(Prepared::Settled(Verdict::Dead { reason: "unreadable", detail }));
            }
        };
        let resolution = self.resolve(&read);
        if resolution.is_empty() {
            return Ok(Prepared::Unclaimed(Box::new(read)));
        }
        let occasion = Occasion::First { traceparent: message.header(header::TRACEPARENT) };
        let events = self.events(&read, &resolution, occasion).await?;
        Ok(Prepared::Events { read: Box::new(read), resolution, events })
    }

    fn complain(&self, error: &(dyn std::error::Error + 'static), sequence: u64) {
        if let Some(unsaid) = self.retries.due() {
            warn!(error = %Chain(error), sequence, unsaid, "route.retry");
        }
    }

    pub(crate) fn resolve(&self, read: &Read) -> Resolution {
        let claims = self.routes.read().claims(&read.delivery);
        read.resolve(&claims)
    }

    pub(crate) async fn events(
        &self,
        read: &Read,
        resolution: &Resolution,
        occasion: Occasion<'_>,
    ) -> Result<Vec<Outgoing>, nats::Error> {
        let events = resolution.admitted.iter().map(|(org, links)| read.event(org, links, &self.payloads, occasion));
        join_all(events).await.into_iter().collect()
    }

    /// Stores what waits, events or unclaimed deliveries, and then says that all of it is done.
    async fn flush(&self, batch: &mut Batch, verdicts: &mut Vec<Verdict>) -> Result<(), ()> {
        let Batch { deliveries, events, unclaimed, .. } = std::mem::take(batch);
        let count = deliveries.len() + unclaimed.len();
        let first = deliveries
            .first()
            .map(|(read, _)| read.sequence)
            .or_else(|| unclaimed.first().map(|(_, read)| read.sequence));
        let stored = async {
            self.publish(&deliveries, events).await?;
            self.park(&unclaimed).await
        };
        if let Err(error) = stored.await {
            self.complain(&*error, first.unwrap_or_default());
            return Err(());
        }
        verdicts.extend(std::iter::repeat_n(Verdict::Done, count));
        Ok(())
    }

    /// Stores events in order, then says who claimed what.
    pub(crate) async fn publish(
        &self,
        deliveries: &[(Read, Resolution)],
        events: Vec<Outgoing>,
    ) -> Result<(), PublishError> {
        let deadline = Instant::now() + PATIENCE;
        self.deps.events.publish_in_order(events, deadline).await?;
        let claims = deliveries.iter().map(|(read, resolution)| self.record_claims(read, resolution, deadline));
        join_all(claims).await.into_iter().collect::<Result<(), PublishError>>()?;
        for (read, resolution) in deliveries {
            self.metrics.routed(read.provider.id, resolution.admitted.len());
        }
        Ok(())
    }
}
