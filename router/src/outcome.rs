//! Says what became of a delivery where it was not simply an event for each organisation that claims it.

use std::sync::Arc;

use nats::{Outgoing, PublishError};
use schemas::{
    Delivery,
    outcome::{Claim, Kind, MOST_LINKS, Outcome},
    subject,
};
use tokio::time::Instant;

use crate::{
    Inner,
    table::Link,
    translate::{Read, Resolution},
};

/// Resources that the reason of a parked delivery names, and characters of each.
const MOST_RESOURCES: usize = 4;
const LONGEST_NAME: usize = 100;
/// Organisations that one message names.
const MOST_ORGANISATIONS: usize = 200;

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
        self.say_all(outcome, resolution, deadline).await
    }

    pub(crate) async fn record_parked(&self, read: &Read, deadline: Instant) -> Result<(), PublishError> {
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Parked);
        self.say(Outcome { reason: Some(unclaimed(&read.delivery)), ..outcome }, 0, deadline).await
    }

    pub(crate) async fn record_released(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Released);
        self.say_all(outcome, &Resolution { filtered: Vec::new(), ..resolution.clone() }, deadline).await
    }

    /// A dead letter was sent back, and is events now.
    pub(crate) async fn record_redriven(
        &self,
        read: &Read,
        resolution: &Resolution,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let outcome = self.outcome(read.provider.id, &read.delivery.id, read.sequence, Kind::Released);
        let outcome = Outcome { reason: Some("redriven".to_owned()), ..outcome };
        self.say_all(outcome, &Resolution { filtered: Vec::new(), ..resolution.clone() }, deadline).await
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
        self.say(Outcome { reason: Some(reason.to_owned()), ..outcome }, 0, deadline).await
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

    /// Says who claims a delivery, in as many messages as it takes.
    async fn say_all(&self, outcome: Outcome, claims: &Resolution, deadline: Instant) -> Result<(), PublishError> {
        let mut admitted = claims.admitted.chunks(MOST_ORGANISATIONS).map(named);
        let mut filtered = claims.filtered.chunks(MOST_ORGANISATIONS).map(named);
        for part in 0.. {
            let (admitted, filtered) = (admitted.next(), filtered.next());
            if part > 0 && admitted.is_none() && filtered.is_none() {
                break;
            }
            let (admitted, filtered) = (admitted.unwrap_or_default(), filtered.unwrap_or_default());
            self.say(Outcome { admitted, filtered, ..outcome.clone() }, part, deadline).await?;
        }
        Ok(())
    }

    async fn say(&self, outcome: Outcome, part: usize, deadline: Instant) -> Result<(), PublishError> {
        let Ok(payload) = serde_json::to_vec(&outcome) else { return Ok(()) };
        let more = if part == 0 { String::new() } else { format!(":{part}") };
        let message = Outgoing {
            subject: subject::outcome(&outcome.provider, &outcome.delivery_id),
            id: format!("{}:{}:{:?}{more}", outcome.provider, outcome.sequence, outcome.outcome),
            payload: payload.into(),
            ..Outgoing::default()
        };
        self.deps.outcomes.publish(message, deadline).await.map(drop)
    }
}

/// What a link would have to be for to claim a delivery.
fn unclaimed(delivery: &Delivery) -> String {
    let short = |id: &String| id.chars().take(LONGEST_NAME).collect::<String>();
    let resources: Vec<String> = delivery.resources.iter().take(MOST_RESOURCES).map(short).collect();
    let more = if delivery.resources.len() > MOST_RESOURCES { ", …" } else { "" };
    let of = delivery.bound.as_ref().map(|bound| format!(" of {}", bound.org)).unwrap_or_default();
    match (resources.join(", "), delivery.account.as_ref().map(short)) {
        (none, None) if none.is_empty() => "it names no resource and no account".to_owned(),
        (none, Some(account)) if none.is_empty() => format!("no link{of} claims account {account}"),
        (resources, None) => format!("no link{of} claims resource {resources}{more}"),
        (resources, Some(account)) => format!("no link{of} claims resource {resources}{more} or account {account}"),
    }
}

fn named(orgs: &[(Arc<str>, Vec<Arc<Link>>)]) -> Vec<Claim> {
    let ids = |links: &[Arc<Link>]| links.iter().take(MOST_LINKS).map(|link| link.id.to_string()).collect();
    orgs.iter().map(|(org, links)| Claim { org_id: org.to_string(), link_ids: ids(links) }).collect()
}
