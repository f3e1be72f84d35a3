//! The commands, as people and scripts call them: what each prints, how it ends, and that none tells a secret.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use nats::topology;
use serde_json::{Value, json};
use tests::{KEY, Link, PREVIOUS, SECRET, Webhook, World, eventually, gw_binary};

mod secrets;
mod send;

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// It failed with this code, and said these things.
    #[track_caller]
    fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.out.contains(part) || self.err.contains(part), "{part:?} is not said: {self:?}");
        }
    }
}

/// Runs a command; whatever it does, it tells no secret.
async fn run(mut command: Command) -> Said {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("gw runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
    for secret in [SECRET, PREVIOUS, KEY, PASSWORD] {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "a secret is told: {said:?}");
    }
    said
}

/// Stands in addresses of brokers and databases.
const PASSWORD: &str = "a-password-of-the-suite";

/// A command without any setting, in a folder.
fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(gw_binary());
    command.args(arguments).current_dir(folder).env_clear();
    command
}

async fn gw(world: &World, arguments: &[&str]) -> Said {
    run(world.command(arguments)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_tail_prints_what_was_asked_for() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "43")).await;
    for (repository, number) in [(42, 1), (42, 2), (43, 3)] {
        world.accept(&Webhook::push_numbered(repository, 1, number)).await;
    }
    world.settled().await;
    let lines = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    };
    let all = lines(&gw(&world, &["tail", "--since", "1h", "-n", "3", "--json"]).await.ok());
    assert_eq!(all.iter().filter(|event| event["orgId"] == "org_1").count(), 2);
    let own = lines(
        &gw(&world, &["tail", "--since", "1h", "--org", "org_2", "--provider", "github", "-n", "1", "--json"])
            .await
            .ok(),
    );
    assert_eq!((&own[0]["orgId"], &own[0]["payload"]["repository"]["id"]), (&json!("org_2"), &json!(43)));
    let human = gw(&world, &["tail", "--since", "1h", "-n", "1"]).await.ok();
    assert!(human.contains("org_1") && human.contains("github:push") && human.lines().count() == 1, "{human}");
    gw(&world, &["tail", "--since", "yesterday"]).await.fails(64, &["15m"]);
    gw(&world, &["tail", "--provider", "gitlab"]).await.fails(64, &["github"]);
    // Without --since it begins with what comes next.
    let mut command = world.command(&["tail", "-n", "1", "--json"]);
    let mut tail = command.stdout(Stdio::piped()).spawn().expect("gw runs");
    eventually("tail sees an event and ends", || {
        let ended = tail.try_wait().expect("a child").is_some();
        let next = Webhook::push_numbered(42, 1, 4);
        let world = &world;
        async move {
            world.post(&next).await;
            ended.then_some(())
        }
    })
    .await;
    let output = tail.wait_with_output().expect("its output");
    assert_eq!(lines(&String::from_utf8_lossy(&output.stdout))[0]["payload"]["after"], format!("{:040x}", 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_status_shows_gateway_streams_and_consumers() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.accept(&Webhook::push(42, 1)).await;
    world.accept(&Webhook::push(44, 1)).await;
    world.stored(topology::GW_PARKED, "gw.parked.>", 1).await;
    world.settled().await;
    let json = gw(&world, &["status", "--json", "--interval", "100ms"]).await.ok();
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status["gateway"]["ready"], true, "{status}");
    assert_eq!(
        (&status["routes"], &status["connections"], &status["parked"], &status["deadLetters"]),
        (&json!(1), &json!(1), &json!(1), &json!(0))
    );
    assert!(status["broker"]["version"].as_str().is_some_and(|version| version.starts_with("2.")), "{status}");
    let find = |list: &str, name: &str| {
        status[list].as_array().and_then(|all| all.iter().find(|entry| entry["name"] == name)).cloned()
    };
    let stream = find("streams", topology::GW_WEBHOOK).expect("the stream");
    assert_eq!(stream["messages"], 2);
    assert!(
        stream["bytes"].is_u64()
            && stream["maxBytes"].is_u64()
            && stream["rate"].is_number()
            && stream["oldestAgeMs"].is_number()
    );
    let consumer = find("consumers", topology::ROUTER).expect("the consumer");
    assert_eq!(
        (&consumer["pending"], &consumer["ackPending"], &consumer["lagMs"]),
        (&json!(0), &json!(0), &Value::Null)
    );
    let screen = gw(&world, &["status", "--interval", "100ms"]).await.ok();
    for part in
        ["gateway  ready", "nats-server 2.", "GW_WEBHOOK", "router", "routes 1", "1 parked: no link claims them"]
    {
        assert!(screen.contains(part), "{part} is not in\n{screen}");
    }
    world.stop_gateway();
    let said = gw(&world, &["status", "--interval", "100ms"]).await;
    assert!(said.out.contains("not reached"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_doctor_finds_nothing_wrong_with_a_gateway_that_works_and_names_what_is_broken() {
    let mut world = World::start().await;
    let address = world.gateway().api.trim_start_matches("http://").to_owned();
    let well = gw(&world, &["doctor", "--api-addr", &address]).await.ok();
    assert!(!well.contains("fail  "), "{well}");
    for part in [
        "a gateway answers on the API listener",
        "the database has this version's tables",
        "streams and their consumers are as wanted",
        "router keeps up",
    ] {
        assert!(well.contains(part), "{part} is not in\n{well}");
    }
    let away = format!("nats://user:{PASSWORD}@127.0.0.1:1");
    gw(&world, &["doctor", "--nats-url", &away]).await.fails(1, &["fail  ", "NATS_URL"]);
    let stranger = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = stranger.local_addr().expect("an address").to_string();
    drop(stranger.set_nonblocking(true));
    gw(&world, &["doctor", "--api-addr", &taken])
        .await
        .fails(1, &["something else has the API listener's", "GW_API_ADDR"]);
    let broken = format!("postgres://user:{PASSWORD}@127.0.0.1:1/gw");
    gw(&world, &["doctor", "--database-url", &broken]).await.fails(1, &["DATABASE_URL"]);
    gw(&world, &["doctor", "--role", "ingest", "--encryption-key", SECRET]).await.fails(1, &["GW_ENCRYPTION_KEY"]);
    let mut shorter = world.command(&["doctor", "--retention", "8d"]);
    shorter.env("GW_API_KEYS", "short");
    let warned = run(shorter).await.ok();
    assert!(warned.contains("fewer than 16 characters") && warned.contains("GW_WEBHOOK differs"), "{warned}");
    world.stop_gateway();
    let down = gw(&world, &["doctor", "--api-addr", &address]).await;
    assert!(down.out.contains("no gateway runs on it"), "{down:?}");
    if world.owns_broker() {
        assert!(down.out.contains("no broker") || down.out.contains("broker does not run"), "{down:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_topology_shows_compares_and_applies_and_never_shrinks_unasked() {
    let world = World::start().await;
    let shown: Value = serde_json::from_str(&gw(&world, &["topology", "show"]).await.ok()).expect("JSON");
    let names: Vec<&str> =
        shown.as_array().expect("a list").iter().filter_map(|entry| entry["stream"]["name"].as_str()).collect();
    assert!(
        names.contains(&"GW_WEBHOOK") && names.contains(&"KV_gw_routes") && names.contains(&"OBJ_gw_payload"),
        "{names:?}"
    );
    let same = "nothing to do";
    assert!(gw(&world, &["topology", "diff"]).await.ok().contains(same));
    gw(&world, &["topology", "--retention", "9d", "diff"])
        .await
        .fails(1, &["~ GW_EVENT", "max_age", "gw topology apply"]);
    assert!(gw(&world, &["topology", "--retention", "9d", "apply"]).await.ok().contains("~ GW_WEBHOOK"));
    assert!(gw(&world, &["topology", "--retention", "9d", "apply"]).await.ok().contains(same));
    gw(&world, &["topology", "apply"]).await.fails(1, &["--force"]);
    assert!(
        gw(&world, &["topology", "--retention", "9d", "diff"]).await.ok().contains(same),
        "what was refused changed nothing"
    );
    gw(&world, &["topology", "apply", "--force"]).await.ok();
    assert!(gw(&world, &["topology", "diff"]).await.ok().contains(same));
    gw(&world, &["topology", "--max-bytes", "GW_NONE=1GiB", "diff"]).await.fails(64, &["gw topology show"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_link_adds_lists_and_removes_and_gw_routes_rebuilds() {
    let mut world = World::start().await;
    assert!(gw(&world, &["link", "list"]).await.ok().contains("gw link add --help"));
    let add = ["link", "add", "--org", "org_1", "--provider", "github", "--account", "1", "--resource", "42"];
    let added = gw(&world, &add).await.ok();
    assert!(added.contains("github repository 42 -> org_1"), "{added}");
    let id = added.split([' ', ':']).nth(1).expect("an id").to_owned();
    gw(&world, &add).await.fails(1, &["409", &id]);
    let account = [
        "link",
        "add",
        "--org",
        "org_2",
        "--provider",
        "linear",
        "--account",
        "lin-1",
        "--events",
        "Issue,linear:comment.*",
        "--workspace",
        "ws_1",
    ];
    assert!(gw(&world, &account).await.ok().contains("linear organization lin-1 -> org_2"));
    let list = gw(&world, &["link", "list"]).await.ok();
    assert!(list.contains("Issue,linear:comment.*") && list.contains("ws_1") && list.contains("defaults"), "{list}");
    let own: Value =
        serde_json::from_str(&gw(&world, &["link", "list", "--org", "org_1", "--json"]).await.ok()).expect("JSON");
    assert_eq!(
        (own.as_array().map(Vec::len), &own[0]["id"], &own[0]["providerResourceId"]),
        (Some(1), &json!(id), &json!("42"))
    );
    eventually("both links are routes", || async { (world.metric("gw_routes").await == 2.0).then_some(()) }).await;
    world.accept(&Webhook::push(42, 1)).await;
    world.events("org_1", 1).await;
    gw(&world, &["link", "add", "--org", "o", "--provider", "github", "--account", "1", "--kind", "planet"])
        .await
        .fails(64, &["repository"]);
    gw(&world, &["link", "add", "--org", "o", "--provider", "gitlab", "--account", "1"]).await.fails(64, &["github"]);
    assert!(gw(&world, &["routes", "rebuild"]).await.ok().contains("rebuilt 2 routes of 2 connections; 0 removed"));
    assert_eq!(gw(&world, &["link", "remove", &id]).await.ok(), format!("removed {id}\n"));
    assert!(!gw(&world, &["link", "list"]).await.ok().contains(&id));
    gw(&world, &["link", "remove", &id]).await.fails(1, &[&format!("no link {id}: `gw link list`")]);
    gw(&world, &["link", "--api-key", "a-wrong-key", "list"]).await.fails(1, &["401", "GW_API_KEY"]);
    let mut keyless = world.command(&["link", "list"]);
    keyless.env_remove("GW_API_KEY");
    run(keyless).await.fails(1, &["GW_API_KEY", "GW_API_KEYS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_gateway_works_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = |arguments: &[&str]| bare(folder.path(), arguments);
    for _ in 0..2 {
        run(bare(&["migrate"])).await.ok();
        assert!(folder.path().join("data/gw.db").is_file());
    }
    let doctor = run(bare(&["doctor", "--role", "vault", "--api-addr", "127.0.0.1:0"])).await;
    assert!(doctor.out.contains("the database has this version's tables"), "{doctor:?}");
    let help = run(bare(&["--help"])).await.ok();
    let commands =
        ["serve", "send", "tail", "status", "doctor", "migrate", "topology", "link", "routes", "completions"];
    for command in commands {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command} is not in\n{help}"
        );
        run(bare(&[command, "--help"])).await.ok();
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(bare(&["completions", shell])).await.ok();
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    // A reader that leaves early is told nothing.
    let mut unread = bare(&["completions", "bash"]);
    let mut left = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gw runs");
    drop(left.stdout.take());
    let ended = left.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
    // A setting without a value is the same as none.
    let mut blank = bare(&["topology", "show"]);
    blank.envs(
        [
            "NATS_URL",
            "NATS_CREDS",
            "GW_REPLICAS",
            "GW_RETENTION",
            "GW_MAX_BYTES",
            "GW_DATA_DIR",
            "RUST_LOG",
            "GW_LOG_FORMAT",
        ]
        .map(|name| (name, "")),
    );
    assert!(run(blank).await.ok().contains("GW_WEBHOOK"));
    run(bare(&["tail"])).await.fails(64, &["NATS_URL"]);
}
