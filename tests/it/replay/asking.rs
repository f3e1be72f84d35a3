//! How replays are asked for: by API, by command, by message.

use nats::{
    Outgoing,
    topology::{GW_COMMAND, GW_REPLAY},
};
use reqwest::Method;
use schemas::subject;
use serde_json::{Value, json};
use tests::{KEY, eventually};
use tokio::time::Instant;

use super::{Ground, publisher};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_told_everything_and_a_foreign_one_finds_nothing() {
    let mut ground = Ground::start().await;
    let wrong = json!({ "mode": "again", "type": "x", "since": "soon", "ratePerSecond": -1, "colour": "red" });
    let answer = ground.world.api(Method::POST, "/replays", Some(wrong)).await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_body")));
    for field in ["mode", "type", "since", "ratePerSecond", "body"] {
        assert!(answer.body["errors"][field].is_array(), "{field}: {:?}", answer.body);
    }
    let unknown = json!({ "mode": "redeliver", "endpointIds": ["ep_none"] });
    let answer = ground.world.api(Method::POST, "/replays", Some(unknown)).await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{answer:?}");
    assert_eq!(answer.body["errors"]["endpointIds"], json!(["names no endpoint: ep_none"]));
    for flood in [json!({ "mode": "redeliver" }), json!({ "mode": "redeliver", "onlyFailed": true })] {
        let answer = ground.world.api(Method::POST, "/replays", Some(flood)).await;
        assert_eq!((answer.status, answer.body["errors"]["all"].is_array()), (400, true), "{answer:?}");
    }
    let nobody = json!({ "mode": "redeliver", "orgId": "org_1", "endpointIds": [] });
    let answer = ground.world.api(Method::POST, "/replays", Some(nobody)).await;
    assert_eq!(answer.body["errors"]["endpointIds"], json!(["must name at least one, or be left out"]), "{answer:?}");
    let many: Vec<String> = (0..1_001).map(|number| format!("ep_{number}")).collect();
    let many = json!({ "mode": "redeliver", "endpointIds": many });
    let answer = ground.world.api(Method::POST, "/replays", Some(many)).await;
    assert_eq!((answer.status, answer.body["errors"]["endpointIds"].is_array()), (400, true), "{answer:?}");
    assert_eq!(ground.world.count(GW_COMMAND, subject::REPLAY_REQUESTED).await, 0, "nothing of it is stored");
    let id = ground.replay(json!({ "mode": "redeliver", "to": "subject", "orgId": "org_1" })).await;
    let narrowed = [("x-api-key", KEY), ("x-org-id", "org_2")];
    let path = format!("/replays/{id}");
    assert_eq!(ground.world.api_with(Method::GET, &path, None, &narrowed).await.status, 404);
    assert_eq!(ground.world.api_with(Method::POST, &format!("{path}/cancel"), None, &narrowed).await.status, 404);
    let listed = ground.world.api_with(Method::GET, "/replays", None, &narrowed).await;
    assert_eq!(listed.body["replays"], json!([]));
    let foreign = json!({ "mode": "redeliver", "to": "subject", "orgId": "org_1" });
    assert_eq!(ground.world.api_with(Method::POST, "/replays", Some(foreign), &narrowed).await.status, 404);
    assert_eq!(ground.world.api(Method::GET, "/replays/rpl_none", None).await.status, 404);
    assert_eq!(ground.world.api(Method::GET, "/replays?limit=0", None).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_somebody_stored_becomes_one_replay_however_often_it_is_stored() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..30).await;
    let publisher = publisher(&mut ground.world).await;
    for try_number in 0..2 {
        let command = Outgoing {
            subject: subject::REPLAY_REQUESTED.to_owned(),
            id: format!("mine-{try_number}"),
            payload: json!({ "id": "rpl_mine", "mode": "redeliver", "to": "subject" }).to_string().into(),
            ..Outgoing::default()
        };
        publisher.publish(command, Instant::now() + std::time::Duration::from_secs(5)).await.expect("stored");
    }
    eventually("it is known", || async { (ground.look("rpl_mine").await["status"] == "done").then_some(()) }).await;
    assert_eq!(ground.world.count(GW_REPLAY, &subject::replayed_of("rpl_mine")).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_start_follow_list_show_and_cancel_replays() {
    let mut ground = Ground::start().await;
    ground.events("org_1", 0..40).await;
    let (code, said, err) =
        ground.world.gw(&["replay", "redeliver", "--to", "subject", "--org", "org_1", "--rate", "max"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(said.contains("done: read 40, published 40") && said.contains("organisation org_1: 40"), "{said}");
    let (code, said, _) = ground.world.gw(&["replay", "reroute", "--dry-run", "--since", "1h", "--json"]).await;
    let shown: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &shown["status"], &shown["dryRun"]), (0, &json!("done"), &json!(true)));
    for name in ["requestedAt", "since", "startedAt"] {
        assert!(shown[name].as_str().and_then(schemas::instant::parse).is_some(), "{name}: {shown}");
    }
    let (_, said, _) = ground.world.gw(&["replay", "list"]).await;
    assert!(said.contains("reroute (dry run)") && said.contains("redeliver"), "{said}");
    let (_, said, _) =
        ground.world.gw(&["replay", "redeliver", "--to", "subject", "--rate", "1", "--detach", "--json"]).await;
    let id = serde_json::from_str::<Value>(&said).expect("JSON")["id"].as_str().expect("an id").to_owned();
    let (code, said, _) = ground.world.gw(&["replay", "cancel", &id]).await;
    assert_eq!((code, said.contains("cancelled")), (0, true), "{said}");
    for word in ["show", "cancel"] {
        let (code, _, err) = ground.world.gw(&["replay", word, "rpl_x"]).await;
        assert_eq!((code, err.as_str()), (1, "gw: no replay rpl_x: `gw replay list` shows those there are\n"));
    }
    let (code, _, err) = ground.world.gw(&["replay", "redeliver", "--from", "9", "--up-to", "3", "--all"]).await;
    assert_eq!((code, err.contains("--up-to: must not be before --from")), (1, true), "{err}");
    for flood in [&["replay", "redeliver"][..], &["replay", "redeliver", "--only-failed"]] {
        let (code, _, err) = ground.world.gw(flood).await;
        assert_eq!((code, err.contains("--endpoint") && err.contains("--all")), (64, true), "{err}");
    }
    for counted in [&["replay", "redeliver", "--dry-run"][..], &["replay", "redeliver", "--all"]] {
        let (code, said, err) = ground.world.gw(counted).await;
        assert_eq!((code, said.contains("done: read 40")), (0, true), "{said}{err}");
    }
    let (code, _, err) = ground.world.gw(&["replay", "redeliver", "--dry-run", "--rate", "fast"]).await;
    assert_eq!((code, err.contains("--rate")), (64, true), "{err}");
}
