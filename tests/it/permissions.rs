//! The users of the shipped `cluster.conf`: each may do what its role needs, and nothing else.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Setup, Webhook, eventually};

use crate::{
    raw::Raw,
    roles::Roles,
    server::{self, Server},
};

const USERS: [&str; 10] =
    ["ADMIN", "INGEST", "ROUTER", "DELIVER", "LEDGER", "VAULT", "BACKFILL", "EVENTS", "SYS", "ROUTE"];

/// Each user's password is made of its name.
fn login(role: &'static str) -> Option<(&'static str, &'static str)> {
    Some(match role {
        "admin" => ("admin", "admin-password"),
        "ingest" => ("ingest", "ingest-password"),
        "router" => ("router", "router-password"),
        "ledger" => ("ledger", "ledger-password"),
        "deliver" => ("deliver", "deliver-password"),
        "vault" => ("vault", "vault-password"),
        "backfill" => ("backfill", "backfill-password"),
        "events" => ("events", "events-password"),
        other => panic!("no user {other}"),
    })
}

fn environment(store: &str, port: u16) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = vec![
        ("GW_NODE_NAME".to_owned(), "nats-1".to_owned()),
        ("GW_NODE_LISTEN".to_owned(), format!("\"127.0.0.1:{port}\"")),
        ("GW_NODE_CLUSTER_LISTEN".to_owned(), "\"127.0.0.1:-1\"".to_owned()),
        ("GW_NODE_STORE".to_owned(), format!("\"{store}\"")),
        ("GW_NODE_ROUTES".to_owned(), "[\"nats://node:route-password@127.0.0.1:6222\"]".to_owned()),
    ];
    for user in USERS {
        env.push((format!("GW_NATS_{user}_PASSWORD"), format!("\"{}-password\"", user.to_lowercase())));
    }
    env
}

/// The shipped file without its `cluster` block: one node.
fn one_node() -> String {
    let conf = nats::CLUSTER_CONF;
    let begin = conf.find("\ncluster {").expect("a cluster block");
    let end = begin + conf[begin..].find("\n}\n").expect("its end") + 2;
    format!("{}{}", &conf[..begin], &conf[end..])
}

async fn server() -> Server {
    Server::start(&one_node(), |folder, port| environment(&folder.join("store").display().to_string(), port)).await
}

