//! Dead letters: looked at, sent back where they came from, or dropped.
//!
//! A letter's place in `GW_DLQ` is its id. `scan` finds letters, `redrive` sends them back, `advisory` makes letters
//! of what died without one, `http` is the API.

mod advisory;
mod form;
mod http;
mod redrive;
mod scan;
mod shown;

use std::time::Duration;

use bytes::Bytes;
use nats::{Broker, Message, topology::GW_DLQ};
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use schemas::{
    attempt::{Attempt, PushOutcome},
    caller::Caller,
    cause::Chain,
    header, letter, subject, token,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::metrics::ByStage;

pub(crate) use advisory::run as advisories;
pub(crate) use http::api;

/// How often letters are counted.
const COUNT: Duration = Duration::from_secs(15);

/// A dead letter.
#[derive(Clone, Debug)]
struct Letter {
    /// Who gave up.
    stage: String,
    /// Why.
    reason: String,
    /// Where it was before.
    stream: String,
    /// Its sequence there.
    sequence: u64,
    /// The organisation it belongs to, where it belongs to one.
    org: Option<String>,
    /// The endpoint it was for.
    endpoint: Option<String>,
    message: Message,
}

impl Letter {
    fn of(message: Message) -> Self {
        let text = |name| message.header(name).map(header::decode);
        let stage = message.subject.split('.').nth(2).and_then(token::decode).unwrap_or_default();
        Self {
            stage,
            reason: text(header::DLQ_REASON).unwrap_or_default(),
            stream: text(header::DLQ_STREAM).unwrap_or_default(),
            sequence: text(header::DLQ_SEQUENCE).and_then(|sequence| sequence.parse().ok()).unwrap_or_default(),
            org: text(header::ORG),
            endpoint: text(header::ENDPOINT),
            message,
        }
    }

    /// Whose push it is, where it is of one: endpoint and event.
    fn push(&self) -> Option<(String, String)> {
        Some((self.endpoint.clone()?, self.text("ce-id")?))
    }

    /// The letter as a list has it.
    fn without_body(mut self) -> Self {
        self.message.payload = Bytes::new();
        self
    }

    fn text(&self, name: &str) -> Option<String> {
        self.message.header(name).map(header::decode)
    }

    /// A caller of one organisation sees that one's pushes; what died on its way is the operator's.
    fn seen_by(&self, caller: &Caller) -> bool {
        match &caller.org {
            None => true,
            Some(own) => self.stage == letter::ENDPOINT && self.org.as_ref() == Some(own),
        }
    }
}

/// A step of a push that is no request, of the event's own message.
fn step(event: &Message, sequence: u64, endpoint: &str, outcome: PushOutcome, at: i64) -> Option<Attempt> {
    let text = |name| event.header(name).map(header::decode);
    Some(Attempt {
        org_id: text(header::ORG)?,
        endpoint_id: endpoint.to_owned(),
        event_id: text("ce-id")?,
        sequence,
        provider: text(header::PROVIDER)?,
        delivery_id: text(header::DELIVERY)?,
        kind: text("ce-type")?,
        attempt: 0,
        outcome,
        status_code: None,
        error_class: None,
        latency_ms: None,
        at,
        next_at: None,
        reason: None,
        replay: None,
        letter: None,
        payload_ref: text(header::PAYLOAD_REF),
    })
}

/// Counts letters by stage, now and then.
pub(crate) async fn count(broker: Broker, gauge: Family<ByStage, Gauge>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(COUNT);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match nats::subjects(&broker, GW_DLQ, subject::DEAD).await {
            Ok(subjects) => {
                let mut counts = [(letter::ENDPOINT, 0), (letter::ROUTER, 0), ("other", 0)];
                for (subject, letters) in subjects {
                    let stage = subject.split('.').nth(2).unwrap_or_default();
                    let at = counts.iter().position(|(known, _)| *known == stage).unwrap_or(counts.len() - 1);
                    counts[at].1 += i64::try_from(letters).unwrap_or(i64::MAX);
                }
                for (stage, letters) in counts {
                    gauge.get_or_create(&ByStage { stage }).set(letters);
                }
            }
            Err(error) => debug!(error = %Chain(&error), "letters.count"),
        }
    }
}
