//! Says what became of a delivery where it was not simply an event for each organisation that claims it.

use nats::{Outgoing, PublishError};
use schemas::{
    outcome::{Filtered, Kind, Outcome},
    subject,
};
use tokio::time::Instant;

use crate::{
    Inner,
    translate::{Read, Resolution},
};

impl Inner {
    pub(crate) async fn record_filtered(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        if resolution.filtered.is_empty() {
            return Ok(());
        }
        self.metrics.filtered(read.provider.id, resolution.filtered.len());
        let filtered = resolution.filtered.iter().map(|(org, links)| Filtered {
            org_id: org.to_string(),
            link_ids: links.iter().map(|link| link.id.to_string()).collect(),
        });
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Filtered);
        self.say(Outcome { events: resolution.admitted.len(), filtered: filtered.collect(), ..outcome }, deadline).await
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
        self.say(Outcome { events: resolution.admitted.len(), ..outcome }, deadline).await
    }

    /// A dead letter was sent back, and is events now.
    pub(crate) async fn record_redriven(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Released);
        let reason = Some("redriven".to_owned());
        self.say(Outcome { events: resolution.admitted.len(), reason, ..outcome }, deadline).await
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
            events: 0,
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