#[test]
fn nats_server_takes_both_shipped_configurations() {
    let store = tempfile::tempdir().expect("a folder");
    let env = environment(&store.path().display().to_string(), 4222);
    for conf in [nats::NATS_CONF, nats::CLUSTER_CONF] {
        let (taken, said) = server::test(conf, &env);
        assert!(taken, "{said}");
    }
    let (taken, said) = server::test(nats::CLUSTER_CONF, &env[..env.len() - 1]);
    assert!(!taken && said.contains("GW_NATS_ROUTE_PASSWORD"), "a variable that is not set stops it: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_permissions_on_all_promises_hold_and_no_user_meets_a_wall() {
    let server = server().await;
    let mut roles = Roles::start(&server, login).await;
    roles.promises().await;
    for world in [&mut roles.ingest, &mut roles.router, &mut roles.deliver, &mut roles.vault] {
        assert_eq!(world.stop_gateway().code(), Some(0));
        let log = world.gateway().log();
        assert!(!log.to_lowercase().contains("violation"), "{log}");
    }
    let log = server.log();
    assert!(!log.contains("Violation"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_permissions_on_the_ledger_reads_all_it_needs() {
    let server = server().await;
    let roles = Roles::start(&server, login).await;
    let setup = Setup::new().with("GW_ROLE", "ledger").with("GW_TOPOLOGY", "check");
    let mut ledger = setup.with("NATS_URL", server.url(login("ledger"))).start_on(&server.url(login("admin")));
    ledger.ready().await;
    roles.ingest.accept(&Webhook::push(42, 1)).await;
    eventually("the delivery is parked and adds up", || async {
        let report = ledger.api(Method::GET, "/audit", None).await.body;
        (report["error"] == 0 && report["providers"][0]["parked"] == 1).then_some(())
    })
    .await;
    let page = ledger.api(Method::GET, "/deliveries", None).await.body;
    assert_eq!(page["deliveries"][0]["status"], "parked", "{page}");
    assert_eq!(ledger.stop_gateway().code(), Some(0));
    let log = ledger.gateway().log();
    assert!(!log.to_lowercase().contains("violation"), "{log}");
}

/// What a user may not do.
enum Forbidden {
    Publish(&'static str),
    Subscribe(&'static str),
    Ask(&'static str, Value),
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_does_not_need_is_refused() {
    use Forbidden::{Ask, Publish, Subscribe};
    let server = server().await;
    let consumer = |stream: &str, name: &str| json!({ "stream_name": stream, "config": { "durable_name": name, "ack_policy": "explicit", "deliver_subject": "_INBOX_ingest.x" } });
    let stream = || json!({ "name": "MINE", "subjects": ["mine.>"], "storage": "file" });
    let mut admin = Raw::connect(&server.url(login("admin"))).await;
    for name in ["GW_WEBHOOK", "GW_EVENT"] {
        let kind = name.trim_start_matches("GW_").to_lowercase();
        let config = json!({ "name": name, "subjects": [format!("gw.{kind}.>")], "storage": "file" });
        admin.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config).await.expect("the admin may");
    }
    for (role, forbidden) in [
        ("ingest", Ask("$JS.API.CONSUMER.CREATE.GW_WEBHOOK.mine", consumer("GW_WEBHOOK", "mine"))),
        ("ingest", Ask("$JS.API.CONSUMER.DURABLE.CREATE.GW_WEBHOOK.mine", consumer("GW_WEBHOOK", "mine"))),
        ("ingest", Ask("$JS.API.CONSUMER.MSG.NEXT.GW_WEBHOOK.router", json!({}))),
        ("ingest", Ask("$JS.API.STREAM.MSG.GET.GW_WEBHOOK", json!({ "seq": 1 }))),
        ("ingest", Ask("$JS.API.DIRECT.GET.GW_WEBHOOK", json!({ "seq": 1 }))),
        ("ingest", Subscribe("gw.>")),
        ("ingest", Subscribe("_INBOX_router.>")),
        ("ingest", Publish("gw.event.org.github.push.x")),
        ("ingest", Publish("$KV.gw_routes.github.x")),
        ("ingest", Publish("$JS.ACK.GW_WEBHOOK.router.1.1.1.1.1")),
        ("router", Publish("gw.webhook.x")),
        ("router", Publish("gw.history.webhook.x")),
        ("router", Publish("$KV.gw_routes.github.x")),
        ("router", Subscribe("gw.event.>")),
        ("router", Ask("$JS.API.CONSUMER.CREATE.GW_WEBHOOK.mine", consumer("GW_WEBHOOK", "mine"))),
        ("router", Ask("$JS.API.CONSUMER.DELETE.GW_WEBHOOK.router", json!({}))),
        ("router", Ask("$JS.API.STREAM.PURGE.GW_EVENT", json!({}))),
        ("router", Publish("gw.attempt.x")),
        ("router", Publish("gw.retry.wait.x")),
        ("router", Publish("gw.job.task.redeliver.x.walk")),
        ("router", Publish("gw.replay.requested")),
        ("router", Publish("gw.retry.due.x.y")),
        ("ingest", Publish("gw.job.task.reroute.x.walk")),
        ("vault", Publish("gw.job.state.x")),
        ("vault", Publish("gw.retry.due.x.y")),
        ("events", Publish("gw.job.state.x")),
        ("deliver", Ask("$JS.API.STREAM.PURGE.GW_DLQ", json!({}))),
        ("deliver", Publish("gw.webhook.x")),
        ("deliver", Publish("gw.event.org.github.push.x")),
        ("deliver", Publish("$KV.gw_routes.github.x")),
        ("deliver", Subscribe("gw.event.>")),
        ("deliver", Subscribe("$JS.EVENT.ADVISORY.>")),
        ("deliver", Ask("$JS.API.CONSUMER.CREATE.GW_WEBHOOK.mine", consumer("GW_WEBHOOK", "mine"))),
        ("deliver", Ask("$JS.API.CONSUMER.DELETE.GW_RETRY.retry", json!({}))),
        ("deliver", Ask("$JS.API.STREAM.PURGE.GW_EVENT", json!({}))),
        ("vault", Publish("gw.event.x")),
        ("vault", Publish("gw.webhook.x")),
        ("vault", Subscribe("gw.>")),
        ("ledger", Publish("gw.event.x")),
        ("ledger", Publish("gw.attempt.x")),
        ("ledger", Publish("$JS.ACK.GW_WEBHOOK.router.1.1.1.1.1")),
        ("ledger", Ask("$JS.API.STREAM.MSG.DELETE.GW_EVENT", json!({ "seq": 1 }))),
        ("ledger", Ask("$JS.API.STREAM.PURGE.GW_EVENT", json!({}))),
        ("backfill", Publish("gw.event.x")),
        ("backfill", Publish("$KV.gw_routes.github.x")),
        ("events", Publish("gw.event.x")),
        ("events", Subscribe("gw.event.>")),
        ("events", Ask("$JS.API.CONSUMER.CREATE.GW_EVENT.mine", consumer("GW_EVENT", "mine"))),
        ("ingest", Ask("$JS.API.STREAM.CREATE.MINE", stream())),
        ("router", Ask("$JS.API.STREAM.CREATE.MINE", stream())),
        ("deliver", Ask("$JS.API.STREAM.CREATE.MINE", stream())),
        ("vault", Ask("$JS.API.STREAM.CREATE.MINE", stream())),
        ("backfill", Ask("$JS.API.STREAM.CREATE.MINE", stream())),
        ("events", Ask("$JS.API.STREAM.CREATE.MINE", stream())),
        ("router", Ask("$JS.API.STREAM.DELETE.GW_EVENT", json!({}))),
        ("vault", Ask("$JS.API.STREAM.UPDATE.GW_EVENT", stream())),
    ] {
        let mut raw = Raw::connect(&server.url(login(role))).await;
        let (what, done) = match &forbidden {
            Publish(subject) => (*subject, raw.publish(subject, "{}").await),
            Subscribe(subject) => (*subject, raw.subscribe(subject).await),
            Ask(subject, body) => (*subject, raw.request(subject, body).await.map(drop)),
        };
        let refused = done.expect_err(what);
        assert!(refused.contains("Permissions Violation"), "{role} {what}: {refused}");
    }
}
