//! Receivers, gateways and brokers that go away in the middle of it.

use std::{collections::HashSet, time::Duration};

use nats::{Outgoing, Timer, topology};
use rustix::process::Signal;
use schemas::{
    attempt::{Attempt, PushOutcome, Retry},
    subject,
};
use serde_json::json;
use tests::{Reply, eventually, kill};

use super::{Made, Pushes};
use crate::raw::Raw;

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_all_it_missed() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1, 2, 4, 4, 4, 4, 4, 4] })).await;
    let mut ids: HashSet<String> = pushes.events(0..5).await.into_iter().collect();
    pushes.receiver.got("/hook", 5).await;
    pushes.receiver.stop().await;
    ids.extend(pushes.events(5..45).await);
    pushes.attempts(&endpoint, 10).await;
    pushes.receiver.start_again().await;
    eventually("every event has arrived", || async {
        let seen: HashSet<String> = pushes.receiver.seen("/hook").iter().map(|seen| seen.id()).collect();
        (seen == ids).then_some(())
    })
    .await;
    assert_eq!(pushes.receiver.seen("/hook").len(), 45, "each once");
    pushes.idle(&endpoint).await;
    pushes.adds_up(&endpoint, 45).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_between_answer_and_acknowledgement_repeats_that_request_and_nothing_else() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({ "concurrency": 1 })).await;
    let mut ids = pushes.events(0..3).await;
    pushes.receiver.got("/hook", 3).await;
    pushes.settled(&endpoint).await;
    // The gateway stands still while the receiver answers, so that nothing of the answer is stored.
    let gateway = pushes.world.gateway().pid();
    pushes.receiver.on("/hook", move |number, _| {
        if number == 3 {
            kill(gateway, Signal::STOP);
        }
        // A process with many threads stands still a moment later.
        Reply::After(Duration::from_millis(500), 200)
    });
    ids.push(pushes.event(3).await);
    pushes.receiver.got("/hook", 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    pushes.world.kill_gateway();
    pushes.world.start_gateway();
    pushes.world.ready().await;
    ids.extend(pushes.events(4..6).await);
    pushes.settled(&endpoint).await;
    let seen: Vec<String> = pushes.receiver.got("/hook", 7).await.iter().map(tests::Seen::id).collect();
    let repeated: Vec<&String> = ids.iter().filter(|id| seen.iter().filter(|seen| seen == id).count() > 1).collect();
    assert_eq!((seen.len(), repeated), (7, vec![&ids[3]]));
    let attempts = pushes.attempts(&endpoint, 6).await;
    assert!(attempts.iter().all(|attempt| attempt.outcome == PushOutcome::Delivered));
    assert_eq!(attempts.len(), 6, "and it is recorded once");
    pushes.adds_up(&endpoint, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_away_costs_no_event_and_no_second_request_of_what_was_settled() {
    let mut pushes = Pushes::start().await;
    if !pushes.world.owns_broker() {
        return tests::skip("a broker that was away", "the broker is shared");
    }
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    pushes.events(0..20).await;
    pushes.receiver.got("/hook", 20).await;
    pushes.idle(&endpoint).await;
    // Acknowledgements are on disk a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    pushes.world.kill_nats();
    let ids = loop {
        let broker_is_back = pushes.world.get("/readyz").await.status == 200;
        if broker_is_back {
            break pushes.events(20..40).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    pushes.receiver.got("/hook", 40).await;
    let seen: Vec<String> = pushes.receiver.seen("/hook")[20..].iter().map(tests::Seen::id).collect();
    assert_eq!(seen.iter().collect::<HashSet<_>>(), ids.iter().collect::<HashSet<_>>());
    assert_eq!(pushes.receiver.seen("/hook").len(), 40);
    pushes.idle(&endpoint).await;
    pushes.adds_up(&endpoint, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_handed_out_again_while_it_is_in_hand_is_requested_once() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::After(Duration::from_secs(3), 200));
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    pushes.event(1).await;
    pushes.receiver.got("/hook", 1).await;
    // As a broker does that heard nothing of it for a minute.
    let mut raw = Raw::connect(&pushes.world.nats_url()).await;
    let settles = format!("$JS.ACK.{}.{}.1.1.1.{}.0", topology::GW_EVENT, endpoint.id, 1_780_000_000_000_000_000_u64);
    raw.publish(&settles, "-NAK").await.expect("it is ours");
    let broker = pushes.broker().await;
    eventually("it is handed out again", || async {
        let info = topology::consumer_info(&broker, topology::GW_EVENT, &endpoint.id).await.ok()?;
        (info.num_redelivered == 1).then_some(())
    })
    .await;
    let delivered = pushes.attempts(&endpoint, 1).await;
    assert_eq!(delivered[0].outcome, PushOutcome::Delivered);
    pushes.idle(&endpoint).await;
    assert_eq!(pushes.receiver.seen("/hook").len(), 1);
    pushes.adds_up(&endpoint, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_finishes_what_is_under_way_and_gives_the_rest_back_at_once() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::After(Duration::from_millis(500), 200));
    let endpoint = pushes.endpoint("/hook", json!({ "concurrency": 2 })).await;
    pushes.events(0..10).await;
    pushes.receiver.got("/hook", 3).await;
    assert_eq!(pushes.world.stop_gateway().code(), Some(0));
    pushes.world.start_gateway();
    pushes.world.ready().await;
    pushes.receiver.always("/hook", Reply::Status(200));
    let seen = pushes.receiver.got("/hook", 10).await;
    let different: HashSet<String> = seen.iter().map(tests::Seen::id).collect();
    assert_eq!((seen.len(), different.len()), (10, 10), "none twice, none late");
    pushes.idle(&endpoint).await;
    pushes.adds_up(&endpoint, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_had_settled_is_not_requested_again() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| if number == 0 { Reply::Status(500) } else { Reply::Hang });
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1, 1, 1, 1] })).await;
    // One failed and hangs in its second request, the others hang in their first.
    let failed = pushes.event(0).await;
    pushes.receiver.got("/hook", 2).await;
    let told = pushes.event(1).await;
    pushes.receiver.got("/hook", 3).await;
    let namesake = pushes.event(2).await;
    pushes.receiver.got("/hook", 4).await;
    let first = pushes.attempts(&endpoint, 1).await.remove(0);
    assert_eq!((first.outcome, &first.event_id), (PushOutcome::Scheduled, &failed));
    // As if two had been answered, and the process had ended between its last write and the acknowledgement.
    let ended = Attempt { outcome: PushOutcome::Delivered, next_at: None, ..first.clone() };
    let delivered = Attempt { event_id: told, sequence: first.sequence + 1, ..ended.clone() };
    // What is known of the third is of an event that had its id, elsewhere in the stream.
    let earlier = Attempt { event_id: namesake.clone(), ..ended };
    let again = Attempt { attempt: 2, ..first };
    let timer = third_timer(&again);
    pushes.publish(vec![recorded(&endpoint, &delivered), recorded(&endpoint, &earlier)]).await;
    pushes.publish(vec![timer]).await;
    pushes.publish(vec![recorded(&endpoint, &again)]).await;
    pushes.world.kill_gateway();
    pushes.receiver.always("/hook", Reply::Status(200));
    pushes.world.start_gateway();
    pushes.world.ready().await;
    pushes.receiver.got("/hook", 6).await;
    pushes.settled(&endpoint).await;
    let seen: Vec<String> = pushes.receiver.seen("/hook")[4..].iter().map(tests::Seen::id).collect();
    assert_eq!(seen, [failed, namesake], "the timer's request, and the one of the third");
    pushes.adds_up(&endpoint, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_push_came_through_before_a_kill_is_removed_after_it() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.on("/hook", |number, _| if number < 2 { Reply::Status(500) } else { Reply::Hang });
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1] })).await;
    pushes.event(0).await;
    let letter = pushes.letters(1).await.remove(0).sequence;
    let dead = pushes.attempts(&endpoint, 2).await.remove(1);
    let (code, said, _) = pushes.world.gw(&["dlq", "redrive", &letter.to_string()]).await;
    assert_eq!((code, said.trim()), (0, "sent back 1"));
    pushes.receiver.got("/hook", 3).await;
    // As if it had been answered, and the process had ended with the record of it.
    let outcome = PushOutcome::Delivered;
    let delivered = Attempt { attempt: 1, outcome, reason: None, letter: Some(letter), ..dead };
    pushes.publish(vec![recorded(&endpoint, &delivered)]).await;
    pushes.world.kill_gateway();
    pushes.receiver.always("/hook", Reply::Status(200));
    pushes.world.start_gateway();
    pushes.world.ready().await;
    pushes.settled(&endpoint).await;
    assert_eq!(pushes.receiver.seen("/hook").len(), 3, "no request was made again");
    pushes.world.counted(topology::GW_DLQ, subject::DEAD, 0, Duration::from_secs(20)).await;
    pushes.adds_up(&endpoint, 1).await;
}

