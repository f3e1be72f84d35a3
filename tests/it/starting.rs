//! A start that cannot succeed says why and what to do, and leaves nothing behind.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use tests::{Setup, World, eventually};

use crate::lifecycle::servers;

/// Runs `gw serve` that must fail, and gives its exit code and what it said.
async fn refused(command: &mut Command) -> (i32, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("gw starts");
    let status = eventually("it ends", || std::future::ready(child.try_wait().expect("a child"))).await;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("standard error"), &mut said).expect("text");
    (status.code().expect("a code"), said)
}

/// `gw serve` in a new folder beside the world's.
fn serve(world: &World, name: &str) -> Command {
    let mut command = world.command(&["serve"]);
    command.env("GW_DATA_DIR", world.folder().join(name).join("data"));
    command
}

fn broken_server(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("broken-server");
    fs::write(&path, "#!/bin/sh\necho 'this server is broken' >&2\nexit 3\n").expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_a_start_is_named_and_no_server_is_left_behind() {
    let world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("failing starts", "the broker is shared");
    }
    let (code, said) = refused(&mut world.command(&["serve"])).await;
    assert_eq!(code, 1);
    assert!(said.contains("another gw uses the data folder") && said.contains("GW_DATA_DIR"), "{said}");
    assert_eq!(servers(world.folder()).len(), 1);

    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for setting in ["GW_PUBLIC_ADDR", "GW_API_ADDR"] {
        let (code, said) = refused(serve(&world, "port").env(setting, &address)).await;
        assert_eq!(code, 1);
        assert!(said.contains(setting) && said.contains(&address), "{said}");
    }
    assert!(servers(&world.folder().join("port")).is_empty());

    let (code, said) = refused(serve(&world, "wrong").env("GW_NATS_SERVER", "/no/such/nats-server")).await;
    assert_eq!(code, 1);
    assert!(said.contains("/no/such/nats-server") && said.contains("GW_NATS_SERVER"), "{said}");

    let (code, said) = refused(serve(&world, "broken").env("GW_NATS_SERVER", broken_server(world.folder()))).await;
    assert_eq!(code, 1);
    let log = world.folder().join("broken/data/nats/nats-server.log");
    assert!(said.contains(&log.display().to_string()), "{said}");
    assert!(fs::read_to_string(log).expect("a log").contains("this server is broken"));

    fs::write(world.folder().join("file"), "").expect("a file");
    let (code, said) = refused(world.command(&["serve"]).env("GW_DATA_DIR", world.folder().join("file"))).await;
    assert_eq!(code, 1);
    assert!(said.contains("GW_DATA_DIR") && said.contains("file"), "{said}");
    let (code, said) = refused(world.command(&["serve"]).env("GW_DATA_DIR", "/proc/no-such-folder")).await;
    assert_eq!(code, 1);
    assert!(said.contains("GW_DATA_DIR") && said.contains("/proc/no-such-folder"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_encryption_key_is_refused_where_the_vault_does_not_run() {
    let world = World::start().await;
    for role in ["ingest", "router", "ingest,router"] {
        let mut command = serve(&world, "key");
        let (code, said) =
            refused(command.env("GW_ROLE", role).env("GW_ENCRYPTION_KEY", "a-secret-key-of-32-characters...")).await;
        assert_eq!(code, 64, "{role}");
        assert!(said.contains("GW_ENCRYPTION_KEY") && !said.contains("a-secret-key"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_another_port_where_a_stranger_has_the_usual_one() {
    // Whether we get it or somebody else has it: it is taken.
    let _stranger = TcpListener::bind(("127.0.0.1", 4222));
    let world = Setup::new().start().await;
    if !world.owns_broker() {
        return tests::skip("a taken port", "the broker is shared");
    }
    if _stranger.is_ok() {
        assert!(!world.nats_url().ends_with(":4222"), "{}", world.nats_url());
    }
    assert_eq!(world.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_gateways_that_start_at_once_all_find_a_port() {
    let worlds: Vec<_> = (0..6).map(|_| tokio::spawn(async { World::start().await })).collect();
    let mut urls = Vec::new();
    let mut started = Vec::new();
    for world in worlds {
        let world = world.await.expect("it starts");
        if !world.owns_broker() {
            return tests::skip("several brokers", "the broker is shared");
        }
        urls.push(world.nats_url());
        started.push(world);
    }
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 6, "{urls:?}");
}
