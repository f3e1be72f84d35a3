//! What is killed, stopped or deleted under load loses nothing and repeats nothing that anyone could see.

use std::time::Duration;

use nats::topology;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tests::{Link, Setup, Webhook, World, eventually, kill};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    checker::{self, Load},
    raw::Raw,
};

const SENDERS: u64 = 24;

/// A linked world whose broker may be killed, or none.
async fn world(publish: &str) -> Option<World> {
    let mut world = Setup::new().with("GW_PUBLISH", publish).start().await;
    if !world.owns_broker() {
        tests::skip("killing the broker", "the broker is shared");
        return None;
    }
    checker::link(&mut world).await;
    Some(world)
}

async fn killing_the_broker_loses_nothing(publish: &str) {
    let Some(mut world) = world(publish).await else { return };
    let load = Load::start(&mut world, SENDERS);
    for _ in 0..3 {
        load.accepted(150).await;
        let pid = world.nats_pid();
        world.kill_nats();
        eventually("gw started it again", || async { (world.nats_pid() != pid).then_some(()) }).await;
    }
    load.accepted(150).await;
    load.stop().await.check(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_broker_under_load_loses_nothing_that_was_acknowledged() {
    tokio::join!(killing_the_broker_loses_nothing("batch"), killing_the_broker_loses_nothing("pipeline"));
}

async fn killing_the_gateway_loses_nothing(publish: &str) {
    let Some(mut world) = world(publish).await else { return };
    let pid = world.nats_pid();
    let load = Load::start(&mut world, SENDERS);
    for _ in 0..3 {
        load.accepted(150).await;
        world.kill_gateway();
        world.start_gateway();
        load.follow(&mut world);
        assert_eq!(world.nats_pid(), pid, "the living server is adopted");
    }
    load.accepted(150).await;
    load.stop().await.check(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_gateway_under_load_loses_nothing_and_its_server_is_adopted() {
    tokio::join!(killing_the_gateway_loses_nothing("batch"), killing_the_gateway_loses_nothing("pipeline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_gateway_and_broker_together_loses_nothing() {
    let Some(mut world) = world("batch").await else { return };
    let load = Load::start(&mut world, SENDERS);
    for _ in 0..2 {
        load.accepted(150).await;
        let pid = world.nats_pid();
        world.kill_gateway();
        world.kill_nats();
        world.start_gateway();
        load.follow(&mut world);
        assert_ne!(world.nats_pid(), pid, "the dead server is not adopted");
    }
    load.accepted(150).await;
    load.stop().await.check(&mut world).await;
}

async fn a_broker_that_hangs_loses_nothing(publish: &str) {
    let Some(mut world) = world(publish).await else { return };
    let load = Load::start(&mut world, SENDERS);
    load.accepted(150).await;
    let pid = world.nats_pid().expect("a server");
    kill(pid, Signal::STOP);
    tokio::time::sleep(Duration::from_secs(3)).await;
    kill(pid, Signal::CONT);
    load.accepted(150).await;
    assert_eq!(world.nats_pid(), Some(pid), "a server that hangs is not replaced");
    load.stop().await.check(&mut world).await;
    quiet(&mut world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_for_seconds_loses_nothing() {
    tokio::join!(a_broker_that_hangs_loses_nothing("batch"), a_broker_that_hangs_loses_nothing("pipeline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_seconds_is_no_storm_in_the_log() {
    let Some(mut world) = world("auto").await else { return };
    let load = Load::start(&mut world, SENDERS);
    load.accepted(150).await;
    // It cannot come back for five seconds: a stranger has its port as soon as it is gone.
    let port: u16 = world.nats_url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    world.kill_nats();
    let stranger =
        eventually("the port is free", || async { std::net::TcpListener::bind(("127.0.0.1", port)).ok() }).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(stranger);
    load.accepted(150).await;
    load.stop().await.check(&mut world).await;
    quiet(&mut world);
}

/// Greets like a nats-server of another name, and answers pings.
async fn stranger(listener: TcpListener) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        clients.spawn(async move {
            let (received, mut answers) = stream.into_split();
            let info = json!({ "server_id": "S", "server_name": "stranger", "version": "2.15.1", "max_payload": 1 << 20,
                "proto": 1, "headers": true, "jetstream": true });
            answers.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
            let mut lines = BufReader::new(received).lines();
            while let Some(line) = lines.next_line().await? {
                if line == "PING" {
                    answers.write_all(b"PONG\r\n").await?;
                }
            }
            Ok::<_, std::io::Error>(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_took_the_brokers_port_is_not_taken_for_it() {
    let Some(mut world) = world("auto").await else { return };
    let port: u16 = world.nats_url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    world.kill_nats();
    let listener = eventually("the port is free", || async { TcpListener::bind(("127.0.0.1", port)).await.ok() }).await;
    let stranger = tokio::spawn(stranger(listener));
    let of_main = |line: &&str| line.contains("nats.stranger") && line.contains(r#""connection":"gangway""#);
    let said = |world: &mut World| world.gateway().log().lines().filter(of_main).count();
    eventually("it is said", || std::future::ready((said(&mut world) > 0).then_some(()))).await;
    let readyz = world.get("/readyz").await;
    assert_eq!(readyz.status, 503, "{readyz:?}");
    stranger.abort();
    world.ready().await;
    world.accept(&Webhook::push(41, 1)).await;
    assert_eq!(said(&mut world), 1, "it is said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_under_the_router_comes_back_and_nothing_is_lost() {
    let Some(mut world) = world("auto").await else { return };
    let load = Load::start(&mut world, 8);
    load.accepted(100).await;
    let mut raw = Raw::connect(&world.nats_url()).await;
    raw.request("$JS.API.CONSUMER.DELETE.GW_WEBHOOK.router", &json!({})).await.expect("it is deleted");
    load.accepted(100).await;
    let broker = world.broker().await;
    eventually("the consumer is there again", || async {
        topology::consumer_info(&broker, topology::GW_WEBHOOK, topology::ROUTER).await.ok()
    })
    .await;
    load.stop().await.check(&mut world).await;
    world.accept(&Webhook::push(41, 1)).await;
    checker::settled(&mut world).await;
    world.ready().await;
    quiet(&mut world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_made_anew_brings_nothing_old_to_who_linked_since() {
    let Some(mut world) = world("auto").await else { return };
    world.link(&Link::repository("org_a", "77")).await;
    world.accept(&Webhook::push(77, 1)).await;
    assert_eq!(world.events("org_a", 1).await.len(), 1);
    checker::settled(&mut world).await;
    // A router that finds its broker again looks how far its consumer is; a broker that is stopped well knows it.
    let pid = world.nats_pid();
    kill(pid.expect("a broker"), Signal::TERM);
    eventually("gw started it again", || async { (world.nats_pid() != pid).then_some(()) }).await;
    world.ready().await;
    let broker = world.broker().await;
    let consumer = async || topology::consumer_info(&broker, topology::GW_WEBHOOK, topology::ROUTER).await.ok();
    eventually("the router pulls again", || async { consumer().await.filter(|info| info.num_waiting > 0) }).await;
    let mut raw = Raw::connect(&world.nats_url()).await;
    raw.request("$JS.API.CONSUMER.DELETE.GW_WEBHOOK.router", &json!({})).await.expect("it is deleted");
    world.link(&Link::repository("org_b", "77")).await;
    world.accept(&Webhook::push(77, 2)).await;
    assert_eq!(world.events("org_a", 2).await.len(), 2);
    checker::settled(&mut world).await;
    assert_eq!(world.events("org_b", 1).await.len(), 1, "the first delivery was before its link");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_routes_that_took_the_place_of_another_is_read_anew() {
    let mut world = World::start().await;
    for repository in 1..=20 {
        world.link(&Link::repository("org_1", &repository.to_string())).await;
    }
    let (connection, link) = world.link(&Link::repository("org_1", "41")).await;
    let mut raw = Raw::connect(&world.nats_url()).await;
    raw.request("$JS.API.STREAM.DELETE.KV_gw_routes", &json!({})).await.expect("it is deleted");
    assert_eq!(world.gw(&["topology", "apply"]).await.0, 0);
    // Fewer writes than the old bucket had, so that its sequences say nothing.
    let removed = world.api(Method::DELETE, &format!("/connections/{connection}/resources/{link}"), None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    let known = "the router knows that nothing is linked until the routes are made anew";
    eventually(known, || async { (world.metric("gw_routes").await < 0.5).then_some(()) }).await;
    world.ready().await;
    assert_eq!(world.gw(&["routes", "rebuild"]).await.0, 0);
    eventually("the routes are back", || async {
        ((world.metric("gw_routes").await - 20.0).abs() < 0.5).then_some(())
    })
    .await;
    world.accept(&Webhook::push(41, 1)).await;
    world.stored(topology::GW_PARKED, "gw.parked.>", 1).await;
    world.accept(&Webhook::push(1, 1)).await;
    assert_eq!(world.events("org_1", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_event_stream_holds_events_back_without_a_storm_and_loses_none() {
    let mut world = Setup::new().with("GW_MAX_BYTES", "GW_EVENT=16KiB").start().await;
    checker::link(&mut world).await;
    let accounts = 60;
    for account in 0..accounts {
        world.accept(&Webhook::push(41, account)).await;
    }
    let broker = world.broker().await;
    eventually("the stream is full", || async {
        let info = topology::stream_info(&broker, topology::GW_EVENT).await.ok()?;
        (info.state.bytes > 12 << 10).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    quiet(&mut world);
    let mut grow = world.command(&["topology", "apply"]);
    grow.env("GW_MAX_BYTES", "GW_EVENT=1GiB");
    let grown = tokio::task::spawn_blocking(move || grow.output()).await.expect("a thread").expect("gw runs");
    assert!(grown.status.success(), "{}", String::from_utf8_lossy(&grown.stderr));
    let events = world.events("org_1", usize::try_from(accounts).expect("a few")).await;
    assert_eq!(events.len(), usize::try_from(accounts).expect("a few"));
}

/// Fewer than fifty lines of warnings and errors: each trouble is said when it begins and when it ends.
fn quiet(world: &mut World) {
    let log = world.gateway().log();
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#)).collect();
    assert!(loud.len() < 50, "{} lines:\n{}", loud.len(), loud[..50].join("\n"));
}
