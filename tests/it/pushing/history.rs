//! History: only where it is wanted, and behind live events.

use std::time::Duration;

use nats::topology;
use serde_json::json;
use tests::{Reply, Seen, never};

use super::Pushes;

#[tokio::test(flavor = "multi_thread")]
async fn history_is_pushed_only_where_it_is_wanted() {
    let mut pushes = Pushes::start().await;
    let wants = pushes.endpoint("/wants", json!({ "history": true })).await;
    pushes.endpoint("/other", json!({})).await;
    pushes.history(0..5).await;
    pushes.events(5..6).await;
    pushes.receiver.got("/wants", 6).await;
    pushes.receiver.got("/other", 1).await;
    let receiver = &pushes.receiver;
    let more = || async { (receiver.seen("/other").len() > 1).then_some(()) };
    never("history where it is not wanted", Duration::from_millis(500), more).await;
    let broker = pushes.broker().await;
    let history = format!("{}-history", wants.id);
    let info = topology::consumer_info(&broker, topology::GW_EVENT, &history).await.expect("a consumer of its own");
    assert_eq!(info.config.filter_subject, "gw.history.event.org_1.>");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_go_before_a_backlog_of_history() {
    let mut pushes = Pushes::start().await;
    pushes.receiver.always("/hook", Reply::After(Duration::from_millis(50), 200));
    pushes.endpoint("/hook", json!({ "history": true, "concurrency": 2 })).await;
    pushes.history(0..200).await;
    pushes.receiver.got("/hook", 10).await;
    let before = pushes.receiver.seen("/hook").len();
    pushes.events(1_000..1_020).await;
    let live = |seen: &Seen| seen.json()["number"].as_i64().is_some_and(|number| number >= 1_000);
    let receiver = &pushes.receiver;
    tests::eventually("all live events are there", || async {
        (receiver.seen("/hook").iter().filter(|seen| live(seen)).count() == 20).then_some(())
    })
    .await;
    let meanwhile: Vec<Seen> = receiver.seen("/hook").split_off(before);
    let history = meanwhile.iter().filter(|seen| !live(seen)).count();
    assert!(history <= 12, "{history} of history went before the last of 20 live events");
    receiver.got("/hook", 220).await;
}

