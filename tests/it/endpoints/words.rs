use serde_json::{Value, json};
use tests::World;

use super::URL;

/// What a command printed; it must have gone well.
async fn ok(world: &World, arguments: &[&str]) -> String {
    let (code, out, err) = world.gw(arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

async fn fails(world: &World, arguments: &[&str], code: i32, part: &str) {
    let (found, out, err) = world.gw(arguments).await;
    assert!(found == code && err.contains(part), "{arguments:?} ended with {found}: {out}{err}");
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_endpoint_says_and_does_what_was_asked_for() {
    let world = World::start().await;
    assert!(ok(&world, &["endpoint", "list"]).await.contains("gw endpoint add --help"));
    let add = ["endpoint", "add", "--org", "org_1", "--url", URL, "--events", "github:*,linear:issue.created"];
    let more = ["--header", "Authorization=Bearer x", "--header", "x-team=a=b", "--timeout", "3s", "--retry", "5s,2m"];
    let rest = ["--rate", "50", "--ordered", "--history", "--format", "cloudevents", "--start", "1", "--json"];
    let made = parse(&ok(&world, &[&add[..], &more, &rest].concat()).await);
    assert_eq!(
        (&made["events"], &made["retrySchedule"], &made["timeoutSeconds"], &made["ordered"], &made["concurrency"]),
        (&json!(["github:*", "linear:issue.created"]), &json!([5, 120]), &json!(3), &json!(true), &json!(1))
    );
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    let id = made["id"].as_str().expect("an id");
    let shown = ok(&world, &["endpoint", "show", id]).await;
    for part in [id, "org_1", URL, "active", "authorization: …", "x-team: …", "5s, 2m", "50/s", "one by one"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("whsec_"), "{shown}");
    let set = ["endpoint", "set", id, "--header", "x-team=", "--reset", "timeout,rate", "--history", "false", "--json"];
    let changed = parse(&ok(&world, &set).await);
    assert_eq!(
        (&changed["headers"], &changed["timeoutSeconds"], &changed["ratePerSecond"], &changed["history"]),
        (&json!({ "authorization": "…" }), &json!(15), &Value::Null, &json!(false))
    );
    for (word, status) in [("pause", "paused"), ("disable", "disabled"), ("resume", "active")] {
        let said = ok(&world, &["endpoint", word, id]).await;
        assert!(said.contains(status), "{said}");
        assert!(ok(&world, &["endpoint", "list", "--status", status]).await.contains(id));
    }
    let rotated = ok(&world, &["endpoint", "rotate", id, "--grace", "1h"]).await;
    assert!(rotated.contains("whsec_") && rotated.contains("signs as well until"), "{rotated}");
    let listed = parse(&ok(&world, &["endpoint", "list", "--org", "org_1", "--json"]).await);
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    fails(&world, &["endpoint", "add", "--org", "org_1", "--url", "http://localhost"], 1, "GW_ENDPOINT_ALLOW").await;
    fails(&world, &["endpoint", "set", id], 64, "nothing to change").await;
    fails(&world, &["endpoint", "set", id, "--header", "x"], 64, "NAME= removes it").await;
    for (flag, value, what) in [
        ("--header", "a=b", "headers"),
        ("--concurrency", "3", "concurrency"),
        ("--retry", "5s", "timeout,retry"),
        ("--history", "false", "history"),
    ] {
        let set = ["endpoint", "set", id, flag, value, "--reset", what];
        fails(&world, &set, 64, &format!("{flag} sets what `--reset")).await;
    }
    fails(&world, &["endpoint", "show", "ep-none"], 1, "no endpoint ep-none: `gw endpoint list`").await;
    assert!(ok(&world, &["endpoint", "remove", id]).await.contains("removed"));
    fails(&world, &["endpoint", "remove", id], 1, "gw endpoint list").await;
    fails(&world, &["endpoint", "set", id, "--header", "a=b"], 1, "no endpoint ep_").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_key_makes_lists_and_revokes_keys() {
    let world = World::start().await;
    assert!(ok(&world, &["key", "list"]).await.contains("gw key add --help"));
    let made = ok(&world, &["key", "add", "--name", "stream", "--scope", "read", "--org", "org_1"]).await;
    assert!(made.contains("made key_") && made.contains("read org_1") && made.contains("gwk_"), "{made}");
    let listed = ok(&world, &["key", "list"]).await;
    assert!(listed.contains("stream") && !listed.contains("gwk_"), "{listed}");
    let listed = parse(&ok(&world, &["key", "list", "--json"]).await);
    let id = listed[0]["id"].as_str().expect("an id");
    fails(&world, &["key", "add", "--scope", "read"], 1, "--org: is required").await;
    assert!(ok(&world, &["key", "revoke", id]).await.contains("revoked"));
    fails(&world, &["key", "revoke", id], 1, &format!("no key {id}: `gw key list`")).await;
}
