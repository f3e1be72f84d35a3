//! Durable jobs: work that survives whoever does it.
//!
//! A job is a state and what is to be done next, each a message of `GW_JOB`. A step is one atomic batch: the new
//! state, stored only if nobody changed it since it was read, with the tasks and timers that follow. So a worker that
//! died resumes with the last step, and one that was thought dead cannot take another.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, header};
use schemas::subject;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::{
    connect::Broker,
    durable,
    error::{Code, Error},
    message::{Message, Outgoing, Timer},
    publish::{PublishError, batch},
    read::{self, Reader, Start},
    topology::{GW_JOB, JOB_KEPT},
};

pub mod walk;

/// How long a step may take to be stored.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one try waits for the broker.
const TRY: Duration = Duration::from_secs(5);
const PAUSE: std::ops::Range<u64> = 20..200;
/// How long the next state of a list may take.
const NEXT: Duration = Duration::from_secs(5);

/// A job as somebody read or wrote it.
#[derive(Clone, Debug)]
pub struct Held<S> {
    /// The job.
    pub job: String,
    /// Its state.
    pub state: S,
    /// Counts the tasks it had: a task of an earlier turn is out of date.
    pub turn: u64,
    /// What the next step expects to find.
    revision: u64,
}

/// What follows a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The task in hand goes on.
    Same,
    /// A new task, at once.
    Task(Task),
    /// A new task at this time, milliseconds since the epoch.
    Later(Task, i64),
    /// Nothing: the job has ended, and its state is kept for a while.
    Nothing,
}

/// A piece of work. There is one at a time of each name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Who does it: the consumer of `GW_JOB` that gets it.
    pub worker: String,
    /// Which.
    pub name: &'static str,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Step<S> {
    /// It is stored.
    Taken(Held<S>),
    /// Somebody else took one before; nothing was stored.
    Refused,
}

/// The body of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The job.
    pub job: String,
    /// The turn of the job it belongs to.
    pub turn: u64,
}

/// The body of a state.
#[derive(Serialize, Deserialize)]
struct Stored<S> {
    turn: u64,
    state: S,
}

/// All jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    broker: Broker,
}

impl Jobs {
    /// The jobs of a broker.
    #[must_use]
    pub fn new(broker: &Broker) -> Self {
        Self { broker: broker.clone() }
    }

    /// Begins a job, unless there is one of this name already.
    pub async fn begin<S: Serialize>(&self, job: &str, state: S, next: &Next) -> Result<Step<S>, Error> {
        self.step(Held { job: job.to_owned(), state, turn: 0, revision: 0 }, next).await
    }

