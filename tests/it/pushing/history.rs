//! History: only where it is wanted, and behind live events.

use std::time::Duration;

use nats::topology;
use serde_json::json;
use tests::{Reply, Seen, eventually, never};

use super::Pushes;
use crate::ledger::{audit, term};

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
    eventually("all live events are there", || async {
        (receiver.seen("/hook").iter().filter(|seen| live(seen)).count() == 20).then_some(())
    })
    .await;
    let meanwhile: Vec<Seen> = receiver.seen("/hook").split_off(before);
    let history = meanwhile.iter().filter(|seen| !live(seen)).count();
    assert!(history <= 12, "{history} of history went before the last of 20 live events");
    receiver.got("/hook", 220).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_waits_behind_live_events_is_not_lost() {
    let mut pushes = Pushes::start().await;
    let slow = |_: usize, seen: &Seen| match seen.json()["number"].as_i64() {
        Some(1_000..) => Reply::Status(200),
        _ => Reply::Hang,
    };
    pushes.receiver.on("/hook", slow);
    let endpoint = pushes.endpoint("/hook", json!({ "history": true, "concurrency": 2 })).await;
    pushes.history(0..5).await;
    pushes.receiver.got("/hook", 1).await;
    pushes.events(1_000..1_003).await;
    let world = &pushes.world;
    eventually("live events are delivered, and history waits", || async {
        let report = audit(world).await;
        let terms = term(&report["endpoints"], "endpointId", &endpoint.id);
        let wanted = [("admitted", 8), ("delivered", 3), ("pending", 5), ("lost", 0), ("error", 0)];
        wanted.iter().all(|(name, number)| terms[*name] == *number).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_begins_when_it_is_asked_for_and_ends_when_it_is_not() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    pushes.history(0..3).await;
    pushes.change(&endpoint, json!({ "history": true })).await;
    let broker = pushes.broker().await;
    let name = format!("{}-history", endpoint.id);
    let there = async |wanted: bool| {
        eventually("the consumer of history comes and goes", || async {
            let found = nats::durable::find(&broker, topology::GW_EVENT, &name).await.ok()?;
            (found.is_some() == wanted).then_some(())
        })
        .await;
    };
    there(true).await;
    pushes.history(3..5).await;
    let mut numbers: Vec<i64> =
        pushes.receiver.got("/hook", 2).await.iter().filter_map(|seen| seen.json()["number"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4]);
    pushes.change(&endpoint, json!({ "history": false })).await;
    there(false).await;
}
