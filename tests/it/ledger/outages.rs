//! The ledger lags, and catches up.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Link, Postgres, Receiver, Setup, Webhook, World, eventually};

use super::{audit, get, term};

/// All that the ledger tells of some deliveries.
async fn told(world: &World, webhooks: &[Webhook]) -> Vec<Value> {
    let mut told = Vec::new();
    for webhook in webhooks {
        let mut body = get(world, &super::path(webhook)).await.body;
        body["ledger"] = Value::Null;
        told.push(body);
    }
    told
}

/// Waits until the ledger has all that is stored.
pub(super) async fn caught_up(world: &World) {
    eventually("the ledger has caught up", || async {
        let state = get(world, "/ledger").await.body;
        let lags = state["streams"].as_array()?.iter().map(|stream| stream["lag"].as_i64()).sum::<Option<i64>>()?;
        (lags == 0 && state["rebuilding"] == json!(false)).then_some(())
    })
    .await;
}

async fn send(world: &World, count: u64) -> Vec<Webhook> {
    let webhooks: Vec<Webhook> = (0..count).map(|number| Webhook::push_numbered(42 + number % 3, 1, number)).collect();
    world.post_all(&webhooks).await;
    webhooks
}

async fn rebuilt(world: &mut World) {
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "43") }).await;
    let webhooks = send(world, 60).await;
    world.settled().await;
    caught_up(world).await;
    let before = told(world, &webhooks).await;
    let (code, said, error) = world.gw(&["ledger", "rebuild"]).await;
    assert_eq!(code, 0, "{said}{error}");
    caught_up(world).await;
    assert_eq!(told(world, &webhooks).await, before);
    let report = audit(world).await;
    assert_eq!((&report["error"], &report["providers"][0]["stored"]), (&json!(0), &json!(60)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_rebuilt_tells_what_it_told_before() {
    let mut world = World::start().await;
    rebuilt(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_a_ledger_that_is_rebuilt_tells_what_it_told_before() {
    let Some(postgres) = Postgres::start().await else { return };
    let mut world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    rebuilt(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_while_it_writes_repeats_and_forgets_nothing() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("killing the gateway", "the broker is shared");
    }
    world.link(&Link::repository("org_1", "42")).await;
    let mut webhooks = Vec::new();
    for _ in 0..4 {
        webhooks.extend(send(&world, 40).await);
        world.kill_gateway();
        world.start_gateway();
        world.ready().await;
    }
    crate::checker::settled(&mut world).await;
    caught_up(&world).await;
    let report = audit(&world).await;
    assert_eq!((&report["error"], &report["providers"][0]["stored"]), (&json!(0), &json!(160)), "{report}");
    for told in told(&world, &webhooks).await {
        let events = told["events"].as_array().map_or(0, Vec::len);
        assert!(events <= 1 && told["status"] != "pending", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_deliveries_are_taken_and_afterwards_the_ledger_has_them() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let mut world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    world.link(&Link::repository("org_1", "42")).await;
    if !postgres.stop() {
        return tests::skip("stopping PostgreSQL", "it is not ours");
    }
    let webhooks = send(&world, 30).await;
    world.events("org_1", 10).await;
    let away = get(&world, "/deliveries").await;
    assert_eq!((away.status, &away.body["code"]), (503, &json!("store_unavailable")), "{away:?}");
    postgres.start_again().await;
    caught_up(&world).await;
    assert_eq!(audit(&world).await["error"], 0);
    let statuses: Vec<Value> = told(&world, &webhooks).await.into_iter().map(|told| told["status"].clone()).collect();
    assert!(!statuses.contains(&json!("pending")), "{statuses:?}");
    let log = world.gateway().log();
    assert!(log.matches("it is tried again").count() <= 4, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_suspended_finds_another_in_its_place_and_writes_nothing() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("suspending the writer", "the broker is shared");
    }
    world.link(&Link::repository("org_1", "42")).await;
    send(&world, 20).await;
    caught_up(&world).await;
    audit(&world).await;
    let audited = r#"gw_conservation_audited_timestamp_seconds{equation="provider"}"#;
    assert!(world.metric(audited).await > 1_700_000_000.0, "it says when it was added up");
    let database = format!("sqlite://{}", world.folder().join("data/gw.db").display());
    let nats_url = world.nats_url();
    let second = Setup::new()
        .with("GW_ROLE", "ledger")
        .with("GW_TOPOLOGY", "check")
        .with("NATS_URL", nats_url.clone())
        .with("DATABASE_URL", database)
        .start_on(&nats_url);
    second.ready().await;
    assert_eq!((world.metric("gw_ledger_writing").await, second.metric("gw_ledger_writing").await), (1.0, 0.0));
    let pid = world.gateway().pid();
    tests::kill(pid, rustix::process::Signal::STOP);
    eventually("the other writes", || async { (second.metric("gw_ledger_writing").await > 0.5).then_some(()) }).await;
    tests::kill(pid, rustix::process::Signal::CONT);
    send(&world, 20).await;
    world.settled().await;
    eventually("the first does not, and tells nothing of what adds up", || async {
        let told = world.metrics().await;
        let silent = !told.contains("gw_conservation_error{") && !told.contains(audited);
        (world.metric("gw_ledger_writing").await < 0.5 && silent).then_some(())
    })
    .await;
    caught_up(&world).await;
    audit(&world).await;
    assert!(!world.metrics().await.contains(audited), "who is asked and does not write is told, and keeps nothing");
    let report = audit(&second).await;
    assert!(second.metric(audited).await > 1_700_000_000.0, "the other says when");
    assert_eq!((&report["error"], &report["providers"][0]["stored"]), (&json!(0), &json!(40)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_lost_and_got_again_is_counted_once() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("a broker that loses messages", "the broker is shared");
    }
    world.link(&Link::repository("org_1", "42")).await;
    let webhooks = pushes(10);
    let accept = async |world: &mut World, numbers: std::ops::Range<usize>| {
        for webhook in &webhooks[numbers] {
            world.accept(webhook).await;
        }
        world.settled().await;
        caught_up(world).await;
    };
    accept(&mut world, 0..5).await;
    let streams = streams(&world);
    let (stream, kept) = (streams.join("GW_WEBHOOK"), world.folder().join("kept"));
    world.stop_gateway();
    copy(&stream, &kept);
    world.start_gateway();
    world.ready().await;
    accept(&mut world, 5..8).await;

    // As after a crash: the last deliveries are gone, the ledger has read them, and their events are there.
    world.stop_gateway();
    std::fs::remove_dir_all(&stream).expect("it is there");
    copy(&kept, &stream);
    // It starts twice: how far the ledger had read must not be forgotten at the first.
    for _ in 0..2 {
        world.start_gateway();
        world.ready().await;
        caught_up(&world).await;
        world.stop_gateway();
    }
    world.start_gateway();
    world.ready().await;
    accept(&mut world, 8..10).await;
    let report = audit(&world).await;
    let github = term(&report["providers"], "provider", "github");
    assert_eq!((&report["error"], &github["stored"], &github["routed"]), (&json!(0), &json!(7), &json!(7)), "{report}");

    // Nobody confirmed them, so their sender repeats them.
    accept(&mut world, 5..8).await;
    adds_up(&world, &[("stored", 10), ("routed", 10), ("lost", 0)]).await;
    assert!(world.metric("gw_ledger_lost_total").await > 0.5, "it is counted");
    let (code, said, error) = world.gw(&["ledger", "rebuild"]).await;
    assert_eq!(code, 0, "{said}{error}");
    caught_up(&world).await;
    adds_up(&world, &[("stored", 10), ("routed", 10), ("lost", 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_broker_lost_is_routed_again_and_pushed_and_adds_up() {
    let mut world = Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32").start().await;
    if !world.owns_broker() {
        return tests::skip("a broker that loses messages", "the broker is shared");
    }
    let receiver = Receiver::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let body = json!({ "orgId": "org_1", "url": receiver.url("/hook"), "events": ["*"] });
    assert_eq!(world.api(Method::POST, "/endpoints", Some(body)).await.status, 201);
    let webhooks = pushes(10);
    for webhook in &webhooks[..5] {
        world.accept(webhook).await;
    }
    receiver.got("/hook", 5).await;
    world.settled().await;
    caught_up(&world).await;
    world.stop_gateway();
    let (streams, kept) = (streams(&world), world.folder().join("kept"));
    copy(&streams, &kept);
    world.start_gateway();
    world.ready().await;
    for webhook in &webhooks[5..8] {
        world.accept(webhook).await;
    }
    receiver.got("/hook", 8).await;
    world.settled().await;
    caught_up(&world).await;

    // Everything since is gone, and their places are others'.
    world.stop_gateway();
    std::fs::remove_dir_all(&streams).expect("it is there");
    copy(&kept, &streams);
    world.start_gateway();
    world.ready().await;
    for number in [8, 9, 5, 6, 7] {
        world.accept(&webhooks[number]).await;
    }
    receiver.got("/hook", 13).await;
    world.settled().await;
    caught_up(&world).await;
    adds_up(&world, &[("stored", 10), ("routed", 10), ("lost", 0)]).await;
    let report = audit(&world).await;
    let terms = &report["endpoints"][0];
    let counted = ["admitted", "delivered", "pending", "lost"].map(|name| terms[name].as_i64());
    assert_eq!(counted, [Some(10), Some(10), Some(0), Some(0)], "{report}");
}

/// Waits until GitHub's terms are these, and nothing is wrong.
async fn adds_up(world: &World, wanted: &[(&str, i64)]) {
    eventually(&format!("it adds up to {wanted:?}"), || async {
        let report = audit(world).await;
        let github = term(&report["providers"], "provider", "github");
        let found = wanted.iter().all(|(name, number)| github[*name] == *number);
        (found && report["error"] == 0).then_some(())
    })
    .await;
}

/// Webhooks of one account, each with a delivery id of its own.
fn pushes(count: u64) -> Vec<Webhook> {
    (0..count).map(|number| Webhook::push_numbered(42, 1, number)).collect()
}

/// Where the gateway's own broker keeps its streams.
fn streams(world: &World) -> PathBuf {
    world.folder().join("data/nats/store/jetstream/$G/streams")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("it can be read") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("its kind").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("it is copied")),
        }
    }
}
