//! Streams, buckets and consumers: shown, compared, applied, and never made smaller by accident.

use std::process::{Command, Output};

use nats::topology::{self, GW_DLQ, GW_WEBHOOK};
use serde_json::{Value, json};
use tests::{Setup, Webhook, World};

use crate::raw::Raw;

async fn run(command: Command) -> (i32, String, String) {
    let mut command = command;
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("gw runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// `gw topology …` with one setting.
async fn with(world: &World, arguments: &[&str], name: &str, value: &str) -> (i32, String, String) {
    let mut command = world.command(arguments);
    command.env(name, value);
    run(command).await
}

async fn config(raw: &mut Raw, stream: &str) -> Value {
    let info = raw.request(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({})).await.expect("a stream");
    info["config"].clone()
}

/// Changes a stream as somebody with the nats CLI would.
async fn change(raw: &mut Raw, stream: &str, name: &str, value: Value) {
    let mut config = config(raw, stream).await;
    config[name] = value;
    raw.request(&format!("$JS.API.STREAM.UPDATE.{stream}"), &config).await.expect("it is changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_twice_does_nothing_and_what_is_shown_is_what_is_there() {
    let world = World::start().await;
    for _ in 0..2 {
        let (code, said, _) = world.gw(&["topology", "apply"]).await;
        assert_eq!(code, 0);
        assert!(said.contains("nothing to do"), "{said}");
    }
    let (code, said, _) = world.gw(&["topology", "diff"]).await;
    assert_eq!((code, said.contains("nothing to do")), (0, true), "{said}");
    let (code, shown, _) = world.gw(&["topology", "show"]).await;
    assert_eq!(code, 0);
    let shown: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
    let mut raw = Raw::connect(&world.nats_url()).await;
    for wanted in &shown {
        let found = config(&mut raw, wanted["stream"]["name"].as_str().expect("a name")).await;
        for name in
            ["subjects", "max_age", "max_bytes", "description", "compression", "discard", "storage", "duplicate_window"]
        {
            // The server leaves out what is at its default.
            if !wanted["stream"][name].is_null() && !found[name].is_null() {
                assert_eq!(found[name], wanted["stream"][name], "{name} of {}", found["name"]);
            }
        }
    }
    assert_eq!(shown.len(), topology::specs(&topology::Settings::default()).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_shrinks_only_by_force_and_grows_freely() {
    let mut world = World::start().await;
    world.accept(&Webhook::push(1, 1)).await;
    let mut raw = Raw::connect(&world.nats_url()).await;
    let day = 86_400_000_000_000_u64;
    let (code, said, _) = with(&world, &["topology", "diff"], "GW_RETENTION", "1d").await;
    assert_eq!(code, 1);
    assert!(
        said.contains("~ GW_WEBHOOK") && said.contains("max_age: 604800s -> 86400s") && said.contains("--force"),
        "{said}"
    );
    let (code, _, said) = with(&world, &["topology", "apply"], "GW_RETENTION", "1d").await;
    assert_eq!(code, 1);
    for part in [GW_WEBHOOK, "max_age", "604800s", "86400s", "--force"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(config(&mut raw, GW_WEBHOOK).await["max_age"], 7 * day, "nothing was done");
    let (code, said, _) = with(&world, &["topology", "apply", "--force"], "GW_RETENTION", "1d").await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(config(&mut raw, GW_WEBHOOK).await["max_age"], day);
    let (code, said, _) = with(&world, &["topology", "apply"], "GW_RETENTION", "14d").await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(config(&mut raw, GW_WEBHOOK).await["max_age"], 14 * day);
    let (code, _, said) = with(&world, &["topology", "apply"], "GW_MAX_BYTES", "GW_DLQ=1MiB").await;
    assert_eq!(code, 1);
    assert!(said.contains(GW_WEBHOOK) || said.contains(GW_DLQ), "{said}");
    assert_eq!(world.messages(GW_WEBHOOK, "gw.webhook.>").await.len(), 1, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_would_shrink_at_a_start_is_refused_in_words_that_help() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("a start that is refused", "the broker is shared");
    }
    assert_eq!(world.stop_gateway().code(), Some(0));
    let (code, _, said) = with(&world, &["serve"], "GW_RETENTION", "1d").await;
    assert_eq!(code, 1);
    for part in [GW_WEBHOOK, "604800s", "86400s", "gw topology apply --force"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(crate::lifecycle::servers(world.folder()).is_empty(), "its server is stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_by_hand_shows_and_is_mended() {
    let world = World::start().await;
    let mut raw = Raw::connect(&world.nats_url()).await;
    for (stream, name, value, shown) in [
        ("GW_OUTCOME", "max_age", json!(3_600_000_000_000_u64), "max_age: 3600s -> 604800s"),
        ("GW_EVENT", "description", json!("mine"), "description: mine -> "),
        ("GW_EVENT", "discard", json!("old"), "discard: Old -> New"),
        ("GW_WEBHOOK", "max_msg_size", json!(1000), "max_msg_size: 1000 -> unlimited"),
        ("GW_WEBHOOK", "no_ack", json!(true), "no_ack: true -> false"),
        ("GW_DLQ", "subjects", json!(["gw.dlq.>", "mine.>"]), "subjects: gw.dlq.> mine.> -> gw.dlq.>"),
        ("GW_CONNECTION", "allow_atomic", json!(false), "allow_atomic: false -> true"),
        ("GW_REPLAY", "allow_batched", json!(false), "allow_batched: false -> true"),
    ] {
        change(&mut raw, stream, name, value).await;
        let (code, said, _) = world.gw(&["topology", "diff"]).await;
        assert_eq!(code, 1, "{name}");
        assert!(said.contains(&format!("~ {stream}")) && said.contains(shown), "{name}: {said}");
        let (code, said, error) = world.gw(&["topology", "apply"]).await;
        assert_eq!(code, 0, "{name}: {said} {error}");
        let (code, said, _) = world.gw(&["topology", "diff"]).await;
        assert_eq!(code, 0, "{name}: {said}");
    }
    raw.request("$JS.API.CONSUMER.DELETE.GW_WEBHOOK.router-history", &json!({})).await.expect("it is deleted");
    raw.request("$JS.API.STREAM.DELETE.GW_CONNECTION", &json!({})).await.expect("it is deleted");
    let (code, said, _) = world.gw(&["topology", "apply"]).await;
    assert_eq!(code, 0);
    assert!(said.contains("+ GW_CONNECTION"), "{said}");
    assert_eq!(world.gw(&["topology", "diff"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_only_checks_warns_and_is_not_ready_until_the_admin_applied() {
    let admin = World::start().await;
    let mut raw = Raw::connect(&admin.nats_url()).await;
    change(&mut raw, GW_WEBHOOK, "description", json!("mine")).await;
    let mut checking = Setup::new().with("GW_TOPOLOGY", "check").with("GW_ROLE", "ingest").start_on(&admin.nats_url());
    let answer = checking.get("/readyz").await;
    assert_eq!(answer.status, 503);
    let reasons = answer.body["reasons"].to_string();
    assert!(reasons.contains("topology: ~ GW_WEBHOOK") && reasons.contains("description: mine -> "), "{reasons}");
    assert!(checking.gateway().log().contains("topology.differs"));
    assert_eq!(config(&mut raw, GW_WEBHOOK).await["description"], "mine", "it changed nothing");
    checking.accept(&Webhook::push(1, 1)).await;
    assert_eq!(admin.gw(&["topology", "apply"]).await.0, 0);
    checking.ready().await;
}
