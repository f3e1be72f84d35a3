//! An endpoint that fails again and again is left alone, and then probed by one push.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nats::topology;
use reqwest::Method;
use serde_json::json;
use tests::{Reply, eventually, never};

use super::{Made, Pushes, status::no_timers};

/// Fails until it is told to be well.
fn fails_until(pushes: &Pushes) -> Arc<AtomicBool> {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    pushes.receiver.on("/hook", move |_, _| Reply::Status(if is_well.load(Ordering::SeqCst) { 200 } else { 500 }));
    well
}

/// Whether its consumer is paused now, its `max_ack_pending`, and what its metadata say of the breaker.
async fn seen_by_the_broker(pushes: &mut Pushes, endpoint: &Made) -> (bool, i64, Option<String>) {
    let broker = pushes.broker().await;
    let info = topology::consumer_info(&broker, topology::GW_EVENT, &endpoint.id).await.expect("a consumer");
    (info.paused, info.config.max_ack_pending, info.config.metadata.get("gw-breaker").cloned())
}

/// Waits until its consumer is paused for the so-manieth time, and hands out one at a time after that.
async fn open_at(pushes: &mut Pushes, endpoint: &Made, times: u32) {
    let mut shown = (false, 0, None);
    for _ in 0..100 {
        shown = seen_by_the_broker(pushes, endpoint).await;
        let open = shown.2.as_ref().is_some_and(|text| text.starts_with(&format!("open {times} until ")));
        if shown.0 && shown.1 == 1 && open {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is not paused for the {times}. time: {shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_failures_the_backlog_waits_in_the_log_and_exactly_one_push_probes() {
    let mut pushes = Pushes::start().await;
    let well = fails_until(&pushes);
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3600], "concurrency": 4 })).await;
    pushes.events(0..60).await;
    eventually("the breaker is open", || async {
        (pushes.world.metric("gw_endpoint_breaker_open").await > 0.5).then_some(())
    })
    .await;
    open_at(&mut pushes, &endpoint, 1).await;
    assert!(pushes.status(&endpoint).await["breakerOpenUntil"].is_string(), "its owner is told");
    eventually("the trace of one that waits says why", || async {
        let trace = pushes.world.api(Method::GET, "/deliveries/github/delivery-59", None).await.body;
        (trace.pointer("/events/0/pushes/0/waitsFor") == Some(&json!("breaker"))).then_some(())
    })
    .await;
    let before = pushes.receiver.seen("/hook").len();
    assert!((10..=13).contains(&before), "what was under way ends: {before}");
    // The first pause is 5 s, the second 10 s, each within a fifth.
    pushes.receiver.got("/hook", before + 1).await;
    open_at(&mut pushes, &endpoint, 2).await;
    let receiver = &pushes.receiver;
    let more = || async { (receiver.seen("/hook").len() > before + 1).then_some(()) };
    never("a second probe", Duration::from_secs(6), more).await;
    well.store(true, Ordering::SeqCst);
    // A failed event has its timer; all others are delivered from the log.
    let failed = before + 1;
    pushes.receiver.got("/hook", 60).await;
    pushes.idle(&endpoint).await;
    assert_eq!(pushes.timers(&endpoint).await.len(), failed);
    let (paused, pending, text) = seen_by_the_broker(&mut pushes, &endpoint).await;
    assert_eq!((paused, pending, text), (false, 4, None));
    let (failed, others) = (i64::try_from(failed).expect("few"), 60 - i64::try_from(failed).expect("few"));
    pushes.has(&endpoint, &[("admitted", 60), ("scheduled", failed), ("delivered", others)]).await;
    assert!(pushes.world.metric("gw_endpoint_breaker_open").await < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_send_one_probe_together_and_the_breaker_outlives_them() {
    let mut pushes = Pushes::start().await;
    let well = fails_until(&pushes);
    let endpoint = pushes.endpoint("/hook", json!({ "retrySchedule": [3], "concurrency": 4 })).await;
    let other = pushes.another_process().await;
    pushes.events(0..40).await;
    // Each process counts for itself, and then both leave it alone; timers fall due meanwhile.
    for world in [&pushes.world, &other] {
        eventually("the breaker is open in both", || async {
            (world.metric("gw_endpoint_breaker_open").await > 0.5).then_some(())
        })
        .await;
    }
    let before = pushes.receiver.seen("/hook").len();
    pushes.receiver.got("/hook", before + 1).await;
    let receiver = &pushes.receiver;
    let more = || async { (receiver.seen("/hook").len() > before + 1).then_some(()) };
    never("a second probe", Duration::from_secs(5), more).await;
    // A process that starts anew knows it too.
    drop(other);
    pushes.world.kill_gateway();
    pushes.world.start_gateway();
    pushes.world.ready().await;
    eventually("the breaker is still open", || async {
        (pushes.world.metric("gw_endpoint_breaker_open").await > 0.5).then_some(())
    })
    .await;
    well.store(true, Ordering::SeqCst);
    // What the two had in hand comes back when the broker has waited for it, a minute.
    pushes.settled(&endpoint).await;
    assert!(pushes.world.metric("gw_endpoint_breaker_open").await < 0.5);
    no_timers(&mut pushes, &endpoint).await;
    pushes.settled(&endpoint).await;
    pushes.adds_up(&endpoint, 40).await;
}
