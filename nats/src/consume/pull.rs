//! Pulls messages, as many as there are slots, and outlives restarts of the server and loss of the consumer.

use std::time::Duration;

use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Consumer, PULL, Slot};
use crate::{
    error::{Code, Error},
    message::Message,
    requests::{Answer, Ask, Requests},
    topology,
};

/// How long one pull request waits for messages.
const EXPIRES: Duration = Duration::from_secs(5);
/// A request that the server has not ended this long after its time is lost.
const GRACE: Duration = Duration::from_secs(5);
/// At a stop: how long the broker may be silent before nothing more of a pull is on its way.
const LAST: Duration = Duration::from_millis(200);
/// How often the broker is asked how far everything is done.
const ASK: Duration = Duration::from_secs(5);
/// How often a handler that is not ready is asked again.
const UNREADY: Duration = Duration::from_millis(50);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(
    consumer: Consumer,
    sender: Sender<(Message, Slot)>,
    stop: CancellationToken,
    ready: impl Fn() -> bool,
) {
    let mut pause = PAUSE_MIN;
    let mut failing = false;
    let mut floor = Floor::default();
    while !stop.is_cancelled() {
        let Err(error) = pull_until_failure(&consumer, &sender, &mut floor, &mut failing, &stop, &ready).await else {
            return;
        };
        // Said once when it begins and once when it ends, not at each try.
        if !failing {
            failing = true;
            pause = PAUSE_MIN;
            warn!(error = %schemas::cause::Chain(&error), stream = consumer.stream, consumer = consumer.name, "consumer.lost");
        }
        let jitter = rand::random_range(0.5..1.0);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Ends well only when it was told to stop, or nobody listens any more.
async fn pull_until_failure(
    consumer: &Consumer,
    sender: &Sender<(Message, Slot)>,
    floor: &mut Floor,
    failing: &mut bool,
    stop: &CancellationToken,
    ready: &impl Fn() -> bool,
) -> Result<(), Error> {
    let Some(mut requests) = stop.run_until_cancelled(open(consumer, floor)).await.transpose()? else { return Ok(()) };
    if std::mem::take(failing) {
        info!(stream = consumer.stream, consumer = consumer.name, "consumer.back");
    }
    loop {
        if !ready() && !stop.is_cancelled() {
            sleep(UNREADY).await;
            continue;
        }
        if stop.is_cancelled() || pull(consumer, &mut requests, sender, stop).await?.is_none() {
            return Ok(());
        }
        floor.refresh(consumer).await?;
    }
}

/// How far a consumer was last seen to have everything done, in which stream of this name.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    sequence: u64,
    /// When the stream was made.
    made: i64,
    asked: Option<Instant>,
}

impl Floor {
    /// Asks again, if that was long ago.
    async fn refresh(&mut self, consumer: &Consumer) -> Result<(), Error> {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK) {
            return Ok(());
        }
        let info = topology::consumer_info(&consumer.broker, consumer.stream, consumer.name).await?;
        if self.asked.is_none() {
            let made = topology::made(&topology::stream_info(&consumer.broker, consumer.stream).await?);
            if made != self.made {
                *self = Self { made, ..Self::default() };
            }
        }
        // A broker that crashed may have forgotten the last.
        (self.sequence, self.asked) = (self.sequence.max(info.ack_floor.stream_sequence), Some(Instant::now()));
        Ok(())
    }

    /// Where the consumer goes on if it has to be made anew: another stream of this name begins at its first message.
    async fn resume(self, consumer: &Consumer) -> Result<u64, Error> {
        let made = topology::made(&topology::stream_info(&consumer.broker, consumer.stream).await?);
        Ok(if made == self.made { self.sequence } else { 0 })
    }
}

/// Finds the consumer, and makes it anew where somebody deleted it: it goes on where it was last seen, and where it was
/// never seen with the first message that the stream holds. What was dealt with is found to be done.
async fn open(consumer: &Consumer, floor: &mut Floor) -> Result<Requests, Error> {
    consumer.broker.connected().await;
    let known = *floor;
    floor.asked = None;
    // Asked first, because this ends at once when the connection is lost.
    match floor.refresh(consumer).await {
        Ok(()) => {}
        Err(error) if consumer.recreate && error.code() == Some(Code::ConsumerNotFound) => {
            let after = known.resume(consumer).await?;
            topology::create_consumer(&consumer.broker, consumer.stream, consumer.name, after).await?;
            warn!(stream = consumer.stream, consumer = consumer.name, after, "consumer.recreated: it was deleted");
        }
        Err(error) => return Err(error),
    }
    Requests::open(&consumer.broker, consumer.stream, consumer.name).await
}

/// One pull. None when nobody listens any more.
async fn pull(
    consumer: &Consumer,
    requests: &mut Requests,
    sender: &Sender<(Message, Slot)>,
    stop: &CancellationToken,
) -> Result<Option<()>, Error> {
    let Some(mut room) = stop.run_until_cancelled(consumer.slots.take()).await else { return Ok(None) };
    let (batch, max_bytes) = (room.slots(), Some(PULL));
    requests.ask(Ask { batch, max_bytes, expires: EXPIRES, grace: GRACE, heartbeat: None }).await?;
    while requests.wanted() > 0 {
        let (message, size) = match next(requests, stop).await? {
            Answer::Message(message, size) => (*message, size),
            Answer::Over | Answer::Full | Answer::Alive(_) => continue,
            Answer::Silence if stop.is_cancelled() => return Ok(None),
            Answer::Silence => return Err(requests.failed("the server does not end the request")),
        };
        let Some(slot) = room.fill(&consumer.slots, size) else { continue };
        if message.delivered > 1 {
            consumer.redelivered.inc();
        }
        if sender.send((message, slot)).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

/// The next of a pull. At a stop only what the broker has sent already: it would wait there for its `ack_wait` if it
/// were not taken in.
async fn next(requests: &mut Requests, stop: &CancellationToken) -> Result<Answer, Error> {
    let over = requests.over();
    match stop.run_until_cancelled(requests.next(over)).await {
        Some(answer) => answer,
        None => requests.next(Instant::now() + LAST).await,
    }
}
