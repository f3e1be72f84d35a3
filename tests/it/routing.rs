//! Who gets a delivery: by resource, by account, and never anybody else.

use std::time::Duration;

use nats::{Mode, Publisher, topology};
use reqwest::Method;
use schemas::{Delivery, Origin, event, subject};
use serde_json::{Value, json};
use tests::{Link, Webhook, World, eventually};

/// Everything of a resource or an account.
const ALL: Option<&[&str]> = Some(&["*"]);

fn account<'a>(org: &'a str, account: &'a str) -> Link<'a> {
    Link { account, kind: "installation", target: account, events: ALL, ..Link::repository(org, "") }
}

/// A delivery about an installation, which names these repositories.
fn installation(account: u64, repositories: impl IntoIterator<Item = u64>) -> Webhook {
    let repositories: Vec<Value> = repositories.into_iter().map(|id| json!({ "id": id })).collect();
    let body = json!({ "action": "created", "installation": { "id": account }, "repositories": repositories });
    Webhook::new("github", "installation", body.to_string())
}

/// The delivery ids of an organisation's events, once the router has dealt with everything.
async fn deliveries(world: &mut World, org: &str) -> Vec<String> {
    world.settled().await;
    let events = world.events(org, 0).await;
    events.iter().map(|event| event["deliveryId"].as_str().expect("a delivery id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn organisations_that_share_a_resource_each_get_an_event_of_their_own() {
    let mut world = World::start().await;
    let (first, _) = world.link(&Link::repository("org_1", "42")).await;
    let (second, _) = world.link(&Link { account: "2", ..Link::repository("org_2", "42") }).await;
    let (third, _) = world.link(&Link::repository("org_3", "43")).await;
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    world.settled().await;
    let messages = world.messages(topology::GW_EVENT, subject::EVENTS).await;
    assert_eq!(messages.len(), 2, "{messages:?}");
    for (org, connection, others) in [("org_1", &first, [&second, &third]), ("org_2", &second, [&first, &third])] {
        let prefix = format!("gw.event.{org}.github.push.~.");
        let message = messages.iter().find(|message| message.subject.starts_with(&prefix)).expect("an event");
        let id = event::id("github", &webhook.delivery(), org, None);
        assert_eq!((message.id(), message.header("ce-id")), (Some(id.as_str()), Some(id.as_str())));
        assert_eq!(message.subject, format!("{prefix}{id}"));
        let body: Value = serde_json::from_slice(&message.payload).expect("an event");
        assert_eq!((&body["orgId"], &body["connectionId"]), (&json!(org), &json!(connection)));
        assert_eq!(body["connectionIds"], json!([connection]));
        let all = format!("{} {:?}", String::from_utf8_lossy(&message.payload), message.header_list());
        let foreign = ["org_1", "org_2", "org_3"].into_iter().filter(|other| *other != org);
        for other in foreign.chain(others.map(String::as_str)) {
            assert!(!all.contains(other), "{org} sees {other}: {all}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_link_gets_everything_of_its_account_and_nothing_of_another() {
    let mut world = World::start().await;
    world.link(&account("org_1", "1")).await;
    let own = [Webhook::push(42, 1), Webhook::push(43, 1), installation(1, []), installation(1, [42, 43])];
    for webhook in own.iter().chain(&[Webhook::push(42, 2), installation(2, [42])]) {
        world.accept(webhook).await;
    }
    let expected: Vec<String> = own.iter().map(Webhook::delivery).collect();
    assert_eq!(deliveries(&mut world, "org_1").await, expected);
    assert_eq!(world.count(topology::GW_PARKED, subject::PARKED).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_without_a_resource_goes_to_everybody_under_its_account_whose_filter_admits_it() {
    let mut world = World::start().await;
    world.link(&Link { events: ALL, ..Link::repository("org_1", "42") }).await;
    world.link(&Link { events: ALL, ..Link::repository("org_1", "43") }).await;
    world.link(&Link { events: Some(&["installation"]), ..Link::repository("org_2", "44") }).await;
    let (_, refusing) = world.link(&Link::repository("org_3", "44")).await;
    world.link(&account("org_4", "2")).await;
    world.link(&Link { account: "2", events: ALL, ..Link::repository("org_5", "1") }).await;
    let webhook = installation(1, []);
    world.accept(&webhook).await;
    for (org, expected) in [("org_1", 1), ("org_2", 1), ("org_3", 0), ("org_4", 0), ("org_5", 0)] {
        assert_eq!(deliveries(&mut world, org).await.len(), expected, "{org}");
    }
    let outcome = world.stored(topology::GW_OUTCOME, &subject::outcome("github", &webhook.delivery()), 1).await;
    let outcome: Value = serde_json::from_slice(&outcome[0].payload).expect("an outcome");
    assert_eq!(outcome["filtered"], json!([{ "orgId": "org_3", "linkIds": [refusing] }]));
    let admitted = outcome["admitted"].as_array().expect("organisations").iter().map(|claim| &claim["orgId"]);
    assert_eq!(
        (&outcome["outcome"], admitted.collect::<Vec<_>>()),
        (&json!("filtered"), vec![&json!("org_1"), &json!("org_2")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_organisations_claim_a_delivery_each_gets_its_event_and_all_are_named() {
    const ORGANISATIONS: usize = 201;
    let mut world = World::start().await;
    for number in 0..ORGANISATIONS {
        world.link(&Link::repository(&format!("org_{number}"), "42")).await;
    }
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    world.counted(topology::GW_EVENT, subject::EVENTS, ORGANISATIONS as u64, Duration::from_secs(30)).await;
    let outcomes = world.stored(topology::GW_OUTCOME, &subject::outcome("github", &webhook.delivery()), 2).await;
    let admitted = |message: &nats::Message| {
        let outcome: Value = serde_json::from_slice(&message.payload).expect("an outcome");
        assert_eq!(outcome["outcome"], "routed");
        outcome["admitted"].as_array().expect("organisations").len()
    };
    assert_eq!(outcomes.iter().map(admitted).collect::<Vec<_>>(), [200, 1]);
    let report = world.api(Method::GET, "/audit", None).await.body;
    let organisations = report["organisations"].as_array().map(Vec::len);
    assert_eq!((&report["error"], organisations), (&json!(0), Some(ORGANISATIONS)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_resource_and_the_same_id_of_an_account_never_meet() {
    let mut world = World::start().await;
    world.link(&account("org_account", "42")).await;
    world.link(&Link { events: ALL, ..Link::repository("org_resource", "42") }).await;
    let (resource, by_account) = (Webhook::push(42, 7), Webhook::push(9, 42));
    for webhook in [&resource, &by_account, &installation(7, []), &installation(9, [7])] {
        world.accept(webhook).await;
    }
    assert_eq!(deliveries(&mut world, "org_account").await, [by_account.delivery()]);
    assert_eq!(deliveries(&mut world, "org_resource").await, [resource.delivery()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_about_several_resources_is_one_event_an_organisation() {
    let mut world = World::start().await;
    let (first, _) = world.link(&Link { events: ALL, ..Link::repository("org_1", "42") }).await;
    let (second, _) = world.link(&Link { account: "2", events: ALL, ..Link::repository("org_1", "42") }).await;
    world.link(&Link { events: ALL, ..Link::repository("org_1", "43") }).await;
    world.link(&Link { events: ALL, ..Link::repository("org_2", "400") }).await;
    world.link(&Link { events: ALL, ..Link::repository("org_3", "999") }).await;
    // More than fit into headers: the last is found all the same.
    world.accept(&installation(1, 42..=400)).await;
    world.settled().await;
    let events = world.events("org_1", 1).await;
    assert_eq!(events.len(), 1);
    let mut connections = [first, second];
    connections.sort();
    assert_eq!(events[0]["connectionIds"], json!(connections));
    assert_eq!(events[0]["connectionId"], json!(connections[0]));
    assert_eq!(world.events("org_2", 1).await.len(), 1);
    assert_eq!(world.events("org_3", 0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_names_the_workspaces_whose_own_link_admits_it() {
    let mut world = World::start().await;
    let link = |workspace, events| Link { workspace, events, ..Link::repository("org_1", "42") };
    world.link(&link(Some("ws_b"), Some(&["push"]))).await;
    world.link(&link(Some("ws_a"), Some(&["push", "issues"]))).await;
    world.link(&link(None, Some(&["*"]))).await;
    let about =
        |event| Webhook::new("github", event, json!({ "action": "opened", "repository": { "id": 42 } }).to_string());
    for (event, workspaces) in [("push", json!(["ws_a", "ws_b"])), ("issues", json!(["ws_a"])), ("watch", json!([]))] {
        let before = world.events("org_1", 0).await.len();
        world.accept(&about(event)).await;
        let events = world.events("org_1", before + 1).await;
        let last = events.last().expect("an event");
        assert_eq!((&last["eventType"], &last["workspaces"]), (&json!(event), &workspaces));
        assert_eq!(last["connectionIds"].as_array().map(Vec::len), Some(1), "the connection is named once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unlinking_stops_the_events_of_that_organisation_only() {
    let mut world = World::start().await;
    let (connection, link) = world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "42")).await;
    world.accept(&Webhook::push(42, 1)).await;
    assert_eq!(deliveries(&mut world, "org_1").await.len(), 1);
    let removed = world.api(Method::DELETE, &format!("/connections/{connection}/resources/{link}"), None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    eventually("the route is gone", || async { (world.metric("gw_routes").await < 1.5).then_some(()) }).await;
    for _ in 0..20 {
        world.accept(&Webhook::push(42, 1)).await;
    }
    assert_eq!(deliveries(&mut world, "org_1").await.len(), 1);
    assert_eq!(deliveries(&mut world, "org_2").await.len(), 21);
    assert_eq!(world.count(topology::GW_PARKED, subject::PARKED).await, 0, "another organisation claims them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_nobody_normalises_is_an_event_all_the_same() {
    let mut world = World::start().await;
    world.link(&Link { events: ALL, ..Link::repository("org_1", "42") }).await;
    let body = json!({ "action": "completed", "repository": { "id": 42 }, "check_run": { "id": 7, "big": 12_345_678_901_234_567_890_u64 } });
    world.accept(&Webhook::new("github", "check_run", body.to_string())).await;
    world.accept(&Webhook::new("github", "never_heard_of", json!({ "repository": { "id": 42 } }).to_string())).await;
    let events = world.events("org_1", 2).await;
    assert_eq!((&events[0]["type"], &events[0]["event"]), (&json!("github:check-run.completed"), &Value::Null));
    assert_eq!(events[0]["payload"], body);
    assert_eq!((&events[1]["type"], &events[1]["event"]), (&json!("github:never-heard-of"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_makes_too_large_an_event_is_a_dead_letter_and_holds_up_nobody() {
    let mut world = World::start().await;
    world.link(&Link { events: ALL, ..Link::repository("org_1", "42") }).await;
    let name = "x".repeat(1 << 20);
    let body = json!({ "action": name, "repository": { "id": 42 }, "installation": { "id": 1 } });
    world.accept(&Webhook::new("github", "watch", body.to_string())).await;
    let labels: Vec<Value> = (0..20_000).map(|id| json!({ "id": id, "name": format!("label {id}") })).collect();
    let mut body: Value = serde_json::from_slice(&Webhook::sample("github", "pull_request").body).expect("JSON");
    body["pull_request"]["labels"] = json!(labels);
    (body["repository"]["id"], body["installation"]["id"]) = (json!(42), json!(1));
    let many = Webhook::new("github", "pull_request", body.to_string());
    world.accept(&many).await;
    let next = Webhook::push(42, 1);
    world.accept(&next).await;
    let events = deliveries(&mut world, "org_1").await;
    assert_eq!(events.last(), Some(&next.delivery()));
    let dead = world.count(topology::GW_DLQ, subject::DEAD).await;
    assert_eq!(events.len() as u64 + dead, 3, "every one is an event or a dead letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_becomes_history() {
    let mut world = World::start().await;
    let (connection, _) = world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "42")).await;
    let (publisher, task) = Publisher::new(&world.broker().await, Mode::Pipeline);
    tokio::spawn(task);
    let webhook = Webhook::push(42, 1);
    let delivery = Delivery {
        provider: "github".into(),
        event: Some("push".into()),
        id: "backfill-1".into(),
        account: Some("1".into()),
        resources: vec!["42".into()],
        received_at: 1_700_000_000_000,
        origin: Origin::Backfill,
        bound: Some(schemas::Bound { connection, org: "org_1".into() }),
        correlation: None,
        signature_key: None,
        body_sha256: "00".into(),
        payload_ref: None,
        kept: Vec::new(),
    };
    let message = nats::Outgoing {
        subject: subject::webhook(&delivery),
        id: delivery.message_id(),
        headers: delivery.headers(),
        payload: webhook.body.into(),
        once: true,
        ..nats::Outgoing::default()
    };
    assert!(message.subject.starts_with("gw.history.webhook.github.push."));
    publisher.publish(message, tokio::time::Instant::now() + Duration::from_secs(5)).await.expect("stored");
    let events = world.stored(topology::GW_EVENT, subject::HISTORY_EVENTS, 1).await;
    assert!(events[0].subject.starts_with("gw.history.event.org_1.github.push.~."), "{}", events[0].subject);
    let body: Value = serde_json::from_slice(&events[0].payload).expect("an event");
    assert_eq!((&body["origin"], &body["deliveryId"]), (&json!("backfill"), &json!("backfill-1")));
    world.settled().await;
    assert_eq!(world.count(topology::GW_EVENT, subject::EVENTS).await, 0, "history stays apart");
    assert_eq!(world.count(topology::GW_EVENT, subject::HISTORY_EVENTS).await, 1, "and with its own organisation");
}
