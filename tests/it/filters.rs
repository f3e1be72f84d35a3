//! What a link's `sync.events` admit, and what is said of the rest.

use nats::topology;
use schemas::subject;
use serde_json::{Value, json};
use tests::{Link, Webhook, World};

const OPENED: &str = "github:pull-request.opened";
const PUSH: &str = "github:push";
const CLOSED: &str = "github:issue.closed";
const CHECK: &str = "github:check-run.completed";

/// A filter and the types it admits of the four.
const CASES: &[(Option<&[&str]>, &[&str])] = &[
    (None, &[OPENED, PUSH, CLOSED]),
    (Some(&[]), &[]),
    (Some(&["*"]), &[OPENED, PUSH, CLOSED, CHECK]),
    (Some(&["github:*"]), &[OPENED, PUSH, CLOSED, CHECK]),
    (Some(&["github:pull-request.opened"]), &[OPENED]),
    (Some(&["github:pull-request.*"]), &[OPENED]),
    (Some(&["github:pull-request.merged"]), &[]),
    (Some(&["github:push"]), &[PUSH]),
    (Some(&["github:push.*"]), &[PUSH]),
    (Some(&["pull_request"]), &[OPENED]),
    (Some(&["push", "issues"]), &[PUSH, CLOSED]),
    (Some(&["check_run"]), &[CHECK]),
    (Some(&["linear:*"]), &[]),
    (Some(&["pull"]), &[]),
];

fn webhooks() -> [Webhook; 4] {
    let of = |event, action| {
        let object = json!({ "id": 7, "number": 7, "title": "t", "merged": false });
        let body = json!({ "action": action, "repository": { "id": 42 }, "installation": { "id": 1 }, "pull_request": object, "issue": object });
        Webhook::new("github", event, body.to_string())
    };
    [of("pull_request", "opened"), Webhook::push(42, 1), of("issues", "closed"), of("check_run", "completed")]
}

#[track_caller]
fn check(filter: Option<&[&str]>, events: &[Value], expected: &[&str]) {
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types, expected, "{filter:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_gets_what_its_filter_admits_and_the_rest_is_said_not_dropped() {
    let mut world = World::start().await;
    let orgs: Vec<String> = (0..CASES.len()).map(|number| format!("org_{number:02}")).collect();
    let mut links = Vec::new();
    for (org, (events, _)) in orgs.iter().zip(CASES) {
        links.push(world.link(&Link { events: *events, ..Link::repository(org, "42") }).await.1);
    }
    let webhooks = webhooks();
    for webhook in &webhooks {
        world.accept(webhook).await;
    }
    world.settled().await;
    for (org, (filter, expected)) in orgs.iter().zip(CASES) {
        let events = world.events(org, 0).await;
        check(*filter, &events, expected);
    }
    let mut filtered = 0;
    for (webhook, kind) in webhooks.iter().zip([OPENED, PUSH, CLOSED, CHECK]) {
        let refused = (0..CASES.len()).filter(|at| !CASES[*at].1.contains(&kind));
        let expected: Vec<Value> = refused.map(|at| json!({ "orgId": orgs[at], "linkIds": [links[at]] })).collect();
        let outcomes = world.messages(topology::GW_OUTCOME, &subject::outcome("github", &webhook.delivery())).await;
        assert_eq!(outcomes.len(), 1, "{kind}");
        let outcome: Value = serde_json::from_slice(&outcomes[0].payload).expect("an outcome");
        assert_eq!((&outcome["outcome"], &outcome["filtered"]), (&json!("filtered"), &json!(expected)), "{kind}");
        let admitted = outcome["admitted"].as_array().map_or(0, Vec::len);
        assert_eq!(admitted, CASES.len() - expected.len(), "{kind}");
        assert!(outcome["routeRevision"].as_u64().is_some_and(|revision| revision >= CASES.len() as u64), "{outcome}");
        filtered += expected.len();
    }
    assert_eq!(world.metric("gw_route_filtered_total{provider=\"github\"}").await, filtered as f64);
    assert_eq!(world.count(topology::GW_PARKED, subject::PARKED).await, 0, "what is filtered is claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_link_refuses_is_an_outcome_and_no_event() {
    let mut world = World::start().await;
    let (_, first) = world.link(&Link { events: Some(&["push"]), ..Link::repository("org_1", "42") }).await;
    let (_, second) =
        world.link(&Link { events: Some(&[]), workspace: Some("ws"), ..Link::repository("org_1", "42") }).await;
    let [opened, ..] = webhooks();
    world.accept(&opened).await;
    let outcome = world.stored(topology::GW_OUTCOME, &subject::outcome("github", &opened.delivery()), 1).await;
    let outcome: Value = serde_json::from_slice(&outcome[0].payload).expect("an outcome");
    assert_eq!((&outcome["admitted"], &outcome["filtered"][0]["orgId"]), (&Value::Null, &json!("org_1")));
    let mut named: Vec<&str> =
        outcome["filtered"][0]["linkIds"].as_array().expect("ids").iter().filter_map(Value::as_str).collect();
    named.sort_unstable();
    let mut links = [first.as_str(), second.as_str()];
    links.sort_unstable();
    assert_eq!(named, links);
    world.settled().await;
    assert_eq!(world.count(topology::GW_EVENT, subject::EVENTS).await, 0);
}