fn recorded(endpoint: &Made, attempt: &Attempt) -> Outgoing {
    let outcome = attempt.outcome.as_str();
    Outgoing {
        subject: subject::attempt(&attempt.org_id, &endpoint.id, &attempt.event_id),
        id: format!("{}:{}:{}:{outcome}", endpoint.id, attempt.event_id, attempt.attempt),
        payload: serde_json::to_vec(attempt).expect("JSON").into(),
        ..Outgoing::default()
    }
}

/// The timer of a push's third request.
fn third_timer(second: &Attempt) -> Outgoing {
    let retry = Retry {
        org_id: second.org_id.clone(),
        endpoint_id: second.endpoint_id.clone(),
        event_id: second.event_id.clone(),
        stream: topology::GW_EVENT.to_owned(),
        sequence: second.sequence,
        event_sequence: second.sequence,
        attempt: 3,
        replay: None,
        only_failed: false,
    };
    Outgoing {
        subject: subject::retry_wait(&retry.endpoint_id, &retry.event_id),
        id: "third".to_owned(),
        payload: serde_json::to_vec(&retry).expect("JSON").into(),
        timer: Some(Timer { at: second.at + 15_000, target: subject::retry_due(&retry.endpoint_id, &retry.event_id) }),
        ..Outgoing::default()
    }
}
