//! Connections and links over HTTP, and what the router makes of them.

use nats::{Bucket, topology};
use reqwest::Method;
use schemas::{route::ROUTES, subject};
use serde_json::{Value, json};
use tests::{Answer, KEY, Link, Setup, Webhook, World, eventually};

/// Names that nobody else has: a database may be shared.
pub(crate) struct Names {
    pub(crate) org: String,
    pub(crate) other: String,
    pub(crate) account: String,
    pub(crate) repository: u64,
}

impl Names {
    pub(crate) fn new() -> Self {
        let number = u64::from(rand::random::<u32>()) + 1_000_000;
        Self {
            org: format!("org_{number}"),
            other: format!("org_{number}_b"),
            account: number.to_string(),
            repository: number + 1,
        }
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{answer:?}");
    let media = answer.headers.get("content-type").map(String::as_str);
    assert_eq!(media, Some("application/problem+json"), "{answer:?}");
}

async fn narrowed(world: &World, org: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    world.api_with(method, path, body, &[("x-api-key", KEY), ("x-org-id", org)]).await
}

/// The answers to everything that can be asked about connections. Gives the id of one.
pub(crate) async fn connections_are_adopted_and_shown(world: &World, names: &Names) -> String {
    let adopt = json!({ "provider": "github", "externalId": names.account, "orgId": names.org });
    let made = world.api(Method::POST, "/connections", Some(adopt.clone())).await;
    assert_eq!((made.status, &made.body["status"]), (201, &json!("active")), "{made:?}");
    let again = world.api(Method::POST, "/connections", Some(adopt.clone())).await;
    assert_eq!((again.status, &again.body), (200, &made.body));
    let id = made.body["id"].as_str().expect("an id").to_owned();
    for (body, code) in [
        (json!({ "provider": "gitlab", "externalId": "1", "orgId": "o" }), "invalid_body"),
        (json!({ "provider": "github", "orgId": "o" }), "invalid_body"),
        (json!({ "provider": "github", "externalId": 7, "orgId": "" }), "invalid_body"),
        (json!([]), "invalid_body"),
    ] {
        refused(&world.api(Method::POST, "/connections", Some(body)).await, 400, code);
    }
    refused(
        &narrowed(world, &names.other, Method::POST, "/connections", Some(adopt.clone())).await,
        404,
        "other_organisation",
    );
    refused(&world.api_with(Method::POST, "/connections", Some(adopt), &[]).await, 401, "unauthorized");

    let path = format!("/connections/{id}");
    assert_eq!(world.api(Method::GET, &path, None).await.body, made.body);
    assert_eq!(narrowed(world, &names.org, Method::GET, &path, None).await.body, made.body);
    refused(&narrowed(world, &names.other, Method::GET, &path, None).await, 404, "not_found");
    let listed = world.api(Method::GET, &format!("/connections?orgId={}", names.org), None).await;
    assert_eq!(listed.body, json!({ "connections": [made.body] }));
    let own = narrowed(world, &names.org, Method::GET, "/connections", None).await;
    assert_eq!(own.body, listed.body);
    let foreign = narrowed(world, &names.other, Method::GET, &format!("/connections?orgId={}", names.org), None).await;
    refused(&foreign, 404, "not_found");
    id
}

/// The answers to everything that can be asked about links of a connection; ends with one active link.
pub(crate) async fn links_are_made_removed_and_revived(world: &World, names: &Names, connection: &str) {
    let path = format!("/connections/{connection}/resources");
    let repository = names.repository.to_string();
    for (body, code) in [
        (json!({}), "missing_provider_resource_id"),
        (json!({ "kind": "project", "providerResourceId": "1" }), "invalid_body"),
        (json!({ "kind": "installation", "providerResourceId": "another" }), "invalid_body"),
        (json!({ "providerResourceId": "1", "sync": { "events": ["a b"] } }), "invalid_body"),
        (json!({ "providerResourceId": "1", "sync": { "autoSync": 1 } }), "invalid_body"),
    ] {
        refused(&world.api(Method::POST, &path, Some(body)).await, 400, code);
    }
    let sync = json!({ "events": ["push", "github:issue.*"], "autoSync": false });
    let body = json!({ "kind": "repository", "providerResourceId": repository, "resourceName": "octo-org/hello", "sync": sync });
    refused(&narrowed(world, &names.other, Method::POST, &path, Some(body.clone())).await, 404, "not_found");
    refused(&world.api(Method::POST, "/connections/con_none/resources", Some(body.clone())).await, 404, "not_found");
    let made = world.api(Method::POST, &path, Some(body.clone())).await;
    assert_eq!((made.status, &made.body["status"]), (200, &json!("linked")), "{made:?}");
    let resource = &made.body["resource"];
    assert_eq!((&resource["sync"], &resource["level"]), (&sync, &json!("resource")));
    let id = resource["id"].as_str().expect("an id");
    let again = world.api(Method::POST, &path, Some(body)).await;
    refused(&again, 409, "resource_already_linked");
    assert_eq!(again.body["resourceId"], json!(id));
    assert_eq!(world.api(Method::GET, &path, None).await.body, json!({ "resources": [resource] }));

    let link = format!("{path}/{id}");
    refused(&narrowed(world, &names.other, Method::DELETE, &link, None).await, 404, "not_found");
    refused(&world.api(Method::DELETE, &format!("{path}/lnk_none"), None).await, 404, "not_found");
    let removed = world.api(Method::DELETE, &link, None).await;
    assert_eq!((removed.status, &removed.body), (200, &json!({ "status": "removed", "resourceId": id })));
    refused(&world.api(Method::DELETE, &link, None).await, 400, "already_removed");
    assert_eq!(world.api(Method::GET, &path, None).await.body, json!({ "resources": [] }));
    let revived = world.api(Method::POST, &path, Some(json!({ "providerResourceId": repository }))).await;
    assert_eq!((&revived.body["resource"]["id"], &revived.body["resource"]["sync"]), (&json!(id), &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_links_are_what_the_api_says_they_are() {
    let mut world = World::start().await;
    let names = Names::new();
    let connection = connections_are_adopted_and_shown(&world, &names).await;
    assert_eq!(world.metric("gw_routes").await, 0.0);
    links_are_made_removed_and_revived(&world, &names, &connection).await;
    eventually("the router knows the link", || async { (world.metric("gw_routes").await > 0.5).then_some(()) }).await;
    world.accept(&Webhook::push(names.repository, 1)).await;
    let events = world.events(&names.org, 1).await;
    assert_eq!(events[0]["connectionId"], json!(connection));
    let told = world.messages(topology::GW_CONNECTION, subject::CONNECTIONS).await;
    let told: Vec<&str> = told.iter().filter_map(|message| message.subject.rsplit('.').next()).collect();
    assert_eq!(told, ["connected", "linked", "unlinked", "linked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_can_be_linked_as_well_as_its_resources() {
    let mut world = World::start().await;
    let (connection, _) =
        world.link(&Link { kind: "installation", target: "1", ..Link::repository("org_1", "") }).await;
    let path = format!("/connections/{connection}/resources");
    let resource =
        world.api(Method::POST, &path, Some(json!({ "kind": "repository", "providerResourceId": "1" }))).await;
    assert_eq!((resource.status, &resource.body["resource"]["level"]), (200, &json!("resource")));
    let account =
        world.api(Method::POST, &path, Some(json!({ "kind": "installation", "providerResourceId": "1" }))).await;
    refused(&account, 409, "resource_already_linked");
    world.accept(&Webhook::push(1, 1)).await;
    world.settled().await;
    assert_eq!(world.events("org_1", 1).await.len(), 1, "two links of one organisation are one event");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_add_one_link_at_once_one_makes_it() {
    let mut world = World::start().await;
    let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
    let adopts = (0..16).map(|_| world.api(Method::POST, "/connections", Some(adopt.clone())));
    let adopted = futures_util::future::join_all(adopts).await;
    assert_eq!(adopted.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(adopted.iter().all(|answer| answer.body["id"] == adopted[0].body["id"]));
    let path = format!("/connections/{}/resources", adopted[0].body["id"].as_str().expect("an id"));
    for round in 0..3 {
        let body = json!({ "providerResourceId": "42" });
        let adds = (0..20).map(|_| world.api(Method::POST, &path, Some(body.clone())));
        let added = futures_util::future::join_all(adds).await;
        let (made, others): (Vec<_>, Vec<_>) = added.iter().partition(|answer| answer.status == 200);
        assert_eq!(made.len(), 1, "{added:?}");
        let id = made[0].body["resource"]["id"].as_str().expect("an id");
        for other in others {
            refused(other, 409, "resource_already_linked");
            assert_eq!(other.body["resourceId"], json!(id));
        }
        // The next round revives it.
        if round < 2 {
            let link = format!("{path}/{id}");
            let removes = (0..20).map(|_| world.api(Method::DELETE, &link, None));
            let statuses = futures_util::future::join_all(removes).await;
            assert_eq!(statuses.iter().filter(|answer| answer.status == 200).count(), 1);
            assert!(statuses.iter().all(|answer| matches!(answer.status, 200 | 400)));
        }
    }
    world.accept(&Webhook::push(42, 1)).await;
    assert_eq!(world.events("org_1", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_the_routes_restores_what_is_missing_and_removes_what_is_stale() {
    let mut world = World::start().await;
    let (_, first) = world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_1", "43")).await;
    let routes = Bucket::new(&world.broker().await, ROUTES);
    routes.purge(&format!("github.resource.42.{first}")).await.expect("purged");
    let stranger = json!({
        "version": 9, "active": true, "linkId": "lnk_stranger", "orgId": "org_2", "connectionId": "con_x", "generation": 1,
        "provider": "github", "account": "1", "level": "resource", "target": "43",
    });
    let stale = "github.resource.43.lnk_stranger";
    assert!(routes.put_newer(stale, 9, stranger.to_string().into()).await.expect("put"));
    eventually("the router follows the bucket", || async {
        let claimed = world.metrics().await.contains("gw_routes 2\n");
        claimed.then_some(())
    })
    .await;
    let narrow = narrowed(&world, "org_1", Method::POST, "/routes/rebuild", None).await;
    assert_eq!(narrow.status, 403, "{narrow:?}");
    let rebuilt = world.api(Method::POST, "/routes/rebuild", None).await;
    assert_eq!((rebuilt.status, &rebuilt.body["status"]), (200, &json!("rebuilt")), "{rebuilt:?}");
    assert_eq!((&rebuilt.body["routes"], &rebuilt.body["removed"]), (&json!(2), &json!(1)), "{rebuilt:?}");
    assert!(routes.get(stale).await.expect("the bucket answers").is_none());
    assert!(routes.get(&format!("github.resource.42.{first}")).await.expect("the bucket answers").is_some());
    for repository in [42, 43] {
        world.accept(&Webhook::push(repository, 1)).await;
    }
    assert_eq!(world.events("org_1", 2).await.len(), 2);
    world.settled().await;
    assert_eq!(world.events("org_2", 0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_another_database_takes_nobodys_routes_away_and_says_that_they_are_there() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let mut other = Setup::new().start_on(&world.nats_url());
    let said = |world: &mut World| world.gateway().log().contains("routes.strangers");
    eventually("the other says that there are routes of nobody", || {
        let said = said(&mut other);
        async move { said.then_some(()) }
    })
    .await;
    other.link(&Link::repository("org_2", "43")).await;
    assert!(world.stop_gateway().success());
    world.start_gateway();
    world.ready().await;
    eventually("the first says so too", || {
        let said = said(&mut world);
        async move { said.then_some(()) }
    })
    .await;
    assert!(other.stop_gateway().success());
    for repository in [42, 43] {
        world.accept(&Webhook::push(repository, 1)).await;
    }
    assert_eq!(world.events("org_1", 1).await.len(), 1);
    assert_eq!(world.events("org_2", 1).await.len(), 1);
}
