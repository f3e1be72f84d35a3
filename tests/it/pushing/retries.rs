//! What follows a failure: timers held by the broker, and dead letters.

use nats::{Mode, Outgoing, Publisher, topology};
use schemas::{
    attempt::{PushOutcome, Retry},
    header, subject,
};
use serde_json::json;
use tests::Reply;
use tokio::time::Instant;

use super::{Pushes, status::no_timers};
use crate::ledger::{audit, term};

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_waits_in_the_broker_and_is_tried_again_with_the_same_id() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| Reply::Status(if number == 0 { 500 } else { 204 }));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3, 60] })).await;
    let id = pushes.event(1).await;
    let first = pushes.attempts(&endpoint, 1).await.remove(0);
    assert_eq!((first.outcome, first.status_code, first.attempt), (PushOutcome::Scheduled, Some(500), 1));
    assert_eq!(first.error_class.as_deref(), Some("status"));
    let wait = first.next_at.expect("a time") - first.at;
    assert!((2_400..4_000).contains(&wait), "3 s with a fifth of jitter: {wait} ms");
    let (message, retry) = pushes.timers(&endpoint).await.remove(0);
    assert_eq!(message.subject, subject::retry_wait(&endpoint.id, &id));
    assert_eq!((retry.attempt, retry.sequence, retry.stream.as_str()), (2, first.sequence, topology::GW_EVENT));
    pushes.idle(&endpoint).await;
    let seen = pushes.receiver.got("/hook", 2).await;
    assert_eq!((seen[0].id(), seen[1].id()), (id.clone(), id));
    assert_eq!(seen[0].body, seen[1].body);
    assert!(seen[1].is_signed_with(&endpoint.secret));
    assert!(seen[1].at >= first.next_at.expect("a time") - 5, "not before its time");
    let second = pushes.attempts(&endpoint, 2).await.remove(1);
    assert_eq!((second.outcome, second.attempt), (PushOutcome::Delivered, 2));
    assert!(pushes.timers(&endpoint).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_push_is_a_dead_letter_that_holds_the_whole_event() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(500));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1] })).await;
    let id = pushes.event(7).await;
    let letter = pushes.letters(1).await.remove(0);
    assert_eq!(letter.subject, "gw.dlq.endpoint.exhausted");
    let seen = pushes.receiver.seen("/hook");
    assert_eq!(seen.len(), 2);
    assert_eq!(letter.payload, seen[0].body);
    for (name, value) in [
        (header::DLQ_REASON, "exhausted"),
        (header::DLQ_STREAM, topology::GW_EVENT),
        (header::DLQ_SEQUENCE, "1"),
        (header::ENDPOINT, &endpoint.id),
        (header::ATTEMPT, "2"),
        ("ce-id", &id),
    ] {
        assert_eq!(letter.header(name), Some(value), "{name}");
    }
    let last = pushes.attempts(&endpoint, 2).await.remove(1);
    assert_eq!((last.outcome, last.reason.as_deref()), (PushOutcome::Dead, Some("exhausted")));

    // Sent back, it is pushed with the same id; when it fails again it is a dead letter again.
    redrive(&mut pushes, &endpoint.id, &id, letter.sequence).await;
    pushes.attempts(&endpoint, 4).await;
    let again = another(&mut pushes, letter.sequence).await;
    assert_eq!(again.header(header::DLQ_SEQUENCE), Some("1"), "it names its place in the events");
    assert_eq!(again.header(header::DLQ_REASON), Some("exhausted"));
    assert_eq!(again.headers().filter(|(name, _)| *name == header::ENDPOINT).count(), 1);
    pushes.receiver.always("/hook", Reply::Status(200));
    redrive(&mut pushes, &endpoint.id, &id, again.sequence).await;
    let seen = pushes.receiver.got("/hook", 5).await;
    assert!(seen.iter().all(|seen| seen.id() == id && seen.body == letter.payload));
    let all = pushes.attempts(&endpoint, 5).await;
    let outcomes: Vec<PushOutcome> = all.iter().map(|attempt| attempt.outcome).collect();
    use PushOutcome::{Dead, Delivered, Scheduled};
    assert_eq!(outcomes, [Scheduled, Dead, Scheduled, Dead, Delivered]);
    pushes.world.counted(topology::GW_DLQ, "gw.dlq.>", 0, std::time::Duration::from_secs(10)).await;
}

