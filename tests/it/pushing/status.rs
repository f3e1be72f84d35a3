//! Pausing, disabling and deleting an endpoint.

use std::time::Duration;

use nats::{durable, topology};
use reqwest::Method;
use rustix::process::Signal;
use schemas::attempt::PushOutcome;
use serde_json::json;
use tests::{Reply, Setup, eventually, kill, never};

use super::{Made, Pushes};
use crate::ledger::{audit, term};

/// An endpoint with three timers.
async fn with_timers(pushes: &mut Pushes) -> Made {
    pushes.receiver.always("/hook", Reply::Status(500));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3600] })).await;
    pushes.events(0..3).await;
    pushes.attempts(&endpoint, 3).await;
    pushes.idle(&endpoint).await;
    assert_eq!(pushes.timers(&endpoint).await.len(), 3);
    endpoint
}

/// Waits until an endpoint has no timer.
pub(super) async fn no_timers(pushes: &mut Pushes, endpoint: &Made) {
    for _ in 0..200 {
        if pushes.timers(endpoint).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("timers are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_endpoint_keeps_its_place_and_its_timers_become_dead_letters() {
    let mut pushes = Pushes::start().await;
    let endpoint = with_timers(&mut pushes).await;
    pushes.change(&endpoint, json!({ "status": "disabled" })).await;
    let letters = pushes.letters(3).await;
    assert!(letters.iter().all(|letter| letter.subject == "gw.dlq.endpoint.disabled"));
    no_timers(&mut pushes, &endpoint).await;
    pushes.receiver.always("/hook", Reply::Status(200));
    pushes.events(3..6).await;
    let receiver = &pushes.receiver;
    let more = || async { (receiver.seen("/hook").len() > 3).then_some(()) };
    never("a push to a disabled endpoint", Duration::from_secs(1), more).await;
    pushes.change(&endpoint, json!({ "status": "active" })).await;
    let seen = pushes.receiver.got("/hook", 6).await;
    let mut numbers: Vec<i64> = seen[3..].iter().filter_map(|seen| seen.json()["number"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4, 5]);
    let dead = pushes.attempts(&endpoint, 9).await;
    let dead: Vec<_> = dead.iter().filter(|attempt| attempt.outcome == PushOutcome::Dead).collect();
    assert_eq!(dead.len(), 3);
    pushes.has(&endpoint, &[("admitted", 6), ("dead", 3), ("delivered", 3)]).await;
    assert!(dead.iter().all(|attempt| attempt.reason.as_deref() == Some("disabled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_while_an_endpoint_is_disabled_is_counted_and_the_rest_arrives() {
    let allowed = Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32");
    let mut pushes = Pushes::start_with(allowed.with("GW_RETENTION", "8s")).await;
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    pushes.event(0).await;
    pushes.receiver.got("/hook", 1).await;
    pushes.idle(&endpoint).await;
    pushes.change(&endpoint, json!({ "status": "disabled" })).await;
    pushes.events(1..4).await;
    pushes.has(&endpoint, &[("admitted", 4), ("delivered", 1), ("pending", 3), ("expired", 0)]).await;
    pushes.world.counted(topology::GW_EVENT, "gw.event.>", 0, Duration::from_secs(30)).await;
    pushes.change(&endpoint, json!({ "status": "active" })).await;
    pushes.event(4).await;
    let seen = pushes.receiver.got("/hook", 2).await;
    assert_eq!(seen[1].json()["number"], 4);
    pushes.idle(&endpoint).await;
    eventually("the ledger knows what expired", || async {
        let report = audit(&pushes.world).await;
        (term(&report["endpoints"], "endpointId", &endpoint.id)["expired"] == 3).then_some(())
    })
    .await;
    pushes.has(&endpoint, &[("admitted", 5), ("delivered", 2), ("pending", 0), ("expired", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_endpoint_waits_with_all_it_has() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| Reply::Status(if number < 3 { 500 } else { 200 }));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [2] })).await;
    pushes.events(0..3).await;
    pushes.attempts(&endpoint, 3).await;
    pushes.change(&endpoint, json!({ "status": "paused" })).await;
    pushes.events(3..5).await;
    let receiver = &pushes.receiver;
    let more = || async { (receiver.seen("/hook").len() > 3).then_some(()) };
    never("a push to a paused endpoint", Duration::from_secs(4), more).await;
    assert_eq!(pushes.timers(&endpoint).await.len(), 3, "what was due waits again");
    assert_eq!(pushes.attempts(&endpoint, 3).await.len(), 3, "and that is no attempt");
    pushes.has(&endpoint, &[("admitted", 5), ("scheduled", 3), ("pending", 2)]).await;
    pushes.change(&endpoint, json!({ "status": "active" })).await;
    pushes.receiver.got("/hook", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_endpoint_leaves_nothing_behind() {
    let mut pushes = Pushes::start().await;
    let endpoint = with_timers(&mut pushes).await;
    let deleted = pushes.world.api(Method::DELETE, &format!("/endpoints/{}", endpoint.id), None).await;
    assert_eq!(deleted.status, 200, "{:?}", deleted.body);
    pushes.forgotten(&endpoint).await;
    assert!(pushes.timers(&endpoint).await.is_empty());
    let attempts = pushes.attempts(&endpoint, 6).await;
    let dropped: Vec<_> = attempts.iter().filter(|attempt| attempt.outcome == PushOutcome::Dropped).collect();
    assert_eq!(dropped.len(), 3);
    assert!(dropped.iter().all(|attempt| attempt.reason.as_deref() == Some("deleted") && attempt.provider == "github"));
    assert_eq!(pushes.world.count(topology::GW_DLQ, "gw.dlq.>").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_deletion_is_finished_at_the_next_start() {
    let mut pushes = Pushes::start().await;
    if !pushes.world.owns_broker() {
        return tests::skip("a crash within a deletion", "the broker is shared");
    }
    let endpoint = with_timers(&mut pushes).await;
    // The row goes while the broker stands still.
    let nats = pushes.world.nats_pid().expect("a broker");
    kill(nats, Signal::STOP);
    let deleted = pushes.world.api(Method::DELETE, &format!("/endpoints/{}", endpoint.id), None).await;
    assert_eq!(deleted.status, 200, "{:?}", deleted.body);
    pushes.world.kill_gateway();
    kill(nats, Signal::CONT);
    pushes.world.start_gateway();
    pushes.world.ready().await;
    pushes.forgotten(&endpoint).await;
    assert!(pushes.timers(&endpoint).await.is_empty());
    let attempts = pushes.attempts(&endpoint, 6).await;
    assert_eq!(attempts.iter().filter(|attempt| attempt.outcome == PushOutcome::Dropped).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_an_empty_database_leaves_what_it_never_heard_of_alone() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(500));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3, 3600] })).await;
    pushes.events(0..3).await;
    pushes.attempts(&endpoint, 3).await;
    pushes.idle(&endpoint).await;
    let stranger = Setup::new().with("GW_ROLE", "deliver").start_on(&pushes.world.nats_url());
    stranger.ready().await;
    let broker = pushes.broker().await;
    // Its timers come due meanwhile, at the one gateway or the other.
    let gone = || async {
        let found = durable::find(&broker, topology::GW_EVENT, &endpoint.id).await.ok()?;
        found.is_none().then_some(())
    };
    never("the consumer is gone", Duration::from_secs(6), gone).await;
    assert_eq!(pushes.timers(&endpoint).await.len(), 3);
    let attempts = pushes.attempts(&endpoint, 3).await;
    assert!(attempts.iter().all(|attempt| attempt.outcome == PushOutcome::Scheduled), "{attempts:?}");
}
