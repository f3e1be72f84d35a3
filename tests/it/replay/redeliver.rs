//! Stored events, sent again.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use nats::topology::{self, GW_JOB, GW_REPLAY, GW_RETRY, RETRY};
use reqwest::Method;
use schemas::{header, subject};
use serde_json::json;
use tests::{Receiver, Reply, Setup, eventually, eventually_within, never};

use super::Ground;
use crate::{
    relay::{Fault, Relay},
    server::Server,
};

fn set(ids: &[String]) -> BTreeSet<&str> {
    ids.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_in_the_middle_of_a_replay_resumes_it_and_every_event_arrives_once() {
    killed_in_the_middle("batch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_so_too_where_each_message_is_stored_by_itself() {
    killed_in_the_middle("pipeline").await;
}

async fn killed_in_the_middle(mode: &str) {
    let mut ground = Ground::publishing(mode).await;
    let ids = ground.events("org_1", 0..3_000).await;
    let replay = ground.replay(json!({ "mode": "redeliver", "to": "subject", "ratePerSecond": 1_500 })).await;
    let filter = subject::replayed_of(&replay);
    ground.world.stored(GW_REPLAY, &filter, 300).await;
    ground.world.kill_gateway();
    let before = ground.world.count(GW_REPLAY, &filter).await;
    assert!(before < 3_000, "it was killed in the middle");
    // What comes after the replay began is no part of it.
    ground.world.start_gateway();
    ground.world.ready().await;
    ground.events("org_1", 3_000..3_010).await;
    let ended = ground.ended(&replay).await;
    assert_eq!((&ended["status"], &ended["progress"]), (&json!("done"), &json!(1.0)), "{ended}");
    let messages = ground.world.messages(GW_REPLAY, &filter).await;
    let seen: Vec<String> = messages.iter().map(|message| message.header("ce-id").expect("an id").to_owned()).collect();
    assert_eq!((seen.len(), set(&seen)), (3_000, set(&ids)));
    for message in &messages[..10] {
        assert_eq!(message.header(header::ORIGIN), Some("replay"));
        assert_eq!(message.header(header::REPLAY), Some(replay.as_str()));
        assert_eq!(message.header("ce-type"), Some("github:push"));
        assert!(message.payload.starts_with(b"{\"deliveryId\":\"delivery-"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_a_network_holds_back_are_not_made_again() {
    let server = Server::single().await;
    // Longer than the worker waits for them.
    let relay = Relay::before(&server.url(None), Fault::HoldCopies(Duration::from_secs(9))).await;
    let world = Setup::new().with("GW_PUBLISH", "pipeline").start_on(&relay.url());
    world.ready().await;
    let mut ground = Ground { world, receiver: Receiver::start().await };
    let ids = ground.events("org_1", 0..600).await;
    let replay = ground.replay(json!({ "mode": "redeliver", "to": "subject", "ratePerSecond": "max" })).await;
    let ended = eventually_within(Duration::from_secs(60), "the replay ends", || async {
        let shown = ground.look(&replay).await;
        (shown["status"] != "running").then_some(shown)
    })
    .await;
    assert_eq!((&ended["status"], relay.faults()), (&json!("done"), 1), "{ended}");
    let copies = ground.world.messages(GW_REPLAY, &subject::replayed_of(&replay)).await;
    let seen: Vec<String> = copies.iter().map(|copy| copy.header("ce-id").expect("an id").to_owned()).collect();
    assert_eq!((seen.len(), set(&seen)), (600, set(&ids)));
    let log = ground.world.gateway().log();
    assert!(log.contains("replay.retry"), "the worker was to give up waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_replay_stops_and_leaves_nothing_to_do() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..2_000).await;
    let replay = ground.replay(json!({ "mode": "redeliver", "to": "subject", "ratePerSecond": 200 })).await;
    let filter = subject::replayed_of(&replay);
    ground.world.stored(GW_REPLAY, &filter, 50).await;
    let cancelled = ground.world.api(Method::POST, &format!("/replays/{replay}/cancel"), None).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")));
    // The worker may be in the middle of a step; it cannot take another.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let stopped = ground.world.count(GW_REPLAY, &filter).await;
    assert!(stopped < 2_000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ground.world.count(GW_REPLAY, &filter).await, stopped);
    assert_eq!(ground.world.count(GW_JOB, subject::JOB_TASKS).await, 0);
    assert_eq!(ground.world.count(GW_JOB, subject::JOB_TIMERS).await, 0);
    let again = ground.world.api(Method::POST, &format!("/replays/{replay}/cancel"), None).await;
    assert_eq!((again.status, &again.body["status"]), (200, &json!("cancelled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_the_replay_then_publishes_and_publishes_nothing() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..120).await;
    ground.events("org_2", 0..80).await;
    for (wishes, expected) in [
        (json!({}), 200),
        (json!({ "orgId": "org_2" }), 80),
        (json!({ "type": "github:push", "provider": "github" }), 200),
        (json!({ "type": "github:issue.*" }), 0),
        (json!({ "fromSequence": 11, "toSequence": 20 }), 10),
        (json!({ "until": "1h" }), 0),
    ] {
        let mut wishes = wishes;
        wishes["mode"] = json!("redeliver");
        wishes["to"] = json!("subject");
        wishes["ratePerSecond"] = json!("max");
        wishes["dryRun"] = json!(true);
        let counted = ground.replayed(wishes.clone()).await;
        assert_eq!(counted["published"], json!(expected), "{wishes}: {counted}");
        let id = counted["id"].as_str().expect("an id");
        assert_eq!(ground.world.count(GW_REPLAY, &subject::replayed_of(id)).await, 0);
        wishes["dryRun"] = json!(false);
        let done = ground.replayed(wishes.clone()).await;
        for count in ["read", "published", "organisations", "skipped"] {
            assert_eq!(done[count], counted[count], "{count} of {wishes}");
        }
        let id = done["id"].as_str().expect("an id");
        assert_eq!(ground.world.count(GW_REPLAY, &subject::replayed_of(id)).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_no_faster_than_its_cap() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..600).await;
    let done = ground.replayed(json!({ "mode": "redeliver", "to": "subject", "ratePerSecond": 200 })).await;
    let time = |name: &str| schemas::instant::parse(done[name].as_str().expect("a time")).expect("a time");
    let took = time("endedAt") - time("startedAt");
    assert!(took >= 2_500, "600 events at 200 a second took {took} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_stored_again_as_fast_as_may_be_keep_their_order() {
    let mut ground = Ground::start().await;
    let ids = ground.events("org_1", 0..5_000).await;
    let wishes = json!({ "mode": "redeliver", "to": "subject", "ratePerSecond": "max" });
    let done = ground.replayed(wishes).await;
    let filter = subject::replayed_of(done["id"].as_str().expect("an id"));
    let messages = ground.world.messages(GW_REPLAY, &filter).await;
    let seen: Vec<&str> = messages.iter().filter_map(|message| message.header("ce-id")).collect();
    assert_eq!((seen, &done["published"]), (ids.iter().map(String::as_str).collect(), &json!(5_000)), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failed_pushes_are_made_again_and_with_the_ids_they_had() {
    let mut ground = Ground::start().await;
    let odd = |seen: &tests::Seen| seen.json()["number"].as_u64().expect("a number") % 2 == 1;
    ground.receiver.on(
        "/hook",
        move |_, seen| {
            if odd(seen) { tests::Reply::Status(500) } else { tests::Reply::Status(204) }
        },
    );
    let endpoint = ground.endpoint("org_1", "/hook").await;
    let ids = ground.events("org_1", 0..20).await;
    // Each odd one twice: then it is dead.
    ground.receiver.got("/hook", 30).await;
    ground.world.stored(nats::topology::GW_DLQ, "gw.dlq.endpoint.exhausted", 10).await;
    ground.receiver.always("/hook", tests::Reply::Status(204));
    let wishes = json!({ "mode": "redeliver", "endpointIds": [endpoint], "onlyFailed": true, "dryRun": true });
    let counted = ground.replayed(wishes).await;
    assert_eq!((&counted["published"], &counted["skipped"]["not-failed"]), (&json!(10), &json!(10)), "{counted}");
    let done = ground.replayed(json!({ "mode": "redeliver", "onlyFailed": true, "since": "1h" })).await;
    assert_eq!(done["endpoints"][&endpoint], json!(10), "{done}");
    let seen = ground.receiver.got("/hook", 40).await;
    let again: HashSet<String> = seen[30..].iter().map(tests::Seen::id).collect();
    let failed: HashSet<String> = ids.into_iter().skip(1).step_by(2).collect();
    assert_eq!(again, failed);
    eventually("nothing has failed any more", || async {
        let counted = ground.replayed(json!({ "mode": "redeliver", "onlyFailed": true, "dryRun": true })).await;
        (counted["published"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_reaches_the_endpoints_that_were_chosen_and_no_other() {
    let mut ground = Ground::start().await;
    let chosen = ground.endpoint("org_1", "/chosen").await;
    ground.endpoint("org_1", "/other").await;
    ground.endpoint("org_2", "/foreign").await;
    ground.events("org_1", 0..5).await;
    ground.receiver.got("/chosen", 5).await;
    ground.receiver.got("/other", 5).await;
    let done = ground.replayed(json!({ "mode": "redeliver", "endpointIds": [chosen], "fromSequence": 2 })).await;
    assert_eq!(done["published"], json!(4), "{done}");
    ground.receiver.got("/chosen", 9).await;
    let receiver = &ground.receiver;
    never("another gets it", Duration::from_millis(500), || async {
        (receiver.seen("/other").len() > 5 || !receiver.seen("/foreign").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_replay_left_due_is_not_pushed() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..400).await;
    ground.receiver.always("/hook", Reply::After(Duration::from_millis(50), 200));
    ground.endpoint("org_1", "/hook").await;
    let replay = ground.replay(json!({ "mode": "redeliver", "orgId": "org_1" })).await;
    ground.receiver.got("/hook", 5).await;
    let cancelled = ground.world.api(Method::POST, &format!("/replays/{replay}/cancel"), None).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let broker = ground.world.broker().await;
    eventually("nothing is due any more", || async {
        let due = topology::consumer_info(&broker, GW_RETRY, RETRY).await.ok()?;
        (due.num_pending == 0 && due.num_ack_pending == 0).then_some(())
    })
    .await;
    let seen = ground.receiver.seen("/hook").len();
    assert!(seen < 400, "all {seen} were pushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_while_it_pushes_events_again_leaves_none_out() {
    let mut ground = Ground::start().await;
    let endpoint = ground.endpoint("org_1", "/hook").await;
    let ids = ground.events("org_1", 0..200).await;
    ground.receiver.got("/hook", 200).await;
    ground.receiver.always("/hook", Reply::After(Duration::from_millis(20), 200));
    let replay = ground.replay(json!({ "mode": "redeliver", "endpointIds": [endpoint] })).await;
    ground.receiver.got("/hook", 260).await;
    ground.world.kill_gateway();
    assert!(ground.receiver.seen("/hook").len() < 400, "it was killed in the middle");
    ground.world.start_gateway();
    ground.world.ready().await;
    let again =
        |receiver: &tests::Receiver| receiver.seen("/hook")[200..].iter().map(tests::Seen::id).collect::<Vec<_>>();
    // The broker waits a minute for what was in hand.
    let broker = ground.world.broker().await;
    eventually_within(Duration::from_secs(100), "nothing is due any more", || async {
        let due = topology::consumer_info(&broker, GW_RETRY, RETRY).await.ok()?;
        let all = again(&ground.receiver).iter().collect::<HashSet<_>>().len() == ids.len();
        (all && due.num_pending == 0 && due.num_ack_pending == 0).then_some(())
    })
    .await;
    let done = ground.ended(&replay).await;
    assert_eq!((&done["status"], &done["endpoints"][&endpoint]), (&json!("done"), &json!(200)), "{done}");
    let seen = again(&ground.receiver);
    assert_eq!(set(&seen), set(&ids), "each event, by the id it had");
    assert!(seen.len() <= 204, "only the four requests that were under way are repeated, not {}", seen.len() - 200);
}