/// The one dead letter that is left, which is not this one.
async fn another(pushes: &mut Pushes, before: u64) -> nats::Message {
    loop {
        let letters = pushes.letters(1).await;
        if let [only] = letters.as_slice()
            && only.sequence != before
        {
            return only.clone();
        }
    }
}

async fn redrive(pushes: &mut Pushes, endpoint: &str, event: &str, letter: u64) {
    due(pushes, Retry { stream: topology::GW_DLQ.to_owned(), sequence: letter, ..first(endpoint, event) }).await;
}

/// The first event's push to an endpoint.
pub(super) fn first(endpoint: &str, event: &str) -> Retry {
    Retry {
        org_id: "org_1".to_owned(),
        endpoint_id: endpoint.to_owned(),
        event_id: event.to_owned(),
        stream: topology::GW_EVENT.to_owned(),
        sequence: 1,
        event_sequence: 1,
        attempt: 1,
        replay: None,
        only_failed: false,
    }
}

/// Has a push be due now.
pub(super) async fn due(pushes: &mut Pushes, retry: Retry) {
    let (publisher, group) = Publisher::new(&pushes.broker().await, Mode::Pipeline);
    tokio::spawn(group);
    let message = Outgoing {
        subject: subject::retry_due(&retry.endpoint_id, &retry.event_id),
        id: format!("due:{retry:?}"),
        payload: serde_json::to_vec(&retry).expect("JSON").into(),
        ..Outgoing::default()
    };
    publisher.publish(message, Instant::now() + std::time::Duration::from_secs(5)).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_meanwhile_is_not_pushed_again_for_having_failed() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    let id = pushes.event(1).await;
    pushes.attempts(&endpoint, 1).await;
    due(&mut pushes, Retry { attempt: 2, ..first(&endpoint.id, &id) }).await;
    let failed = Some("rpl_1".to_owned());
    due(&mut pushes, Retry { replay: failed, only_failed: true, ..first(&endpoint.id, &id) }).await;
    pushes.settled(&endpoint).await;
    assert_eq!(pushes.receiver.seen("/hook").len(), 1);
    due(&mut pushes, Retry { replay: Some("rpl_2".to_owned()), ..first(&endpoint.id, &id) }).await;
    let last = pushes.attempts(&endpoint, 2).await.remove(1);
    assert_eq!(last.replay.as_deref(), Some("rpl_2"), "who asks for all gets it again");
    for (attempt, status) in [(3, "paused"), (4, "disabled")] {
        pushes.change(&endpoint, json!({ "status": status })).await;
        due(&mut pushes, Retry { attempt, ..first(&endpoint.id, &id) }).await;
        pushes.settled(&endpoint).await;
    }
    no_timers(&mut pushes, &endpoint).await;
    assert_eq!(pushes.world.count(topology::GW_DLQ, "gw.dlq.>").await, 0);
    pushes.has(&endpoint, &[("admitted", 1), ("delivered", 1), ("timers", 0), ("error", 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_comes_through_ends_the_timer_of_its_event() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| Reply::Status(if number == 0 { 500 } else { 200 }));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3600] })).await;
    let id = pushes.event(1).await;
    pushes.attempts(&endpoint, 1).await;
    assert_eq!(pushes.timers(&endpoint).await.len(), 1);
    due(&mut pushes, Retry { replay: Some("rpl_1".to_owned()), ..first(&endpoint.id, &id) }).await;
    let last = pushes.attempts(&endpoint, 2).await.remove(1);
    assert_eq!((last.outcome, last.attempt, last.replay.as_deref()), (PushOutcome::Delivered, 1, Some("rpl_1")));
    no_timers(&mut pushes, &endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_dies_after_the_short_schedule() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(404));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1, 1, 1, 3600, 86400] })).await;
    pushes.event(1).await;
    let letter = pushes.letters(1).await.remove(0);
    assert_eq!(letter.subject, "gw.dlq.endpoint.permanent");
    assert_eq!(pushes.receiver.seen("/hook").len(), 4);
    let last = pushes.attempts(&endpoint, 4).await.remove(3);
    assert_eq!((last.reason.as_deref(), last.status_code), (Some("permanent"), Some(404)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_time_gets_it() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| match number {
        0 => Reply::Header(429, "retry-after", "4".to_owned()),
        _ => Reply::Status(200),
    });
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1] })).await;
    pushes.event(1).await;
    let first = pushes.attempts(&endpoint, 1).await.remove(0);
    assert_eq!(first.next_at, Some(first.at + 4_000));
    let seen = pushes.receiver.got("/hook", 2).await;
    assert!(seen[1].at - seen[0].at >= 3_900);
    pushes.receiver.always("/busy", Reply::Header(503, "retry-after", "7000".to_owned()));
    let busy = pushes.endpoint("/busy", json!({ "retrySchedule": [1] })).await;
    pushes.event(2).await;
    let first = pushes.attempts(&busy, 1).await.remove(0);
    assert_eq!((first.status_code, first.next_at), (Some(503), Some(first.at + 7_000_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_disables_its_endpoint() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| Reply::Status(if number == 0 { 500 } else { 410 }));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3600] })).await;
    pushes.event(1).await;
    pushes.attempts(&endpoint, 1).await;
    pushes.event(2).await;
    let letters = pushes.letters(2).await;
    assert!(letters.iter().all(|letter| letter.subject == "gw.dlq.endpoint.gone"), "{letters:?}");
    let shown = pushes.status(&endpoint).await;
    assert_eq!((&shown["status"], &shown["statusReason"]), (&json!("disabled"), &json!("gone")));
    pushes.event(3).await;
    let attempts = pushes.attempts(&endpoint, 3).await;
    assert_eq!(attempts.len(), 3);
    assert_eq!(pushes.receiver.seen("/hook").len(), 2, "the third event keeps its place");
    let timers = pushes.timers(&endpoint).await;
    assert!(timers.is_empty(), "{timers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_nobody_settles_ends_its_push_and_it_adds_up() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::Status(500));
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [5, 3600] })).await;
    pushes.event(1).await;
    pushes.attempts(&endpoint, 1).await;
    pushes.as_roles("ingest,router,vault,ledger").await;
    let broker = pushes.broker().await;
    let mut pull = nats::Pull::open(&broker, topology::GW_RETRY, topology::RETRY).await.expect("a pull");
    for _ in 1..topology::MAX_DELIVER {
        let timer = pull.next(1).await.expect("the timer, when it is due");
        nats::give_back(&broker, &timer).await;
    }
    drop(pull);
    pushes.as_roles("").await;
    // What was in hand when the broker stopped is handed out again after a minute.
    let broker = pushes.broker().await;
    let minutes = std::time::Duration::from_secs(120);
    tests::eventually_within(minutes, "it is buried", || async {
        let letters =
            nats::count(&broker, topology::GW_DLQ, &["gw.dlq.endpoint.exhausted".to_owned()], 1).await.ok()?;
        (letters == 1).then_some(())
    })
    .await;
    let letter = pushes.letters(1).await.remove(0);
    let event = pushes.world.messages(topology::GW_EVENT, "gw.event.>").await.remove(0);
    assert_eq!((letter.header("ce-id"), &letter.payload), (event.header("ce-id"), &event.payload), "it is whole");
    let last = pushes.attempts(&endpoint, 2).await.remove(1);
    assert_eq!((last.outcome, last.reason.as_deref()), (PushOutcome::Dead, Some("exhausted")));
    let report = audit(&pushes.world).await;
    let terms = term(&report["endpoints"], "endpointId", &endpoint.id);
    let counted = ["admitted", "dead", "scheduled", "error"].map(|name| terms[name].as_i64());
    assert_eq!(counted, [Some(1), Some(1), Some(0), Some(0)], "{report}");
    assert_eq!(pushes.world.count(topology::GW_DLQ, "gw.dlq.>").await, 1, "the event's letter is the only one");
}
