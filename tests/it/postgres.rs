//! The same promises on PostgreSQL.

use reqwest::Method;
use serde_json::json;
use tests::{Postgres, Setup, Webhook, eventually};

use crate::links::{Names, connections_are_adopted_and_shown, links_are_made_removed_and_revived};

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_links_are_the_same_and_events_arrive() {
    let Some(postgres) = Postgres::start().await else { return };
    let mut world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    assert!(!world.folder().join("data/gw.db").exists(), "there is one database");
    let names = Names::new();
    let connection = connections_are_adopted_and_shown(&world, &names).await;
    links_are_made_removed_and_revived(&world, &names, &connection).await;
    let path = format!("/connections/{connection}/resources");
    let adds = (0..20)
        .map(|_| world.api(Method::POST, &path, Some(json!({ "providerResourceId": "7", "workspaceId": "ws" }))));
    let added = futures_util::future::join_all(adds).await;
    assert_eq!(added.iter().filter(|answer| answer.status == 200).count(), 1, "{added:?}");
    assert_eq!(added.iter().filter(|answer| answer.status == 409).count(), 19, "{added:?}");
    eventually("the router knows both", || async { (world.metric("gw_routes").await > 1.5).then_some(()) }).await;
    let webhook = Webhook::push(names.repository, 1);
    world.accept(&webhook).await;
    let events = world.events(&names.org, 1).await;
    assert_eq!(
        (&events[0]["deliveryId"], &events[0]["connectionId"]),
        (&json!(webhook.delivery()), &json!(connection))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_a_link_that_was_answered_survives_the_death_of_the_gateway() {
    let Some(postgres) = Postgres::start().await else { return };
    let mut world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    let names = Names::new();
    let adopt = json!({ "provider": "github", "externalId": names.account, "orgId": names.org });
    let adopted = world.api(Method::POST, "/connections", Some(adopt)).await;
    let path = format!("/connections/{}/resources", adopted.body["id"].as_str().expect("an id"));
    for number in 0..3 {
        let repository = names.repository + number;
        let linked =
            world.api(Method::POST, &path, Some(json!({ "providerResourceId": repository.to_string() }))).await;
        world.kill_gateway();
        assert_eq!(linked.status, 200, "{linked:?}");
        world.start_gateway();
        world.ready().await;
        world.accept(&Webhook::push(repository, 1)).await;
        let count = usize::try_from(number).expect("a small number") + 1;
        assert_eq!(world.events(&names.org, count).await.len(), count);
    }
}
