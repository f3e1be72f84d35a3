//! Keeps deliveries that no link claims, and releases them as soon as one does.
//!
//! No wake-up is lost: a delivery is resolved again after it was parked, and a link is in the table before what
//! is parked is looked through. Whichever comes second sees the other.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use nats::{Message, Outgoing, Reader, Start, topology::GW_PARKED};
use schemas::{Delivery, cause::Chain, header, provider, subject};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Inner,
    translate::{Occasion, Read, Resolution, Unread},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// How often everything parked is looked through, should a release have failed.
const SWEEP: Duration = Duration::from_secs(60);
/// How long the next message of a look-through may take before it is begun anew.
const NEXT: Duration = Duration::from_secs(10);
/// Pause before a release is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Deliveries released together.
const RUN: usize = 64;

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Inner {
    /// Parks deliveries in order, and resolves each once more: a link may have come meanwhile.
    pub(crate) async fn park(&self, unclaimed: &[(Message, Read)]) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let messages = unclaimed.iter().map(|(message, read)| parked(message, read)).collect();
        let stored = self.deps.parked.publish_in_order(messages, deadline).await?;
        let (still, claimed): (Vec<_>, Vec<_>) =
            unclaimed.iter().zip(stored).partition(|((_, read), _)| self.resolve(read).is_empty());
        let said = still.iter().map(|((_, read), _)| self.record_parked(read, deadline));
        join_all(said).await.into_iter().collect::<Result<(), _>>()?;
        for ((_, read), _) in &still {
            self.metrics.unresolved(read.provider.id);
        }
        let claimed: Vec<u64> = claimed.into_iter().map(|(_, stored)| stored.sequence()).collect();
        self.release_run(&claimed).await.map(drop)
    }

    /// Looks through what is parked of a provider and releases what a link claims, in order.
    async fn release(&self, provider: &str) -> Result<usize, Failure> {
        let mut reader =
            Reader::open(&self.deps.broker, GW_PARKED, &[subject::parked_of(provider)], Start::First, true).await?;
        let mut released = 0;
        let mut run = Vec::with_capacity(RUN);
        loop {
            let next = reader.next_waiting(NEXT).await;
            let Ok(Some(message)) = next else {
                // Nothing is left, or it is slow; what was found is not given up for it.
                released += self.release_run(&run).await?;
                return next.map(|_gone| released).map_err(Into::into);
            };
            if Delivery::from_headers(&message.header_list()).is_ok_and(|delivery| self.may_claim(&delivery)) {
                run.push(message.sequence);
            }
            if run.len() == RUN {
                released += self.release_run(&std::mem::take(&mut run)).await?;
            }
        }
    }

    /// Whether a link claims it, as far as its headers tell: what they had no room for stands in the body only.
    fn may_claim(&self, delivery: &Delivery) -> bool {
        delivery.may_name_more() || !self.routes.read().claims(delivery).is_empty()
    }

    async fn release_run(&self, sequences: &[u64]) -> Result<usize, Failure> {
        if let Some(why) = self.routes.unready() {
            return Err(why.into());
        }
        let mut deliveries: Vec<(Read, Resolution)> = Vec::new();
        let mut events = Vec::new();
        let mut released = Vec::new();
        for sequence in sequences {
            let Some((read, traceparent)) = self.read_parked(*sequence).await? else { continue };
            let resolution = self.resolve(&read);
            if resolution.is_empty() {
                continue;
            }
            let occasion = Occasion::First { traceparent: traceparent.as_deref() };
            events.extend(self.events(&read, &resolution, occasion).await?);
            released.push(*sequence);
            deliveries.push((read.shed(), resolution));
        }
        self.publish(&deliveries, events).await?;
        let deadline = Instant::now() + PATIENCE;
        let said = deliveries.iter().map(|(read, resolution)| self.record_released(read, resolution, deadline));
        join_all(said).await.into_iter().collect::<Result<(), _>>()?;
        let deleted = released.iter().map(|sequence| nats::delete(&self.deps.broker, GW_PARKED, *sequence));
        join_all(deleted).await.into_iter().collect::<Result<(), _>>()?;
        Ok(released.len())
    }

    /// A parked delivery, or none if another router released it or it cannot be read any more.
    async fn read_parked(&self, sequence: u64) -> Result<Option<(Read, Option<String>)>, Failure> {
        let Some(message) = nats::get(&self.deps.broker, GW_PARKED, sequence).await? else { return Ok(None) };
        let traceparent = message.header(header::TRACEPARENT).map(str::to_owned);
        match Read::of(&message, &self.payloads).await {
            Ok(read) => Ok(Some((read, traceparent))),
            // It stays parked, and holds up no other.
            Err(Unread::Later(error @ nats::Error::Payload { .. })) => {
                warn!(error = %Chain(&error), sequence, "parked.payload");
                Ok(None)
            }
            Err(Unread::Later(error)) => Err(error.into()),
            Err(Unread::Never(detail)) => {
                warn!(sequence, detail, "parked.unreadable");
                Ok(None)
            }
        }
    }
}

/// The message of a delivery that waits for a link: all of it, and its place.
fn parked(message: &Message, read: &Read) -> Outgoing {
    let mut headers = message.header_list();
    headers.push((header::SEQUENCE.to_owned(), read.sequence.to_string()));
    let (subject, id) = (subject::parked(&read.delivery), read.delivery.message_id());
    Outgoing { subject, id, headers, payload: message.payload.clone(), once: true, ..Outgoing::default() }
}

/// Releases when links appear, and looks through everything now and then.
pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Kept until it was done: the first tick comes while the links are still loading.
    let mut all = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.routes.wake.notified() => {}
            _ = sweep.tick() => all = true,
        }
        if inner.routes.unready().is_some() {
            tokio::time::sleep(AGAIN).await;
            inner.routes.wake.notify_one();
            continue;
        }
        let mut providers = std::mem::take(&mut *inner.routes.linked());
        if std::mem::take(&mut all) {
            providers.extend(provider::ALL.iter().map(|provider| provider.id.to_owned()));
        }
        for provider in providers {
            let Some(release) = stop.run_until_cancelled(Box::pin(inner.release(&provider))).await else { return };
            match release {
                Ok(0) => {}
                Ok(released) => {
                    inner.metrics.released(released);
                    info!(provider, released, "parked.released");
                }
                Err(error) => {
                    warn!(error = %Chain(&*error), provider, "parked.release");
                    inner.routes.linked().insert(provider);
                    tokio::time::sleep(AGAIN).await;
                    inner.routes.wake.notify_one();
                }
            }
        }
    }
}
