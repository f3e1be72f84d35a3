use reqwest::Method;
use serde_json::json;
use tests::{Answer, World, eventually};

use super::{URL, made, refused};

async fn with(world: &World, key: &str, method: Method, path: &str) -> Answer {
    let body = (method != Method::GET).then(|| json!({}));
    world.api_with(method, path, body, &[("authorization", &format!("Bearer {key}"))]).await
}

/// What keys may do, from their making to their end.
pub(super) async fn live(world: &World, org: &str) {
    let own = made(world, json!({ "orgId": org, "url": URL })).await;
    let foreign = made(world, json!({ "orgId": "org_foreign", "url": URL })).await;
    let body = json!({ "name": "reader", "scope": "read", "orgId": org });
    let key = world.api(Method::POST, "/keys", Some(body)).await;
    assert_eq!(key.status, 201, "{key:?}");
    let reader = key.body["key"].as_str().expect("a key").to_owned();

    let listed = with(world, &reader, Method::GET, "/endpoints").await;
    assert_eq!(listed.status, 200, "a new key counts at once: {listed:?}");
    assert_eq!(listed.body["endpoints"][0]["id"], own["id"]);
    assert_eq!(listed.body["endpoints"].as_array().map(Vec::len), Some(1));
    let path = |shown: &serde_json::Value| format!("/endpoints/{}", shown["id"].as_str().expect("an id"));
    assert_eq!(with(world, &reader, Method::GET, &path(&own)).await.status, 200);
    refused(&with(world, &reader, Method::GET, &path(&foreign)).await, 404, "not_found");
    for (method, path) in [
        (Method::POST, "/connections".to_owned()),
        (Method::POST, "/routes/rebuild".to_owned()),
        (Method::POST, "/keys".to_owned()),
        (Method::PATCH, path(&own)),
        (Method::DELETE, path(&own)),
    ] {
        refused(&with(world, &reader, method, &path).await, 403, "read_only_key");
    }
    refused(&with(world, &reader, Method::GET, "/keys").await, 403, "admin_only");
    let other = [("x-api-key", reader.as_str()), ("x-org-id", "org_foreign")];
    refused(&world.api_with(Method::GET, "/endpoints", None, &other).await, 404, "other_organisation");

    let admin = world.api(Method::POST, "/keys", Some(json!({ "scope": "admin" }))).await.body;
    let admin_key = admin["key"].as_str().expect("a key");
    let revoke = format!("/keys/{}", key.body["id"].as_str().expect("an id"));
    assert_eq!(with(world, admin_key, Method::DELETE, &revoke).await.status, 200);
    eventually("the revoked key is refused", || async {
        let answer = with(world, &reader, Method::GET, "/endpoints").await;
        (answer.status == 401).then_some(())
    })
    .await;
    refused(&with(world, "gwk_nobody", Method::GET, "/endpoints").await, 401, "unauthorized");
    eventually("it is known that the other key was used", || async {
        assert_eq!(with(world, admin_key, Method::GET, "/keys").await.status, 200);
        let keys = world.api(Method::GET, "/keys", None).await.body;
        let keys = keys["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().any(|key| key["id"] == admin["id"] && key["lastUsedAt"].is_string()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scope_allows_until_it_is_revoked() {
    let mut world = World::start().await;
    live(&world, "org_1").await;
    let body = json!({ "scope": "read", "orgId": "org_1" });
    let key = world.api(Method::POST, "/keys", Some(body)).await.body["key"].as_str().expect("a key").to_owned();
    world.kill_gateway();
    world.start_gateway();
    world.ready().await;
    assert_eq!(with(&world, &key, Method::GET, "/endpoints").await.status, 200, "a key outlives the process");
}
