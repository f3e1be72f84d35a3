//! A delivery that names its connection is that connection's organisation's from the beginning, and nobody else's.

use nats::{Mode, Outgoing, Publisher};
use reqwest::Method;
use schemas::{Bound, Delivery, subject};
use serde_json::{Value, json};
use tests::{Link, Postgres, Setup, World, eventually};
use tokio::time::{Duration, Instant};

use super::{get, get_as, outages::caught_up, says};

const PATH: &str = "/deliveries/github";

/// A service of ours sends a delivery of `org_1` that names a resource.
async fn send(world: &World, connection: &str, delivery: &str, resource: &str) {
    let form = json!({
        "connectionId": connection, "orgId": "org_1", "deliveryId": delivery, "eventType": "push", "resourceId": resource,
        "payload": { "repository": { "id": 42 }, "ref": "refs/heads/main" }, "receivedAt": 1_767_225_600_123_i64,
    });
    let answer = world.api(Method::POST, PATH, Some(form)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Stores one that nobody can read.
async fn store_unreadable(world: &mut World, connection: &str, id: &str) {
    let broker = world.broker().await;
    let (publisher, group) = Publisher::new(&broker, Mode::Pipeline);
    let group = tokio::spawn(group);
    let delivery = Delivery {
        provider: "github".to_owned(),
        event: Some("push".to_owned()),
        id: id.to_owned(),
        account: Some("1".to_owned()),
        resources: vec!["42".to_owned()],
        received_at: 1_767_225_600_123,
        origin: "service".parse().expect("an origin"),
        bound: Some(Bound { connection: connection.to_owned(), org: "org_1".to_owned() }),
        correlation: None,
        signature_key: None,
        body_sha256: "00".to_owned(),
        payload_ref: None,
        kept: Vec::new(),
    };
    let message = Outgoing {
        subject: subject::webhook(&delivery),
        id: delivery.message_id(),
        headers: delivery.headers(),
        payload: "no JSON".into(),
        ..Outgoing::default()
    };
    publisher.publish(message, Instant::now() + Duration::from_secs(10)).await.expect("it is stored");
    group.abort();
}

/// The ids that a list has.
fn ids(page: &Value) -> Vec<&str> {
    let deliveries = page["deliveries"].as_array().expect("a list");
    deliveries.iter().filter_map(|delivery| delivery["deliveryId"].as_str()).collect()
}

/// Its organisation finds the delivery in this state, with all of this, and no other finds it at all.
async fn is_own(world: &World, delivery: &str, status: &str, wanted: &[(&str, Value)]) {
    let path = format!("{PATH}/{delivery}");
    let all = [&[("/status", json!(status)), ("/ledger/behind", json!(0))], wanted].concat();
    eventually(&format!("{path} tells {all:?}"), || async {
        let answer = get_as(world, "org_1", &path).await;
        says(&answer, &all).then_some(())
    })
    .await;
    for list in ["/deliveries".to_owned(), format!("/deliveries?status={status}")] {
        let page = get_as(world, "org_1", &list).await.body;
        assert!(ids(&page).contains(&delivery), "{list}: {page}");
        let line = page["deliveries"].as_array().into_iter().flatten().find(|line| line["deliveryId"] == *delivery);
        assert_eq!(line.expect("its line")["status"], status, "{page}");
        let page = get_as(world, "org_2", &list).await.body;
        assert!(!ids(&page).contains(&delivery), "another sees it in {list}: {page}");
    }
    for (org, found) in [("org_1", true), ("org_2", false)] {
        let page = get(world, &format!("/deliveries?orgId={org}&status={status}")).await.body;
        assert_eq!(ids(&page).contains(&delivery), found, "{org}: {page}");
    }
    assert_eq!(get_as(world, "org_2", &path).await.status, 404, "another sees {path}");
    assert_eq!(get(world, &path).await.body["status"], status);
}

async fn bound(mut world: World) {
    let (connection, _) = world.link(&Link::repository("org_1", "42")).await;
    // The other has a link to what the delivery names, and an event of its own.
    world.link(&Link::repository("org_2", "77")).await;
    send(&world, &connection, "d-parked", "77").await;
    let why = json!("no link of org_1 claims resource 77 or account 1");
    is_own(&world, "d-parked", "parked", &[("/outcomes/0/outcome", json!("parked")), ("/outcomes/0/reason", why)])
        .await;

    store_unreadable(&mut world, &connection, "d-dead").await;
    let letter = ("/letters/0/reason", json!("unreadable"));
    is_own(&world, "d-dead", "dead", &[("/outcomes/0/outcome", json!("dead")), letter]).await;

    send(&world, &connection, "d-routed", "42").await;
    is_own(&world, "d-routed", "routed", &[("/events/0/orgId", json!("org_1"))]).await;

    // Nobody routes.
    world.stop_gateway();
    world.set("GW_ROLE", "ingest,deliver,vault,ledger");
    world.start_gateway();
    world.ready().await;
    send(&world, &connection, "d-pending", "42").await;
    caught_up(&world).await;
    is_own(&world, "d-pending", "pending", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_delivery_is_seen_by_its_own_organisation_whatever_became_of_it_and_by_no_other() {
    bound(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_a_bound_delivery_is_seen_by_its_own_organisation_and_by_no_other() {
    let Some(postgres) = Postgres::start().await else { return };
    bound(Setup::new().with("DATABASE_URL", postgres.url()).start().await).await;
}
