//! A replay as a durable job: a walk through a range of a stream, in bounded steps.
//!
//! A task is held for a slice of time and renewed; within it, messages are read, dealt with, and counted in the
//! state. What was dealt with after the last state is dealt with again after a crash, so a [`Walk`] is idempotent.

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use schemas::{
    ambient::Clock,
    cause::Chain,
    replay::{Counts, Replay, Status},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Held, Jobs, Next, Step, Task, Turn};
use crate::{
    connect::Broker,
    consume::{Handler, Verdict},
    message::Message,
    publish::Landing,
    topology::MAX_DELIVER,
};

mod chunks;

use chunks::Chunks;

/// How long a task is held before the next one takes its place.
const SLICE: Duration = Duration::from_secs(10);
/// Time after which the state is written with the next chunk: what a crash repeats, and how fast a cancellation is noticed.
const SAVE: Duration = Duration::from_millis(500);
/// How long a walk that has to wait leaves its task.
const WAIT: i64 = 1_000;
const AGAIN: Duration = Duration::from_secs(1);

/// How long what is on its way may take, once nothing else is done meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

/// The name of a walk's task.
const TASK: &str = "walk";

/// Whatever went wrong; it is tried again.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where a walk reads.
#[derive(Clone, Debug)]
pub struct Source {
    /// The stream.
    pub stream: &'static str,
    /// What of it.
    pub what: What,
    /// Messages dealt with together, at most; it is looked for room before each.
    pub chunk: usize,
}

/// Which messages of a stream a walk reads.
#[derive(Clone, Debug)]
pub enum What {
    /// All, without a consumer of their own. The stream deletes none but its oldest.
    All,
    /// Those that match one of the filters.
    Matching {
        /// Subjects.
        filters: Vec<String>,
        /// Whether headers will do.
        headers_only: bool,
    },
}

/// Whether a walk may go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It may.
    Free,
    /// It waits for this.
    WaitsFor(&'static str),
}

/// What a replay does with what it reads.
pub trait Walk: Send + Sync + 'static {
    /// Where it reads.
    fn source(&self, replay: &Replay) -> Source;

    /// Whether it may deal with these now: others go first.
    fn room(&self, replay: &Replay, messages: &[Message]) -> impl Future<Output = Result<Room, Failure>> + Send;

    /// Ids of what was done behind the state, by who could not tell of it any more. It is asked for before anything is
    /// read.
    fn ahead(&self, _replay: &Replay) -> impl Future<Output = Result<HashSet<String>, Failure>> + Send {
        async { Ok(HashSet::new()) }
    }

    /// Deals with messages, in order. Done twice it has the effect of once, where it leaves out what is ahead.
    fn deal(
        &self,
        replay: &Replay,
        ahead: &HashSet<String>,
        messages: Vec<Message>,
    ) -> impl Future<Output = Result<Dealt, Failure>> + Send;

    /// Is told how much was published, once it is stored.
    fn published(&self, count: u64);
}

/// What came of dealing with messages.
#[derive(Debug)]
pub struct Dealt {
    /// What was done, without what was read.
    pub counts: Counts,
    /// What is on its way to the broker still: the state tells of none of it before it is there.
    pub landing: Landing,
}

/// A chunk that was dealt with, while its messages may be on their way still.
struct Flying {
    dealt: Dealt,
    read: u64,
    end: u64,
}

/// Does the tasks of replays.
#[derive(Debug)]
pub struct Walker<W> {
    /// What is done.
    pub walk: W,
    /// The connection.
    pub broker: Broker,
    /// The time.
    pub clock: Clock,
    /// When to stop: the rest is left as a task.
    pub stop: CancellationToken,
}

/// The first task of a replay, and each that follows.
#[must_use]
pub fn task(replay: &Replay) -> Next {
    if replay.ended() { Next::Nothing } else { Next::Task(walk_of(replay)) }
}

fn walk_of(replay: &Replay) -> Task {
    Task { worker: replay.request.mode.as_str().to_owned(), name: TASK }
}

impl<W: Walk> Handler for Walker<W> {
    /// A lane a job.
    fn lane(&self, message: &Message) -> u64 {
        let mut lane = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&message.subject, &mut lane);
        std::hash::Hasher::finish(&lane)
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            match self.task(message).await {
                Ok(Ended::Done) => verdicts.push(Verdict::Done),
                // Who holds the task now acknowledges it.
                Ok(Ended::Lost) => break,
                Err(error) => {
                    warn!(error = %Chain(&*error), subject = message.subject, "replay.retry");
                    verdicts.push(Verdict::Retry { after: AGAIN });
                    break;
                }
            }
        }
        verdicts
    }
}

/// How a task ended here.
enum Ended {
    /// Nothing of it is left.
    Done,
    /// Another worker has it.
    Lost,
}

/// Why a slice ended.
enum End {
    /// Everything was read.
    Complete,
    /// Its time is over, or the process stops.
    Over,
    /// Others go first.
    WaitsFor(&'static str),
}

impl<W: Walk> Walker<W> {
    async fn task(&self, message: &Message) -> Result<Ended, Failure> {
        let Ok(Turn { job, turn }) = serde_json::from_slice(&message.payload) else { return Ok(Ended::Done) };
        let jobs = Jobs::new(&self.broker);
        let Some(held) = jobs.load::<Replay>(&job).await? else { return Ok(Ended::Done) };
        if held.state.ended() || held.turn > turn {
            return Ok(Ended::Done);
        }
        if held.turn < turn {
            return Err("the state read is older than its task".into());
        }
        let ended = match message.delivered + 1 >= MAX_DELIVER.unsigned_abs() {
            true => self.give_up(&jobs, held).await?,
            false => self.slice(&jobs, held).await?,
        };
        match ended {
            Step::Taken(_) => Ok(Ended::Done),
            Step::Refused => self.refused(&jobs, &job, turn).await,
        }
    }

