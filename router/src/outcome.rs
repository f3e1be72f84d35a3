//! Says what became of a delivery where it was not simply an event for each organisation that claims it.

use nats::{Outgoing, PublishError};
use schemas::subject;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Inner,
    translate::{Read, Resolution},
};

/// The body of a message in `GW_OUTCOME`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    provider: &'a str,
    delivery_id: &'a str,
    /// The delivery's place in `GW_WEBHOOK`.
    sequence: u64,
    outcome: Kind,
    /// Why it is a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// How many organisations got an event.
    events: usize,
    /// The organisations whose filters admitted nothing, and the links they have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filtered: Vec<Filtered<'a>>,
    /// How far the routes were known.
    route_revision: u64,
    decided_at: i64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Filtered,
    Parked,
    Released,
    Dead,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Filtered<'a> {
    org_id: &'a str,
    link_ids: Vec<&'a str>,
}

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
            org_id: org,
            link_ids: links.iter().map(|link| link.id.as_ref()).collect(),
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

    pub(crate) async fn record_dead(
        &self,
        provider: &str,
        delivery: &str,
        sequence: u64,
        reason: &'static str,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(provider, delivery, sequence, Kind::Dead);
        self.say(Outcome { reason: Some(reason), ..outcome }, deadline).await
    }

    fn outcome<'a>(&self, provider: &'a str, delivery_id: &'a str, sequence: u64, outcome: Kind) -> Outcome<'a> {
        let (route_revision, decided_at) = (self.routes.revision(), self.deps.clock.now());
        Outcome {
            provider,
            delivery_id,
            sequence,
            outcome,
            reason: None,
            events: 0,
            filtered: Vec::new(),
            route_revision,
            decided_at,
        }
    }

    async fn say(&self, outcome: Outcome<'_>, deadline: Instant) -> Result<(), PublishError> {
        let Ok(payload) = serde_json::to_vec(&outcome) else { return Ok(()) };
        let message = Outgoing {
            subject: subject::outcome(outcome.provider, outcome.delivery_id),
            id: format!("{}:{}:{:?}", outcome.provider, outcome.sequence, outcome.outcome),
            headers: Vec::new(),
            payload: payload.into(),
            once: false,
        };
        self.deps.outcomes.publish(message, deadline).await.map(drop)
    }
}
