//! Durable jobs: a step is taken by one worker, whole, or by none.

use nats::{
    job::{Held, Jobs, Next, Step, Task},
    topology::GW_JOB,
};
use schemas::subject;
use serde_json::json;
use tests::World;

fn task() -> Next {
    Next::Task(Task { worker: "nobody".to_owned(), name: "walk" })
}

fn taken<S>(step: Step<S>) -> Held<S> {
    match step {
        Step::Taken(held) => held,
        Step::Refused => panic!("the step was refused"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_of_a_worker_that_was_thought_dead_is_refused_and_leaves_nothing() {
    let mut world = World::start().await;
    let jobs = Jobs::new(&world.broker().await);
    taken(jobs.begin("job_1", json!({ "at": 0 }), &task()).await.expect("an answer"));
    let zombie: Held<serde_json::Value> = jobs.load("job_1").await.expect("an answer").expect("a job");
    let mut worker = zombie.clone();
    worker.state = json!({ "at": 1 });
    let worker = taken(jobs.step(worker, &Next::Same).await.expect("an answer"));
    assert_eq!(worker.turn, 1, "the same task goes on");
    let step = jobs.step(zombie, &task()).await.expect("an answer");
    assert!(matches!(step, Step::Refused));
    let found: Held<serde_json::Value> = jobs.load("job_1").await.expect("an answer").expect("a job");
    assert_eq!((found.state, found.turn), (json!({ "at": 1 }), 1));
    let tasks = world.messages(GW_JOB, "gw.job.task.nobody.>").await;
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].payload.as_ref(), br#"{"job":"job_1","turn":1}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_once_waits_for_its_timer_and_ends_for_good() {
    let mut world = World::start().await;
    let jobs = Jobs::new(&world.broker().await);
    let held = taken(jobs.begin("job_2", json!("new"), &Next::Nothing).await.expect("an answer"));
    let again = jobs.begin("job_2", json!("other"), &task()).await.expect("an answer");
    assert!(matches!(again, Step::Refused));
    let soon = 1_000 + schemas::instant::parse("2026-01-01T00:00:00Z").expect("a time");
    let later = Next::Later(Task { worker: "nobody".to_owned(), name: "walk" }, soon);
    let held = taken(jobs.step(held, &later).await.expect("an answer"));
    let due = world.stored(GW_JOB, "gw.job.task.nobody.>", 1).await;
    assert_eq!(due[0].payload.as_ref(), br#"{"job":"job_2","turn":2}"#);
    taken(jobs.step(held, &Next::Nothing).await.expect("an answer"));
    jobs.purge("job_2").await.expect("purged");
    assert_eq!(world.count(GW_JOB, subject::JOB_TASKS).await, 0);
    assert_eq!(world.count(GW_JOB, subject::JOB_TIMERS).await, 0);
}
