//! Receivers that misbehave: each is named for what it does, and none moves anybody else.

use std::{io::Write as _, time::Duration};

use nats::topology;
use schemas::attempt::{Attempt, PushOutcome};
use serde_json::json;
use tests::{Receiver, Reply, Setup};

use super::{Made, Pushes};

/// Sends one event to a receiver that treats it so, beside ten to one that is well.
async fn meets(pushes: &mut Pushes, reply: Reply) -> (PushOutcome, Option<u16>, Option<String>) {
    pushes.receiver.always("/bad", reply);
    let bad = pushes.endpoint("/bad", json!({ "timeoutSeconds": 1, "retrySchedule": [3600] })).await;
    outcome(pushes, &bad).await
}

async fn outcome(pushes: &mut Pushes, bad: &Made) -> (PushOutcome, Option<u16>, Option<String>) {
    let good = pushes.endpoint("/good", json!({})).await;
    pushes.events(0..10).await;
    let delivered = pushes.attempts(&good, 10).await;
    let at_once = |attempt: &Attempt| (attempt.attempt, attempt.outcome) == (1, PushOutcome::Delivered);
    assert!(delivered.iter().all(at_once), "the good one is moved: {delivered:?}");
    let first = pushes.attempts(bad, 1).await.remove(0);
    pushes.has(&good, &[("admitted", 10), ("delivered", 10)]).await;
    pushes.has(bad, &[("admitted", 10), ("dead", 0), ("expired", 0)]).await;
    (first.outcome, first.status_code, first.error_class)
}

fn failed(class: &str) -> (PushOutcome, Option<u16>, Option<String>) {
    (PushOutcome::Scheduled, None, Some(class.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_times_out() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::Hang).await, failed("timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_trickles_its_head_times_out() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::TrickleHead).await, failed("timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_trickles_its_body_has_answered_and_is_waited_for_no_longer() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::TrickleBody).await, (PushOutcome::Delivered, Some(200), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_resets_is_tried_again() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::Reset).await, failed("reset"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_closes_within_the_head_is_tried_again() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::HalfHead).await, failed("reset"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_closes_within_the_body_has_answered() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::HalfBody).await, (PushOutcome::Delivered, Some(200), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_speaks_no_http_is_tried_again() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::Garbage).await, failed("protocol"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_of_an_answer_are_not_read() {
    let mut pushes = Pushes::start().await;
    assert_eq!(meets(&mut pushes, Reply::Large(10 << 20)).await, (PushOutcome::Delivered, Some(200), None));
    // Of each answer 16 KiB are read, and what comes until the connection is closed is written beside them.
    let (written, answers) = (pushes.receiver.written("/bad"), pushes.receiver.seen("/bad").len());
    assert!(written > 0 && written < answers * (64 << 10), "{written} bytes of {answers} answers are written");
    let log = pushes.world.gateway().log();
    assert!(!log.contains("xxxx"), "an answer is never logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_the_inside_is_a_failure_and_not_followed() {
    let mut pushes = Pushes::start().await;
    let inside = "http://169.254.169.254/latest/meta-data/".to_owned();
    let met = meets(&mut pushes, Reply::Header(307, "location", inside)).await;
    assert_eq!(met, (PushOutcome::Scheduled, Some(307), Some("redirect".to_owned())));
    let seen = pushes.receiver.got("/bad", 10).await;
    assert_eq!(seen.len(), 10, "one request an event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let mut pushes = Pushes::start().await;
    let strange = Receiver::start_self_signed().await;
    let bad = pushes.endpoint_at(&strange.url("/bad"), json!({ "retrySchedule": [3600] })).await;
    assert_eq!(outcome(&mut pushes, &bad).await, failed("tls"));
    assert!(strange.seen("/bad").is_empty(), "it gets no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_system_trusts_is_accepted() {
    let known = Receiver::start_self_signed().await;
    let mut trusted = tempfile::NamedTempFile::new().expect("a file");
    trusted.write_all(known.certificate().as_bytes()).expect("written");
    let setup = Setup::new().with("GW_ENDPOINT_ALLOW", "127.0.0.1/32");
    let mut pushes = Pushes::start_with(setup.with("SSL_CERT_FILE", trusted.path().display().to_string())).await;
    let endpoint = pushes.endpoint_at(&known.url("/hook"), json!({})).await;
    let id = pushes.event(1).await;
    let seen = known.got("/hook", 1).await;
    assert!(seen[0].id() == id && seen[0].is_signed_with(&endpoint.secret));
    pushes.adds_up(&endpoint, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_listen_is_tried_again() {
    let mut pushes = Pushes::start().await;
    let mut gone = Receiver::start().await;
    gone.stop().await;
    let bad = pushes.endpoint_at(&gone.url("/bad"), json!({ "retrySchedule": [3600] })).await;
    assert_eq!(outcome(&mut pushes, &bad).await, failed("connect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_is_tried_again() {
    let mut pushes = Pushes::start().await;
    let bad = pushes.endpoint_at("https://nobody.invalid/", json!({ "retrySchedule": [3600] })).await;
    assert_eq!(outcome(&mut pushes, &bad).await, failed("dns"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_inside_is_blocked_though_the_endpoint_is_there() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [1] })).await;
    pushes.world.stop_gateway();
    pushes.world.set("GW_ENDPOINT_ALLOW", "10.0.0.0/8");
    pushes.world.start_gateway();
    pushes.world.ready().await;
    pushes.event(1).await;
    let first = pushes.attempts(&endpoint, 1).await.remove(0);
    assert_eq!(first.error_class.as_deref(), Some("blocked"));
    let letter = pushes.letters(1).await.remove(0);
    assert_eq!(letter.subject, "gw.dlq.endpoint.permanent", "it is given up after the short schedule");
    assert!(pushes.receiver.seen("/hook").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_hang_delay_nobody() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/bad", Reply::Hang);
    for _ in 0..20 {
        pushes.endpoint("/bad", json!({ "timeoutSeconds": 30, "concurrency": 4 })).await;
    }
    pushes.receiver.always("/good", Reply::After(Duration::from_millis(1), 200));
    let good = pushes.endpoint("/good", json!({})).await;
    pushes.events(0..50).await;
    assert_eq!(pushes.attempts(&good, 50).await.len(), 50);
    let all = pushes.world.messages(topology::GW_ATTEMPT, "gw.attempt.>").await;
    assert_eq!(all.len(), 50, "all is delivered before the first of the others gives up");
}
