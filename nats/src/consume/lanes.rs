//! Hands messages to the handler: in order within a lane, lanes side by side; keeps what is held alive at the
//! broker, and acknowledges what is done.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, Request};
use tokio::{sync::mpsc::Receiver, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{Consumer, Dying, Handler, Slot, Verdict};
use crate::{
    connect::Broker,
    message::Message,
    publish::PublishError,
    topology::{self, MAX_DELIVER},
};

/// Messages of one lane that are handled in one call.
const RUN: usize = 64;
/// What was handed out this often is tried alone, so that a bad message takes no other with it.
const SUSPECT: u64 = 3;
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const BURY_PAUSE: Duration = Duration::from_millis(250);

/// Messages of a lane that wait while others of it are handled.
type Waiting = VecDeque<(Message, Slot)>;

/// What a worker works on.
struct Job {
    lane: u64,
    replies: Vec<String>,
}

pub(super) async fn run<H: Handler>(
    consumer: Consumer,
    handler: Arc<H>,
    mut messages: Receiver<(Message, Slot)>,
    stop: CancellationToken,
) {
    let consumer = Arc::new(consumer);
    let mut lanes: HashMap<u64, Waiting> = HashMap::new();
    let mut held: HashMap<String, Instant> = HashMap::new();
    let mut workers: JoinSet<()> = JoinSet::new();
    let mut jobs: HashMap<tokio::task::Id, Job> = HashMap::new();
    let ack_wait = topology::ack_wait(consumer.stream);
    let mut progress = tokio::time::interval(ack_wait / 6);
    let mut open = true;
    while open || !workers.is_empty() {
        let mut ready = None;
        tokio::select! {
            message = messages.recv(), if open => match message {
                None => open = false,
                Some((message, slot)) => {
                    held.insert(message.reply.clone(), Instant::now());
                    let lane = handler.lane(&message);
                    match lanes.get_mut(&lane) {
                        Some(waiting) => waiting.push_back((message, slot)),
                        None => {
                            lanes.insert(lane, Waiting::new());
                            ready = Some((lane, Waiting::from([(message, slot)])));
                        }
                    }
                }
            },
            Some(finished) = workers.join_next_with_id() => {
                let id = match finished {
                    Ok((id, ())) => id,
                    Err(panic) => {
                        // Not acknowledged, so the broker hands it out again; after the last time it is buried unread.
                        error!(error = &panic as &dyn std::error::Error, consumer = consumer.name, "consumer.panic");
                        panic.id()
                    }
                };
                let Some(job) = jobs.remove(&id) else { continue };
                for reply in &job.replies {
                    held.remove(reply);
                }
                match lanes.get_mut(&job.lane) {
                    Some(waiting) if !waiting.is_empty() => {
                        let next = waiting.drain(..waiting.len().min(RUN)).collect();
                        ready = Some((job.lane, next));
                    }
                    _ => drop(lanes.remove(&job.lane)),
                }
            },
            _ = progress.tick() => keep_alive(&consumer.broker.client, &mut held, ack_wait / 3).await,
        }
        if let Some((lane, run)) = ready {
            let replies = run.iter().map(|(message, _)| message.reply.clone()).collect();
            let worker = workers.spawn(work(consumer.clone(), handler.clone(), run, stop.clone()));
            jobs.insert(worker.id(), Job { lane, replies });
        }
    }
}

/// Tells the broker that what has been held for long is still being worked on.
async fn keep_alive(client: &Client, held: &mut HashMap<String, Instant>, long: Duration) {
    for (reply, since) in held {
        if since.elapsed() > long {
            *since = Instant::now();
            if let Err(error) = client.publish(reply.clone(), "+WPI".into()).await {
                debug!(%error, "consumer.progress");
            }
        }
    }
}

async fn work<H: Handler>(consumer: Arc<Consumer>, handler: Arc<H>, run: Waiting, stop: CancellationToken) {
    let (messages, slots): (Vec<Message>, Vec<Slot>) = run.into_iter().unzip();
    let mut rest: Arc<[Message]> = messages.into();
    let mut attempt = 0;
    while !rest.is_empty() {
        let (given_up, fresh) = worn_out(&rest);
        let verdicts = if given_up {
            vec![Verdict::Dead { reason: "exhausted", detail: exhausted() }]
        } else {
            handler.handle(fresh.clone(), attempt).await
        };
        let mut settled = 0;
        let mut acks = Vec::new();
        let mut pause = None;
        for (message, verdict) in fresh.iter().zip(verdicts) {
            match verdict {
                Verdict::Done => acks.push(acknowledge(&consumer.broker, message, "+ACK".to_owned())),
                Verdict::Dead { reason, detail } => match bury(&consumer, &*handler, message, reason, &detail).await {
                    Ok(Dying::Bury) => {
                        acks.push(acknowledge(&consumer.broker, message, format!("+TERM {reason}")));
                    }
                    Ok(Dying::Done) => acks.push(acknowledge(&consumer.broker, message, "+ACK".to_owned())),
                    Err(error) => {
                        warn!(%error, sequence = message.sequence, "message.bury");
                        pause = Some(BURY_PAUSE);
                        break;
                    }
                },
                Verdict::Retry { after } => {
                    pause = Some(after);
                    break;
                }
            }
            settled += 1;
        }
        futures_util::future::join_all(acks).await;
        match pause {
            // At a stop the rest is left to the broker, which hands it out again.
            Some(pause) if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() => break,
            Some(_waited) => {}
            // A handler that gives too few verdicts leaves the rest to the broker.
            None if settled == 0 => break,
            None => {}
        }
        attempt = if settled == 0 { attempt + 1 } else { 0 };
        rest = rest[settled..].into();
    }
    drop(slots);
}

async fn bury<H: Handler>(
    consumer: &Consumer,
    handler: &H,
    message: &Message,
    reason: &'static str,
    detail: &str,
) -> Result<Dying, PublishError> {
    let dying = handler.dying(message, reason).await?;
    if dying == Dying::Bury {
        consumer.dead.bury(consumer.stream, message, reason, detail).await?;
        warn!(stream = consumer.stream, sequence = message.sequence, reason, detail, "message.dead");
    }
    Ok(dying)
}

/// A message that the broker hands out for the last time is not tried again: whoever tried it before did not
/// live to say how it ended.
fn worn_out(messages: &Arc<[Message]>) -> (bool, Arc<[Message]>) {
    let last = |message: &Message| message.delivered >= MAX_DELIVER.unsigned_abs();
    if messages[0].delivered >= SUSPECT {
        return (last(&messages[0]), messages[..1].into());
    }
    match messages.iter().position(last) {
        None => (false, messages.clone()),
        Some(0) => (true, messages[..1].into()),
        Some(at) => (false, messages[..at].into()),
    }
}

fn exhausted() -> String {
    format!("handed out {MAX_DELIVER} times and never settled")
}

/// Acknowledges by request, so that a lost acknowledgement is noticed; the broker then hands the message out
/// again, which does no harm.
async fn acknowledge(broker: &Broker, message: &Message, how: String) {
    let request = Request::new().payload(how.into()).timeout(Some(ACK_TIMEOUT));
    if let Err(error) = broker.request("an acknowledgement", message.reply.clone(), request).await {
        debug!(error = &error as &dyn std::error::Error, sequence = message.sequence, "consumer.ack");
    }
}
