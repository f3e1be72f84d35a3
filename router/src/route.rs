//! The way of a delivery: read, resolve, publish an event for each organisation, or park it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use nats::{Message, Outgoing, PublishError, Verdict, consume::Handler};
use schemas::{cause::Chain, header};
use tokio::time::Instant;
use tracing::{Instrument, Span, info_span, warn};

use crate::{
    Inner,
    translate::{Read, Resolution, Unread},
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
            match self.prepare(message).instrument(span(message)).await {
                Ok(Prepared::Events { read, resolution, events }) => {
                    batch.add(read.shed(), resolution, events);
                    if batch.is_full() && self.flush(&mut batch, &mut verdicts).await.is_err() {
                        break;
                    }
                }
                Ok(Prepared::Settled(verdict)) => {
                    if self.flush(&mut batch, &mut verdicts).await.is_err() {
                        break;
                    }
                    verdicts.push(verdict);
                }
                Ok(Prepared::Unclaimed(read)) => {
                    // What stands before it goes first: parking may find a link and publish at once.
                    if self.flush(&mut batch, &mut verdicts).await.is_err() {
                        break;
                    }
                    match self.park(message, &read).await {
                        Ok(verdict) => verdicts.push(verdict),
                        Err(error) => {
                            self.complain(&*error, message.sequence);
                            break;
                        }
                    }
                }
                Err(error) => {
                    self.complain(&*error, message.sequence);
                    let hopeless = verdicts.is_empty() && batch.deliveries.is_empty() && attempt >= ATTEMPTS;
                    if hopeless && matches!(error.downcast_ref(), Some(nats::Error::Payload { what: "read", .. })) {
                        verdicts.push(Verdict::Dead { reason: "payload-unavailable", detail: error.to_string() });
                    }
                    break;
                }
            }
        }
        let _said = self.flush(&mut batch, &mut verdicts).await.is_err();
        if verdicts.len() < messages.len() {
            verdicts.push(Verdict::Retry { after: PAUSE });
        }
        verdicts
    }
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

/// Events of consecutive deliveries of one lane, stored together and in order.
#[derive(Default)]
struct Batch {
    deliveries: Vec<(Read, Resolution)>,
    events: Vec<Outgoing>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, read: Read, resolution: Resolution, events: Vec<Outgoing>) {
        self.bytes += events.iter().map(|event| event.payload.len()).sum::<usize>();
        self.events.extend(events);
        self.deliveries.push((read, resolution));
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH || self.bytes >= BATCH_BYTES
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
            Err(Unread::Never(detail)) => return self.quarantine(message, detail).await.map(Prepared::Settled),
        };
        let resolution = self.resolve(&read);
        if resolution.is_empty() {
            return Ok(Prepared::Unclaimed(Box::new(read)));
        }
        let events = self.events(&read, &resolution, message.header(header::TRACEPARENT)).await?;
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
        traceparent: Option<&str>,
    ) -> Result<Vec<Outgoing>, nats::Error> {
        let events = resolution.admitted.iter().map(|(org, links)| read.event(org, links, &self.payloads, traceparent));
        join_all(events).await.into_iter().collect()
    }

    /// What can never be read goes to the dead letters, and the outcome says so.
    async fn quarantine(&self, message: &Message, detail: String) -> Result<Verdict, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let text = |name| message.header(name).map(header::decode).unwrap_or_default();
        let (provider, delivery) = (text(header::PROVIDER), text(header::DELIVERY));
        self.record_dead(&provider, &delivery, message.sequence, deadline).await?;
        self.metrics.unreadable(&provider);
        Ok(Verdict::Dead { reason: "unreadable", detail })
    }

    /// Stores the events of a batch in order, then what was filtered, then says that all of it is done.
    async fn flush(&self, batch: &mut Batch, verdicts: &mut Vec<Verdict>) -> Result<(), ()> {
        let Batch { deliveries, events, .. } = std::mem::take(batch);
        if deliveries.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.publish(&deliveries, events).await {
            self.complain(&error, deliveries.first().map_or(0, |(read, _)| read.sequence));
            return Err(());
        }
        verdicts.extend(deliveries.iter().map(|_| Verdict::Done));
        Ok(())
    }

    pub(crate) async fn publish(
        &self,
        deliveries: &[(Read, Resolution)],
        events: Vec<Outgoing>,
    ) -> Result<(), PublishError> {
        let deadline = Instant::now() + PATIENCE;
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let mut part = Vec::new();
            let mut bytes = 0;
            while let Some(event) =
                events.next_if(|event| part.len() < BATCH && (bytes == 0 || bytes + event.payload.len() <= BATCH_BYTES))
            {
                bytes += event.payload.len();
                part.push(event);
            }
            self.deps.events.publish_in_order(part, deadline).await?;
        }
        let filtered = deliveries.iter().map(|(read, resolution)| self.record_filtered(read, resolution, deadline));
        join_all(filtered).await.into_iter().collect::<Result<(), PublishError>>()?;
        for (read, resolution) in deliveries {
            self.metrics.routed(read.provider.id, resolution.admitted.len());
        }
        Ok(())
    }
}
