//! Endpoints that get one event at a time, in their order.

use std::time::Duration;

use nats::{Outgoing, topology};
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    subject,
};
use serde_json::json;
use tests::{Reply, Seen, eventually_within};

use super::{
    Pushes,
    retries::{due, first},
};

fn numbers(seen: &[Seen]) -> Vec<i64> {
    seen.iter().filter_map(|seen| seen.json()["number"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_holds_its_place_and_those_behind_it() {
    let mut pushes = Pushes::start().await;
    // The third event fails twice.
    pushes.receiver.on("/hook", |number, _| Reply::Status(if (2..4).contains(&number) { 503 } else { 200 }));
    let endpoint = pushes.endpoint("/hook", json!({ "ordered": true, "retrySchedule": [1, 2] })).await;
    pushes.events(0..6).await;
    let seen = pushes.receiver.got("/hook", 8).await;
    assert_eq!(numbers(&seen), [0, 1, 2, 2, 2, 3, 4, 5]);
    assert_eq!(pushes.receiver.most_at_once("/hook"), 1);
    assert!(pushes.timers(&endpoint).await.is_empty(), "it needs no timer");
    let attempts = pushes.attempts(&endpoint, 8).await;
    let held: Vec<_> = attempts.iter().filter(|attempt| attempt.outcome == PushOutcome::Held).collect();
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|attempt| attempt.next_at.is_some_and(|next| next > attempt.at)));
    pushes.adds_up(&endpoint, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_timer_does_not_wait_for_an_event_that_is_held() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |_, seen| Reply::Status(if seen.json()["number"] == 0 { 503 } else { 200 }));
    let endpoint = pushes.endpoint("/hook", json!({ "ordered": true, "retrySchedule": [3600] })).await;
    let ids = pushes.events(0..2).await;
    pushes.attempts(&endpoint, 1).await;
    let second = Retry { sequence: 2, event_sequence: 2, attempt: 2, ..first(&endpoint.id, &ids[1]) };
    due(&mut pushes, second).await;
    let seen = pushes.receiver.got("/hook", 2).await;
    assert_eq!((seen[0].id(), seen[1].id()), (ids[0].clone(), ids[1].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_delivered_while_it_was_held_is_not_requested_again() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(503));
    let endpoint = pushes.endpoint("/hook", json!({ "ordered": true, "retrySchedule": [3600] })).await;
    pushes.event(0).await;
    let held = pushes.attempts(&endpoint, 1).await.remove(0);
    // As a process does that was handed it while the broker was away for this one.
    let (subject, outcome) = (subject::attempt("org_1", &endpoint.id, &held.event_id), PushOutcome::Delivered);
    let delivered = Attempt { attempt: 2, outcome, status_code: Some(200), next_at: None, ..held };
    let payload = serde_json::to_vec(&delivered).expect("JSON").into();
    pushes.publish(vec![Outgoing { subject, id: "elsewhere".to_owned(), payload, ..Outgoing::default() }]).await;
    tokio::time::sleep(topology::ACK_WAIT).await;
    // A change ends the wait.
    pushes.receiver.always("/hook", Reply::Status(200));
    pushes.change(&endpoint, json!({ "timeoutSeconds": 20 })).await;
    pushes.settled(&endpoint).await;
    assert_eq!(pushes.receiver.seen("/hook").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_in_order_after_a_crash_and_past_its_schedule() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(404));
    let endpoint = pushes.endpoint("/hook", json!({ "ordered": true, "retrySchedule": [1] })).await;
    pushes.events(0..5).await;
    let seen = pushes.receiver.got("/hook", 4).await;
    assert_eq!(numbers(&seen), [0, 0, 0, 0], "the last pause is repeated");
    pushes.world.kill_gateway();
    pushes.world.start_gateway();
    pushes.world.ready().await;
    let before = pushes.receiver.seen("/hook").len();
    pushes.receiver.always("/hook", Reply::Status(200));
    // What was in its hands comes back when the broker has waited for it, a minute.
    for _ in 0..90 {
        if pushes.receiver.seen("/hook").len() >= before + 5 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(numbers(&pushes.receiver.seen("/hook")[before..]), [0, 1, 2, 3, 4]);
    pushes.idle(&endpoint).await;
    assert_eq!(pushes.letters(0).await.len(), 0);
    pushes.adds_up(&endpoint, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_a_held_event_go_by_making_the_endpoint_parallel() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |_, seen: &Seen| Reply::Status(if seen.json()["number"] == 0 { 422 } else { 200 }));
    let endpoint = pushes.endpoint("/hook", json!({ "ordered": true, "retrySchedule": [1, 3600] })).await;
    pushes.events(0..3).await;
    pushes.receiver.got("/hook", 2).await;
    pushes.change(&endpoint, json!({ "ordered": false, "retrySchedule": [] })).await;
    let letter = pushes.letters(1).await.remove(0);
    assert_eq!(letter.subject, "gw.dlq.endpoint.permanent");
    pushes.receiver.got("/hook", 5).await;
    pushes.idle(&endpoint).await;
    pushes.has(&endpoint, &[("admitted", 3), ("delivered", 2), ("dead", 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_event_goes_on_counting_after_a_restart() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(500));
    let endpoint = pushes.endpoint("/hook", json!({ "ordered": true, "retrySchedule": [1, 1, 1, 1, 1, 1] })).await;
    pushes.event(1).await;
    pushes.attempts(&endpoint, 2).await;
    pushes.as_roles("").await;
    let before = pushes.attempts(&endpoint, 2).await.len() as u64;
    let (broker, filter) = (pushes.broker().await, [format!("gw.attempt.org_1.{}.>", endpoint.id)]);
    // What was in hand when the broker stopped may be handed out again after a minute only.
    eventually_within(Duration::from_secs(120), "it is tried again", || async {
        let count = nats::count(&broker, topology::GW_ATTEMPT, &filter, 1).await.ok()?;
        (count >= before + 2).then_some(())
    })
    .await;
    let attempts = pushes.attempts(&endpoint, 4).await;
    let numbers: Vec<usize> = attempts.iter().map(|attempt| attempt.attempt as usize).collect();
    assert_eq!(numbers, (1..=attempts.len()).collect::<Vec<_>>());
}