    /// What its worker did not survive so often would take every worker with it.
    async fn give_up(&self, jobs: &Jobs, mut held: Held<Replay>) -> Result<Step<Replay>, Failure> {
        warn!(replay = held.job, "replay.failed");
        held.state.failure = Some("its step was begun again and again and never ended".to_owned());
        self.end(jobs, held, Status::Failed).await
    }

    /// Whoever took the step took the task too, unless it only wrote the state: then it still has it.
    async fn refused(&self, jobs: &Jobs, job: &str, turn: u64) -> Result<Ended, Failure> {
        let over = jobs.load::<Replay>(job).await?.is_none_or(|held| held.state.ended() || held.turn > turn);
        Ok(if over { Ended::Done } else { Ended::Lost })
    }

    async fn slice(&self, jobs: &Jobs, held: Held<Replay>) -> Result<Step<Replay>, Failure> {
        let Some((mut held, end)) = Box::pin(self.read(jobs, held)).await? else { return Ok(Step::Refused) };
        held.state.updated_at = self.clock.now();
        held.state.waits_for = None;
        let next = match end {
            End::Complete => return self.end(jobs, held, Status::Done).await,
            End::Over => Next::Task(walk_of(&held.state)),
            End::WaitsFor(what) => {
                held.state.waits_for = Some(what.to_owned());
                Next::Later(walk_of(&held.state), held.state.updated_at + WAIT)
            }
        };
        Ok(jobs.step(held, &next).await?)
    }

    async fn end(&self, jobs: &Jobs, mut held: Held<Replay>, status: Status) -> Result<Step<Replay>, Failure> {
        let now = self.clock.now();
        (held.state.status, held.state.updated_at, held.state.ended_at) = (status, now, Some(now));
        info!(replay = held.job, status = status.as_str(), published = held.state.counts.published, "replay.ended");
        Ok(jobs.step(held, &Next::Nothing).await?)
    }

    /// Waits until what is on its way is stored, and tells so in the state.
    async fn land(&self, flying: Option<Flying>, state: &mut Replay) -> Result<(), Failure> {
        let Some(Flying { dealt: Dealt { counts, landing }, read, end }) = flying else { return Ok(()) };
        state.landed = state.landed.max(landing.landed(Instant::now() + PATIENCE).await?);
        if !state.request.dry_run {
            self.walk.published(counts.published);
        }
        state.counts.add(&counts);
        state.counts.read += read;
        state.next = end;
        Ok(())
    }

    /// Reads and deals until there is nothing more, or the slice is over. None where somebody else took a step.
    async fn read(&self, jobs: &Jobs, mut held: Held<Replay>) -> Result<Option<(Held<Replay>, End)>, Failure> {
        let (over, mut saved) = (Instant::now() + SLICE, Instant::now());
        let cap = held.state.request.rate_per_second.cap();
        let source = self.walk.source(&held.state);
        let size = cap.map_or(source.chunk, |cap| (cap as usize / 4).clamp(1, source.chunk));
        let ahead = self.walk.ahead(&held.state).await?;
        let mut chunks = Chunks::open(&self.broker, source, &held.state, size).await?;
        let mut chunk = chunks.next().await?;
        let mut flying = None;
        while !chunk.messages.is_empty() {
            if let Room::WaitsFor(what) = self.walk.room(&held.state, &chunk.messages).await? {
                self.land(flying, &mut held.state).await?;
                return Ok(Some((held, End::WaitsFor(what))));
            }
            let (begun, read, end) = (Instant::now(), chunk.messages.len() as u64, chunk.end);
            // Meanwhile the chunk before lands, and the next ones are read.
            chunks = chunks.read_ahead();
            let dealt = self.walk.deal(&held.state, &ahead, chunk.messages).await?;
            self.land(flying.replace(Flying { dealt, read, end }), &mut held.state).await?;
            if let Some(cap) = cap {
                let due = Duration::from_secs_f64(read as f64 / f64::from(cap));
                self.stop.run_until_cancelled(tokio::time::sleep_until(begun + due)).await;
            }
            chunk = chunks.next().await?;
            if self.stop.is_cancelled() || Instant::now() >= over {
                self.land(flying, &mut held.state).await?;
                return Ok(Some((held, End::Over)));
            }
            if saved.elapsed() >= SAVE {
                saved = Instant::now();
                held.state.updated_at = self.clock.now();
                held.state.waits_for = None;
                held = match jobs.step(held, &Next::Same).await? {
                    Step::Taken(held) => held,
                    Step::Refused => return Ok(None),
                };
            }
        }
        self.land(flying, &mut held.state).await?;
        if chunk.lags {
            return Ok(Some((held, End::WaitsFor("replica"))));
        }
        held.state.next = held.state.to + 1;
        Ok(Some((held, End::Complete)))
    }
}
