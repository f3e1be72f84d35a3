//! The streams of what is to be done: commands, jobs, and what replays and the server itself say.

use std::time::Duration;

use async_nats::jetstream::stream::{self, Compression, DiscardPolicy};
use schemas::{replay, subject};

use super::{DAY, DUPLICATE_WINDOW, GIB, Settings, StreamSpec, base, consumer, only};

/// Stream of commands: what somebody wants done.
pub const GW_COMMAND: &str = "GW_COMMAND";
/// Stream of durable jobs: their states, tasks and timers.
pub const GW_JOB: &str = "GW_JOB";
/// Stream of events that a replay stored again for whoever reads it.
pub const GW_REPLAY: &str = "GW_REPLAY";
/// Stream of what the server says of messages that died.
pub const GW_ADVISORY: &str = "GW_ADVISORY";
/// Consumer that turns commands into replays.
pub const REPLAY: &str = "replay";
/// Consumer that turns the server's words into dead letters.
pub const ADVISORIES: &str = "advisories";

/// How long a task is leased to its worker, who renews it: after a crash another takes it this much later.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long the state of a job that ended is kept.
pub const JOB_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// All of them.
pub(super) fn specs(settings: &Settings) -> Vec<StreamSpec> {
    vec![commands(settings), jobs(settings), replays(settings), advisories(settings)]
}

/// Kept for less long than the states of jobs: a command that is read again finds that it was done.
fn commands(settings: &Settings) -> StreamSpec {
    let config = stream::Config {
        max_age: 7 * DAY,
        duplicate_window: DUPLICATE_WINDOW,
        max_bytes: settings.bytes(GW_COMMAND, GIB / 4),
        ..base(settings, GW_COMMAND, "What somebody wants done", &subject::COMMANDS)
    };
    StreamSpec { config, consumers: vec![consumer(REPLAY, "Turns commands into replays", subject::REPLAY_REQUESTED)] }
}

/// Neither age nor size may end a job, so it has no limit but one message a subject.
fn jobs(settings: &Settings) -> StreamSpec {
    let subjects = [subject::JOB_STATES, subject::JOB_TASKS, subject::JOB_TIMERS, subject::JOB_PROGRESS];
    let config = stream::Config {
        discard: DiscardPolicy::Old,
        max_age: Duration::ZERO,
        max_bytes: -1,
        max_messages_per_subject: 1,
        allow_rollup: true,
        allow_message_ttl: true,
        allow_message_schedules: true,
        ..base(settings, GW_JOB, "Durable jobs: states, tasks and timers", &subjects)
    };
    let workers = [
        (replay::REDELIVER, "Events that are sent again"),
        (replay::REROUTE, "Deliveries that are routed again"),
        (replay::REDRIVE, "Dead letters that go back to the router"),
    ];
    let worker = |(name, description): (&str, &str)| async_nats::jetstream::consumer::pull::Config {
        ack_wait: LEASE,
        ..consumer(name, description, &subject::job_tasks_of(name))
    };
    StreamSpec { config, consumers: workers.into_iter().map(worker).collect() }
}

fn replays(settings: &Settings) -> StreamSpec {
    only(stream::Config {
        discard: DiscardPolicy::Old,
        max_age: DAY,
        // For what is sent again within one try to store it. A large replay would have many to remember.
        duplicate_window: Duration::from_secs(30),
        compression: Some(Compression::S2),
        max_bytes: settings.bytes(GW_REPLAY, 4 * GIB),
        allow_batch_publish: true,
        ..base(settings, GW_REPLAY, "Events that a replay stored again", &[subject::REPLAYED])
    })
}

fn advisories(settings: &Settings) -> StreamSpec {
    let config = stream::Config {
        discard: DiscardPolicy::Old,
        max_age: 7 * DAY,
        max_bytes: settings.bytes(GW_ADVISORY, GIB / 16),
        ..base(
            settings,
            GW_ADVISORY,
            "What the server says of messages that died",
            &[subject::MAX_DELIVERIES, subject::TERMINATED],
        )
    };
    StreamSpec { config, consumers: vec![consumer(ADVISORIES, "Turns them into dead letters", "")] }
}
