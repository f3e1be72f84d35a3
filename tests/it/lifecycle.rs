//! Stops are graceful, a server that a crash left is adopted and never doubled, and one that dies comes back.

use std::{path::Path, process::ExitStatus, time::Duration};

use nats::topology;
use rustix::process::Signal;
use tests::{Link, Setup, Webhook, World, eventually, kill};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::checker::{self, Load};

/// A webhook half of which is sent.
struct Upload {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Upload {
    async fn begin(world: &mut World, webhook: &Webhook) -> Self {
        let host = world.gateway().public.clone().expect("a public listener").replace("http://", "");
        let mut stream = TcpStream::connect(&host).await.expect("it listens");
        let mut head =
            format!("POST /webhooks/github HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", webhook.body.len());
        for (name, value) in &webhook.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let (first, rest) = webhook.body.split_at(webhook.body.len() / 2);
        stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
        stream.write_all(first).await.expect("sent");
        Self { stream, rest: rest.to_vec() }
    }

    /// Sends the other half and gives the answer.
    async fn finish(mut self) -> String {
        self.stream.write_all(&self.rest).await.expect("sent");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

async fn logged(world: &mut World, message: &str) {
    let log = world.gateway();
    eventually(message, || std::future::ready(log.log().contains(message).then_some(()))).await;
}

async fn ended(world: &mut World) -> ExitStatus {
    let gateway = world.gateway();
    eventually("the gateway ends", || std::future::ready(gateway.ended())).await
}

/// The nats-servers that run on a world's folder.
pub(crate) fn servers(folder: &Path) -> Vec<i32> {
    let store = folder.join("data/nats/store").display().to_string();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split('\0').any(|part| part == store))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_the_request_in_hand_and_stays_watchable_and_stops_the_server_last() {
    let mut world = World::start().await;
    let webhook = Webhook::push(42, 1);
    let upload = Upload::begin(&mut world, &webhook).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    kill(world.gateway().pid(), Signal::TERM);
    logged(&mut world, "gateway.stopping").await;
    let answer = world.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body["reasons"][0], "stopping");
    let public = world.gateway().public.clone().expect("a public listener");
    assert!(TcpStream::connect(public.replace("http://", "")).await.is_err(), "no new webhooks are taken in");
    let answer = upload.finish().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("accepted"), "{answer}");
    assert_eq!(ended(&mut world).await.code(), Some(0));
    if world.owns_broker() {
        assert!(servers(world.folder()).is_empty(), "its server is stopped");
    }
    world.start_gateway();
    world.ready().await;
    let filter = format!("gw.webhook.github.push.{}", webhook.delivery());
    world.stored(topology::GW_WEBHOOK, &filter, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut world = World::start().await;
    let _upload = Upload::begin(&mut world, &Webhook::push(42, 1)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    kill(world.gateway().pid(), Signal::TERM);
    logged(&mut world, "gateway.stopping").await;
    let begun = std::time::Instant::now();
    kill(world.gateway().pid(), Signal::INT);
    assert_eq!(ended(&mut world).await.code(), Some(130));
    // The request in hand would have been waited for much longer.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    if world.owns_broker() {
        eventually("its server ends too", || std::future::ready(servers(world.folder()).is_empty().then_some(())))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_leaves_nothing_in_hand_and_the_next_start_goes_on_at_once() {
    let mut world = World::start().await;
    checker::link(&mut world).await;
    let load = Load::start(&mut world, 24);
    for _ in 0..2 {
        load.accepted(300).await;
        assert_eq!(world.stop_gateway().code(), Some(0));
        world.start_gateway();
        load.follow(&mut world);
    }
    load.accepted(100).await;
    let posted = load.stop().await;
    let begun = std::time::Instant::now();
    posted.check(&mut world).await;
    // What had been left in hand would have waited for a minute.
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_a_crash_left_is_adopted_and_brought_back_when_it_dies_and_stopped_in_the_end() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("adoption", "the broker is shared");
    }
    world.link(&Link::repository("org_1", "42")).await;
    let pid = world.nats_pid();
    world.kill_gateway();
    world.start_gateway();
    world.ready().await;
    assert_eq!(world.nats_pid(), pid);
    assert!(world.gateway().log().contains("nats.adopted"));
    assert_eq!(servers(world.folder()), [pid.expect("a server")]);
    world.accept(&Webhook::push(42, 1)).await;
    world.kill_nats();
    eventually("another server is started", || std::future::ready((world.nats_pid() != pid).then_some(()))).await;
    eventually("it serves again", || async { (world.get("/readyz").await.status == 200).then_some(()) }).await;
    world.accept(&Webhook::push(42, 1)).await;
    world.events("org_1", 2).await;
    assert_eq!(servers(world.folder()).len(), 1);
    assert_eq!(world.stop_gateway().code(), Some(0));
    assert!(servers(world.folder()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_yet_is_waited_for_and_never_doubled() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("adoption", "the broker is shared");
    }
    let pid = world.nats_pid().expect("a server");
    world.kill_gateway();
    kill(pid, Signal::STOP);
    // As one would be found that is still reading a large store.
    let wake = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(4));
        kill(pid, Signal::CONT);
    });
    world.start_gateway();
    wake.join().expect("a thread");
    world.ready().await;
    assert_eq!(servers(world.folder()), [pid]);
    assert_eq!(world.nats_pid(), Some(pid));
    world.accept(&Webhook::push(42, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_of_the_start_never_leads_to_two_servers() {
    let mut world = Setup::new().start().await;
    if !world.owns_broker() {
        return tests::skip("adoption", "the broker is shared");
    }
    assert_eq!(world.stop_gateway().code(), Some(0));
    for pause in [0, 5, 10, 20, 30, 40, 60, 80, 120, 200] {
        let mut child = world.command(&["serve"]).stdout(std::process::Stdio::null()).spawn().expect("gw starts");
        tokio::time::sleep(Duration::from_millis(pause)).await;
        child.kill().expect("it is killed");
        child.wait().expect("a child");
        assert!(servers(world.folder()).len() < 2, "two servers after {pause} ms");
    }
    world.start_gateway();
    world.ready().await;
    assert_eq!(servers(world.folder()), [world.nats_pid().expect("a server")]);
    world.accept(&Webhook::push(42, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_it_starts_leaves_nothing_behind() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("a stop while it starts", "the broker is shared");
    }
    assert_eq!(world.stop_gateway().code(), Some(0));
    for pause in [60, 100, 150, 250] {
        let mut child = world.command(&["serve"]).stdout(std::process::Stdio::null()).spawn().expect("gw starts");
        tokio::time::sleep(Duration::from_millis(pause)).await;
        kill(i32::try_from(child.id()).expect("a pid"), Signal::TERM);
        let status = eventually("it ends", || std::future::ready(child.try_wait().expect("a child"))).await;
        assert_eq!(servers(world.folder()), [0; 0], "after {pause} ms, {status}");
    }
}