    /// A job, or none of this name.
    pub async fn load<S: DeserializeOwned>(&self, job: &str) -> Result<Option<Held<S>>, Error> {
        let state = [subject::job_state(job)];
        let begun = Instant::now();
        loop {
            if let Some(message) = read::last(&self.broker, GW_JOB, &state[0]).await? {
                return held(job, &message).map(Some);
            }
            // A task without a state would be taken for done.
            if !read::holds(&self.broker, GW_JOB, &state, 1..=u64::MAX).await? {
                return Ok(None);
            }
            // It was stored just now, or a replica that lags was asked.
            if begun.elapsed() >= read::BEHIND {
                return Err(Error::reading(GW_JOB, read::LAGS));
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
        }
    }

    /// All jobs whose state is of this kind, those that ended among them.
    pub async fn list<S: DeserializeOwned>(&self) -> Result<Vec<Held<S>>, Error> {
        let filters = [subject::JOB_STATES.to_owned()];
        let mut reader = Reader::open(&self.broker, GW_JOB, &filters, Start::First, false).await?;
        let mut jobs = Vec::new();
        while let Some(message) = reader.next_waiting(NEXT).await? {
            let job = message.subject.rsplit('.').next().unwrap_or_default();
            jobs.extend(held(job, &message).ok());
        }
        Ok(jobs)
    }

    /// Stores the state as it is in hand, and what follows, if nobody took a step since it was read.
    pub async fn step<S: Serialize>(&self, mut held: Held<S>, next: &Next) -> Result<Step<S>, Error> {
        if *next != Next::Same {
            held.turn += 1;
        }
        // Tells this try to take a step from another's.
        let id = format!("{}:{}:{:016x}", held.job, held.turn, rand::random::<u64>());
        let members = members(&held, next, &id)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stored = self.store(&members).await;
            match stored {
                Ok(revision) => return Ok(Step::Taken(Held { revision, ..held })),
                Err(error) if refused(&error) => {
                    // It may have been ours, with its answer lost.
                    let last = read::last(&self.broker, GW_JOB, &subject::job_state(&held.job)).await?;
                    return Ok(match last.filter(|last| last.id() == Some(&id)) {
                        Some(last) => Step::Taken(Held { revision: last.sequence, ..held }),
                        None => Step::Refused,
                    });
                }
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
                }
                Err(source) => return Err(Error::Publish { what: format!("a step of job {}", held.job), source }),
            }
        }
    }

    /// Gives a worker a task without a state; asked for again while it waits, it is there once.
    pub async fn ask(&self, worker: &str, job: &str, task: &str, body: Vec<u8>) -> Result<(), Error> {
        self.put(subject::job_task(worker, job, task), body).await
    }

    /// Puts a task back where it was.
    pub async fn put(&self, subject: String, body: Vec<u8>) -> Result<(), Error> {
        let id = format!("{subject}:{:016x}", rand::random::<u64>());
        let message = Outgoing { subject, id, payload: body.into(), ..Outgoing::default() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let members = std::iter::once(batch::Member::of(&message));
            match batch::commit_members(&self.broker.client, members, TRY).await {
                Ok(_) => return Ok(()),
                // An answer was lost before.
                Err(error) if refused(&error) => return Ok(()),
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
                }
                Err(source) => return Err(Error::Publish { what: format!("the task {}", message.subject), source }),
            }
        }
    }

    /// Takes away everything that a job has still to do.
    pub async fn purge(&self, job: &str) -> Result<(), Error> {
        for filter in subject::job_work_of(job) {
            durable::purge(&self.broker, GW_JOB, &filter, None).await?;
        }
        Ok(())
    }

    /// The revision of the state, which is the first of the messages.
    async fn store(&self, members: &[Outbound]) -> Result<u64, PublishError> {
        let behind = members.len() as u64 - 1;
        let members = members.iter().map(Outbound::member);
        batch::commit_members(&self.broker.client, members, TRY).await.map(|last| last - behind)
    }
}

/// A message of a step, kept for another try.
struct Outbound {
    message: Outgoing,
    extra: HeaderMap,
}

impl Outbound {
    fn member(&self) -> batch::Member {
        let mut member = batch::Member::of(&self.message);
        for (name, values) in self.extra.iter() {
            for value in values {
                member.headers.insert(name.clone(), value.clone());
            }
        }
        member
    }
}

fn members<S: Serialize>(held: &Held<S>, next: &Next, id: &str) -> Result<Vec<Outbound>, Error> {
    let json = |source| Error::Answer { what: format!("the state of job {}", held.job), source };
    let state = serde_json::to_vec(&Stored { turn: held.turn, state: &held.state }).map_err(json)?;
    let mut extra = HeaderMap::new();
    extra.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(held.revision));
    if *next == Next::Nothing {
        extra.insert(header::NATS_MESSAGE_TTL, format!("{}s", JOB_KEPT.as_secs()).as_str());
    }
    let outgoing = |subject, id, payload: Vec<u8>, timer| Outgoing {
        subject,
        id,
        payload: payload.into(),
        timer,
        ..Outgoing::default()
    };
    let mut members =
        vec![Outbound { message: outgoing(subject::job_state(&held.job), id.to_owned(), state, None), extra }];
    let turn = serde_json::to_vec(&Turn { job: held.job.clone(), turn: held.turn }).map_err(json)?;
    let (subject, timer) = match next {
        Next::Same | Next::Nothing => return Ok(members),
        Next::Task(Task { worker, name }) => (subject::job_task(worker, &held.job, name), None),
        Next::Later(Task { worker, name }, at) => {
            let target = subject::job_task(worker, &held.job, name);
            (subject::job_timer(worker, &held.job, name), Some(Timer { at: *at, target }))
        }
    };
    let task = outgoing(subject, format!("{id}:next"), turn, timer);
    members.push(Outbound { message: task, extra: HeaderMap::new() });
    Ok(members)
}

fn refused(error: &PublishError) -> bool {
    matches!(error, PublishError::Refused { code: Code::WrongLastSequence | Code::BatchDuplicate, .. })
}

fn held<S: DeserializeOwned>(job: &str, message: &Message) -> Result<Held<S>, Error> {
    let Stored { turn, state } = serde_json::from_slice(&message.payload)
        .map_err(|source| Error::Answer { what: format!("the state of job {job}"), source })?;
    Ok(Held { job: job.to_owned(), state, turn, revision: message.sequence })
}
