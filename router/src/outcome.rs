//! Says what became of a delivery where it was not simply an event for each organisation that claims it.

use std::sync::Arc;

use nats::{Outgoing, PublishError};
use schemas::{
    outcome::{Claim, Kind, MOST_LINKS, Outcome},
    subject,
};
use tokio::time::Instant;

use crate::{
    Inner,
    table::Link,
    translate::{Read, Resolution},
};

impl Inner {
    /// Who claims it, where that is not one organisation that got its event.
    pub(crate) async fn record_claims(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let kind = match (resolution.filtered.is_empty(), resolution.admitted.len()) {
            (true, 0 | 1) => return Ok(()),
            (true, _) => Kind::Routed,
            (false, _) => Kind::Filtered,
        };
        self.metrics.filtered(read.provider.id, resolution.filtered.len());
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, kind);
        let (admitted, filtered) = (claims(&resolution.admitted), claims(&resolution.filtered));
        self.say(Outcome { admitted, filtered, ..outcome }, deadline).await
    }

    pub(crate) async fn record_parked(&self, read: &Read, deadline: Instant) -> Result<(), PublishError> {
        self.say(self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Parked), deadline).await
    }

    pub(crate) async fn record_released(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Released);
        self.say(Outcome { admitted: claims(&resolution.admitted), ..outcome }, deadline).await
    }

    /// A dead letter was sent back, and is events now.
    pub(crate) async fn record_redriven(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Released);
        let (admitted, reason) = (claims(&resolution.admitted), Some("redriven".to_owned()));
        self.say(Outcome { admitted, reason, ..outcome }, deadline).await
    }

    pub(crate) async fn record_dead(
        &self,
        provider: &str,
        delivery: &str,
        sequence: u64,
        reason: &'static str,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(provider, delivery, sequence, Kind::Dead);
        self.say(Outcome { reason: Some(reason.to_owned()), ..outcome }, deadline).await
    }

    fn outcome(&self, provider: &str, delivery_id: &str, sequence: u64, outcome: Kind) -> Outcome {
        let (route_revision, decided_at) = (self.routes.revision(), self.deps.clock.now());
        Outcome {
            provider: provider.to_owned(),
            delivery_id: delivery_id.to_owned(),
            sequence,
            outcome,
            reason: None,
            admitted: Vec::new(),
            filtered: Vec::new(),
            route_revision,
            decided_at,
        }
    }

    async fn say(&self, outcome: Outcome, deadline: Instant) -> Result<(), PublishError> {
        let Ok(payload) = serde_json::to_vec(&outcome) else { return Ok(()) };
        let message = Outgoing {
            subject: subject::outcome(&outcome.provider, &outcome.delivery_id),
            id: format!("{}:{}:{:?}", outcome.provider, outcome.sequence, outcome.outcome),
            headers: Vec::new(),
            payload: payload.into(),
            once: false,
            timer: None,
        };
        self.deps.outcomes.publish(message, deadline).await.map(drop)
    }
}

fn claims(orgs: &[(Arc<str>, Vec<Arc<Link>>)]) -> Vec<Claim> {
    let named = |links: &[Arc<Link>]| links.iter().take(MOST_LINKS).map(|link| link.id.to_string()).collect();
    orgs.iter().map(|(org, links)| Claim { org_id: org.to_string(), link_ids: named(links) }).collect()
}
