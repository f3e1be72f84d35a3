//! The safety net: what the server says died, and nobody buried, becomes a dead letter.

use std::{sync::Arc, time::Duration};

use nats::{
    Message, Outgoing, Reader, Start, Verdict,
    consume::{self, Consumer, DeadLetters, Handler, Slots, letter},
    topology::{
        self, ADVISORIES, GW_ADVISORY, GW_ATTEMPT, GW_COMMAND, GW_DLQ, GW_EVENT, GW_JOB, GW_PROBE, GW_REPLAY, GW_RETRY,
        GW_WEBHOOK,
    },
};
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    cause::Chain,
    header::{self, Headers},
    letter::{ENDPOINT, ROUTER},
    subject,
};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::step;
use crate::{Deps, error::Error};

const SLOTS: usize = 64;
const AGAIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// A letter younger than this is known by its id; for an older one the letters are looked through.
const WINDOW: i64 = 100_000;
/// How long before the server's word its letter may have been stored.
const BEFORE: i64 = 600_000;
const NEXT: Duration = Duration::from_secs(5);
/// Streams whose messages need no letter.
const WITHOUT: [&str; 4] = [GW_DLQ, GW_ADVISORY, GW_PROBE, GW_REPLAY];
/// How the ids of endpoints begin, which are also the names of their consumers.
const ENDPOINTS: &str = "ep_";

/// What the server says: `io.nats.jetstream.advisory.v1.max_deliver` and `…terminated`.
#[derive(Debug, Deserialize)]
struct Advisory {
    #[serde(rename = "type")]
    kind: String,
    stream: String,
    consumer: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
    #[serde(default)]
    reason: String,
}

/// Makes letters until told to stop.
pub(crate) async fn run(deps: Deps, stop: CancellationToken) {
    let consumer = Consumer {
        broker: deps.broker.clone(),
        stream: GW_ADVISORY,
        name: ADVISORIES,
        slots: Slots::live(SLOTS),
        dead: DeadLetters::new(deps.dead.clone(), "advisory"),
        redelivered: Default::default(),
        recreate: deps.recreate_consumers,
    };
    consume::run(consumer, Arc::new(Advisories(deps)), stop).await;
}

struct Advisories(Deps);

impl Handler for Advisories {
    fn lane(&self, message: &Message) -> u64 {
        message.sequence
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) else {
                debug!(subject = message.subject, "advisory.unreadable");
                verdicts.push(Verdict::Done);
                continue;
            };
            verdicts.push(match self.bury(message, &advisory).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    warn!(error = %Chain(&error), stream = advisory.stream, "advisory.retry");
                    Verdict::Retry { after: AGAIN }
                }
            });
        }
        verdicts
    }
}

impl Advisories {
    async fn bury(&self, said: &Message, advisory: &Advisory) -> Result<(), Error> {
        let Advisory { stream, consumer, stream_seq, deliveries, .. } = advisory;
        let own = own(stream, consumer);
        // Whoever of us ends a message has buried it before.
        if !concerns(stream) || own && advisory.is_terminated() {
            return Ok(());
        }
        let stage = stage(stream, consumer);
        // One of ours was handed out for the last time to be buried; perhaps it was.
        let perhaps = own || said.delivered > 1 || self.0.clock.now() - said.stored_at > WINDOW;
        if perhaps && self.has_letter(stage, stream, *stream_seq, said.stored_at).await? {
            return Ok(());
        }
        let Some(message) = nats::get(&self.0.broker, stream, *stream_seq).await? else {
            debug!(stream, sequence = stream_seq, "advisory.gone");
            return Ok(());
        };
        if own && stream == GW_RETRY && self.has_ended(&message).await? {
            return Ok(());
        }
        let (reason, detail) = match advisory.is_terminated() {
            true => ("terminated", format!("{consumer} ended it: {}", advisory.reason)),
            false => ("max-deliveries", format!("{consumer} got it {deliveries} times and never settled it")),
        };
        let mut id = format!("dlq:{stage}:{stream}:{stream_seq}");
        let mut added: Headers = Vec::new();
        if stage == ENDPOINT {
            let event = message.header("ce-id").unwrap_or_default();
            id = format!("dlq:{ENDPOINT}:{consumer}:{event}:{stream_seq}");
            added.push((header::ENDPOINT.to_owned(), consumer.clone()));
            added.push((header::ATTEMPT.to_owned(), deliveries.to_string()));
            self.record(&message, consumer, reason).await?;
        }
        let mut letter = letter(stage, id, stream, &message, reason, &detail);
        letter.headers.extend(added);
        self.0.dead.publish(letter, Instant::now() + PATIENCE).await?;
        warn!(stream, sequence = stream_seq, consumer, reason, "message.dead");
        Ok(())
    }

