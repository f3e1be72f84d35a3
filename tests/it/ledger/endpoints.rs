//! What endpoints admit, and that each admitted event is somewhere.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Link, Postgres, Setup, Webhook, World, eventually};

use super::{attempt_of, audit, get, path, record};

/// Makes an endpoint of `org_1` that nothing is pushed to: it begins disabled.
async fn endpoint(world: &World, events: &[&str], start: Option<Value>) -> String {
    let mut body = json!({
        "orgId": "org_1", "url": "https://hooks.example.com/in", "events": events, "status": "disabled",
    });
    if let Some(start) = start {
        body["start"] = start;
    }
    let made = world.api(Method::POST, "/endpoints", Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().expect("an id").to_owned()
}

/// The terms of an endpoint, once they are these.
async fn terms(world: &World, endpoint: &str, wanted: &[(&str, i64)]) -> Value {
    eventually(&format!("{endpoint} has {wanted:?}"), || async {
        let report = audit(world).await;
        let found = report["endpoints"].as_array()?.iter().find(|one| one["endpointId"] == endpoint)?.clone();
        wanted.iter().all(|(name, number)| found[*name] == *number).then_some(found)
    })
    .await
}

async fn admitted(world: &mut World) {
    world.link(&Link::repository("org_1", "42")).await;
    let before = Webhook::push(42, 1);
    world.accept(&before).await;
    world.events("org_1", 1).await;
    let every = endpoint(world, &["github:*"], None).await;
    let since = endpoint(world, &["github:push"], Some(json!(1))).await;
    let other = endpoint(world, &["github:issue.*"], None).await;
    for number in 0..3 {
        world.accept(&Webhook::push_numbered(42, 1, number)).await;
    }
    world.events("org_1", 4).await;
    terms(world, &every, &[("admitted", 3), ("pending", 3), ("error", 0)]).await;
    terms(world, &since, &[("admitted", 4), ("pending", 4), ("error", 0)]).await;
    terms(world, &other, &[("admitted", 0), ("error", 0)]).await;
    let told = get(world, &path(&before)).await.body;
    let pushes = told["events"][0]["pushes"].as_array().expect("pushes");
    assert_eq!((pushes.len(), &pushes[0]["endpointId"], &pushes[0]["status"]), (1, &json!(since), &json!("pending")));

    // An attempt decides, whatever was wished.
    let delivered = attempt_of(world, "org_1", &since).await;
    record(world, std::slice::from_ref(&delivered)).await;
    terms(world, &since, &[("admitted", 4), ("pending", 3), ("delivered", 1)]).await;
    record(world, &[schemas::attempt::Attempt { endpoint_id: other.clone(), ..delivered }]).await;
    terms(world, &other, &[("admitted", 1), ("delivered", 1), ("error", 0)]).await;

    let changed =
        world.api(Method::PATCH, &format!("/endpoints/{since}"), Some(json!({ "events": ["github:issue.*"] }))).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    terms(world, &since, &[("admitted", 4), ("pending", 0), ("dropped", 3), ("delivered", 1), ("error", 0)]).await;
    let deleted = world.api(Method::DELETE, &format!("/endpoints/{every}"), None).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    terms(world, &every, &[("admitted", 3), ("pending", 0), ("dropped", 3), ("error", 0)]).await;
    world.accept(&Webhook::push_numbered(42, 1, 9)).await;
    world.events("org_1", 5).await;
    terms(world, &every, &[("admitted", 3), ("dropped", 3), ("error", 0)]).await;

    let page = get(world, &format!("/deliveries?endpointId={since}")).await.body;
    assert_eq!(page["deliveries"].as_array().map(Vec::len), Some(4), "{page}");
    let (code, ..) = world.gw(&["ledger", "rebuild"]).await;
    assert_eq!(code, 0);
    terms(world, &other, &[("admitted", 1), ("delivered", 1), ("error", 0)]).await;
    terms(world, &since, &[("admitted", 4), ("dropped", 3), ("delivered", 1), ("error", 0)]).await;
    assert_eq!(audit(world).await["error"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_admits_is_somewhere_whatever_becomes_of_the_endpoint() {
    let mut world = World::start().await;
    admitted(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_what_an_endpoint_admits_is_somewhere_as_well() {
    let Some(postgres) = Postgres::start().await else { return };
    let mut world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    admitted(&mut world).await;
}
