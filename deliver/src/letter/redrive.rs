//! Sends dead letters back where they came from, with the ids they had.
//!
//! A push reads its event from the letter, so the letter stays until the push has ended; then it is removed, and if
//! the push died again there is a new one. A letter that is on its way already is not sent again.

use std::time::Duration;

use nats::{
    Outgoing,
    job::Jobs,
    topology::{self, GW_ATTEMPT, GW_COMMAND, GW_DLQ, GW_JOB, GW_RETRY, GW_WEBHOOK, RETRY},
};
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    endpoint::EndpointStatus,
    header,
    letter::{self, Redrive},
    replay::REDRIVE,
    subject,
};
use tokio::time::Instant;

use super::{Letter, step};
use crate::{Deps, endpoint::Directory, error::Error};

const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a letter that was to be sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Back,
    /// Nothing was done, for this reason.
    Not(&'static str),
}

/// Sends a letter back.
pub(super) async fn send(deps: &Deps, directory: &Directory, letter: &Letter) -> Result<Sent, Error> {
    if letter.stage == letter::ENDPOINT {
        return push(deps, directory, letter).await;
    }
    // What a subscriber's consumer gave up goes to nobody else.
    match (letter.stream.as_str(), letter.stage.as_str()) {
        (GW_WEBHOOK, letter::ROUTER) => {
            let sequence = letter.message.sequence;
            let body = serde_json::to_vec(&Redrive { sequence }).map_err(Error::Encode)?;
            Jobs::new(&deps.broker).ask(REDRIVE, &sequence.to_string(), "letter", body).await?;
            Ok(Sent::Back)
        }
        (GW_COMMAND, "command") | (GW_JOB, "job") | (GW_RETRY, RETRY) => again(deps, letter).await,
        _ => Ok(Sent::Not("not-redrivable")),
    }
}

/// Makes a push of a letter of an endpoint: the step first, so that whatever becomes of the push stands behind it.
async fn push(deps: &Deps, directory: &Directory, letter: &Letter) -> Result<Sent, Error> {
    let (Some(org), Some(id), Some(event)) = (&letter.org, &letter.endpoint, letter.text("ce-id")) else {
        return Ok(Sent::Not("not-redrivable"));
    };
    match directory.get(id).map(|live| live.endpoint.status) {
        None => return Ok(Sent::Not("endpoint-deleted")),
        Some(EndpointStatus::Disabled) => return Ok(Sent::Not("endpoint-disabled")),
        Some(EndpointStatus::Active | EndpointStatus::Paused) => {}
    }
    let place = subject::attempt(org, id, &event);
    let last = nats::last(&deps.broker, GW_ATTEMPT, &place).await?;
    let last = last.and_then(|message| serde_json::from_slice::<Attempt>(&message.payload).ok());
    match last.map(|attempt| attempt.outcome) {
        Some(PushOutcome::Delivered) => {
            nats::delete(&deps.broker, GW_DLQ, letter.message.sequence).await?;
            return Ok(Sent::Not("delivered"));
        }
        Some(PushOutcome::Redriven | PushOutcome::Scheduled) if under_way(deps, id, &event).await? => {
            return Ok(Sent::Not("under-way"));
        }
        _ => {}
    }
    let deadline = Instant::now() + PATIENCE;
    if let Some(step) = step(&letter.message, letter.sequence, id, PushOutcome::Redriven, deps.clock.now()) {
        let payload = serde_json::to_vec(&step).map_err(Error::Encode)?.into();
        let msg_id = format!("{id}:{event}:0:{}:{}", PushOutcome::Redriven.as_str(), letter.message.sequence);
        let record = Outgoing { subject: place, id: msg_id, payload, ..Outgoing::default() };
        deps.attempts.publish(record, deadline).await?;
    }
    let retry = Retry {
        org_id: org.clone(),
        endpoint_id: id.clone(),
        event_id: event.clone(),
        stream: GW_DLQ.to_owned(),
        sequence: letter.message.sequence,
        event_sequence: letter.sequence,
        attempt: 1,
        replay: None,
        only_failed: false,
    };
    let due = Outgoing {
        subject: subject::retry_due(id, &event),
        id: format!("redrive:{}", letter.message.sequence),
        payload: serde_json::to_vec(&retry).map_err(Error::Encode)?.into(),
        ..Outgoing::default()
    };
    deps.timers.publish(due, deadline).await?;
    Ok(Sent::Back)
}

/// Whether a push is due or waits for its time: then it is in somebody's hands.
async fn under_way(deps: &Deps, endpoint: &str, event: &str) -> Result<bool, Error> {
    if nats::last(&deps.broker, GW_RETRY, &subject::retry_wait(endpoint, event)).await?.is_some() {
        return Ok(true);
    }
    let Some(due) = nats::last(&deps.broker, GW_RETRY, &subject::retry_due(endpoint, event)).await? else {
        return Ok(false);
    };
    let consumer = topology::consumer_info(&deps.broker, GW_RETRY, RETRY).await?;
    Ok(due.sequence > consumer.ack_floor.stream_sequence)
}

/// Stores the message again where it was, and removes the letter.
async fn again(deps: &Deps, letter: &Letter) -> Result<Sent, Error> {
    let Some(subject) = letter.text(header::DLQ_SUBJECT) else { return Ok(Sent::Not("not-redrivable")) };
    // A list has headers only.
    let Some(whole) = nats::get(&deps.broker, GW_DLQ, letter.message.sequence).await? else {
        return Ok(Sent::Not("gone"));
    };
    let mut headers = whole.header_list();
    letter::revive(&mut headers);
    let deadline = Instant::now() + PATIENCE;
    let message = Outgoing {
        subject,
        id: format!("redrive:{}", letter.message.sequence),
        headers,
        payload: whole.payload,
        ..Outgoing::default()
    };
    match letter.stream.as_str() {
        GW_COMMAND => drop(deps.commands.publish(message, deadline).await?),
        GW_RETRY => drop(deps.timers.publish(message, deadline).await?),
        _ => Jobs::new(&deps.broker).put(message.subject, message.payload.to_vec()).await?,
    }
    nats::delete(&deps.broker, GW_DLQ, letter.message.sequence).await?;
    Ok(Sent::Back)
}