    /// The step of the push that ended so.
    async fn record(&self, event: &Message, endpoint: &str, reason: &str) -> Result<(), Error> {
        let Some(mut step) = step(event, event.sequence, endpoint, PushOutcome::Dead, self.0.clock.now()) else {
            return Ok(());
        };
        step.reason = Some(reason.to_owned());
        let message = Outgoing {
            subject: subject::attempt(&step.org_id, endpoint, &step.event_id),
            id: format!("{endpoint}:{}:0:{}", step.event_id, step.outcome.as_str()),
            payload: serde_json::to_vec(&step).map_err(Error::Encode)?.into(),
            ..Outgoing::default()
        };
        self.0.attempts.publish(message, Instant::now() + PATIENCE).await?;
        Ok(())
    }

    /// Whether the push of a timer has ended since the timer was due: its letter is one of the endpoint then.
    async fn has_ended(&self, due: &Message) -> Result<bool, Error> {
        let Ok(retry) = serde_json::from_slice::<Retry>(&due.payload) else { return Ok(false) };
        let place = subject::attempt(&retry.org_id, &retry.endpoint_id, &retry.event_id);
        let Some(last) = nats::last(&self.0.broker, GW_ATTEMPT, &place).await? else { return Ok(false) };
        let step = serde_json::from_slice::<Attempt>(&last.payload);
        Ok(last.stored_at >= due.stored_at
            && step.is_ok_and(|step| {
                step.outcome.ends() && (step.sequence, step.replay) == (retry.event_sequence, retry.replay)
            }))
    }

    async fn has_letter(&self, stage: &str, stream: &str, sequence: u64, at: i64) -> Result<bool, Error> {
        let filter = [subject::dead_of(Some(stage), None)];
        let mut reader = Reader::open(&self.0.broker, GW_DLQ, &filter, Start::Since(at - BEFORE), true).await?;
        let sequence = sequence.to_string();
        while let Some(letter) = reader.next_waiting(NEXT).await? {
            if letter.header(header::DLQ_STREAM) == Some(stream)
                && letter.header(header::DLQ_SEQUENCE) == Some(&sequence)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Advisory {
    fn is_terminated(&self) -> bool {
        self.kind.ends_with("terminated")
    }
}

/// Whether it is a stream of ours whose messages are not to be lost.
fn concerns(stream: &str) -> bool {
    let known = || topology::specs(&topology::Settings::default()).into_iter().any(|spec| spec.config.name == stream);
    stream.starts_with("GW_") && !WITHOUT.contains(&stream) && known()
}

/// Whether the gateway itself reads this consumer.
fn own(stream: &str, consumer: &str) -> bool {
    let spec = topology::specs(&topology::Settings::default()).into_iter().find(|spec| spec.config.name == stream);
    let named =
        |spec: topology::StreamSpec| spec.consumers.iter().any(|known| known.durable_name.as_deref() == Some(consumer));
    is_endpoint(stream, consumer) || spec.is_some_and(named)
}

fn is_endpoint(stream: &str, consumer: &str) -> bool {
    stream == GW_EVENT && consumer.starts_with(ENDPOINTS)
}

/// Who gave up: our own stages have names of their own, for others it is the consumer's.
fn stage<'a>(stream: &str, consumer: &'a str) -> &'a str {
    match stream {
        _ if is_endpoint(stream, consumer) => ENDPOINT,
        _ if !own(stream, consumer) => consumer,
        GW_WEBHOOK => ROUTER,
        GW_JOB => "job",
        GW_COMMAND => "command",
        _ => consumer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_consumers_have_the_stage_that_buries_and_others_their_name() {
        assert_eq!(stage(GW_WEBHOOK, topology::ROUTER_HISTORY), ROUTER);
        assert_eq!(stage(GW_EVENT, "ep_1"), ENDPOINT);
        assert_eq!(stage(GW_EVENT, "billing"), "billing");
        assert!(own(GW_WEBHOOK, topology::ROUTER) && !own(GW_WEBHOOK, "billing"));
    }

    #[test]
    fn what_is_no_stream_of_ours_or_has_no_use_for_letters_is_left_alone() {
        assert!(concerns(GW_EVENT) && concerns(GW_JOB));
        for stream in [GW_DLQ, GW_ADVISORY, GW_REPLAY, "KV_gw_routes", "MINE", "GW_MINE"] {
            assert!(!concerns(stream), "{stream}");
        }
    }
}
