use schemas::route::Status;
use sqlx::{AnyPool, any::AnyPoolOptions};

use super::*;
use crate::{
    error::Error,
    rows::{
        connections, links,
        outbox::{self, Kind},
    },
};

#[tokio::test]
async fn two_processes_may_migrate_one_new_file_at_once_and_again() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("gw.db").display());
    let (one, two) = (pool(&url).await, pool(&url).await);
    let (first, second) = tokio::join!(store::migrate(&one), store::migrate(&two));
    first.expect("the migrations");
    second.expect("the migrations");
    store::migrate(&one).await.expect("nothing to do");
}

#[tokio::test]
async fn while_another_process_locks_the_file_a_change_is_refused_to_be_tried_again() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("gw.db").display());
    let (own, other) = (pool(&url).await, pool(&url).await);
    store::migrate(&own).await.expect("the migrations");
    let house = House::new(Db::new(own));
    let mut lock = other.acquire().await.expect("a connection");
    sqlx::query("begin immediate").execute(&mut *lock).await.expect("the lock");
    let body = json!({"provider": "github", "externalId": "42", "orgId": "org_a"});
    house.post("/connections", &body).await.refused(503, "store_unavailable");
    sqlx::query("rollback").execute(&mut *lock).await.expect("no lock");
    assert_eq!(house.post("/connections", &body).await.status, 201);
}

#[tokio::test]
async fn a_route_is_active_while_its_link_and_its_connection_are() {
    on_each(async |house: House| {
        let id = house.adopt("org_a").await;
        let answer = house.link(&id, json!({"providerResourceId": "1", "sync": {"events": ["push"]}})).await;
        let link = answer.body["resource"]["id"].as_str().expect("an id").to_owned();
        let route = async || {
            let (link, connection) =
                links::get(&house.records.db.pool, &link).await.expect("an answer").expect("a link");
            link.route(&connection)
        };
        let first = route().await;
        assert_eq!(first.key(), format!("github.resource.1.{link}"));
        assert!(first.active);
        assert_eq!((first.version, first.generation, first.events), (1, 1, Some(vec!["push".into()])));
        house.set_status(&id, "closing").await;
        assert!(!route().await.active);
        house.set_status(&id, "active").await;
        house.delete(&format!("/connections/{id}/resources/{link}")).await;
        let last = route().await;
        assert_eq!((last.active, last.version), (false, 2));
    })
    .await;
}

#[tokio::test]
async fn the_outbox_gives_the_oldest_first_and_forgets_what_is_done() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        for id in ["1", "2", "3"] {
            house.link(&connection, json!({"providerResourceId": id})).await;
        }
        let db = &house.records.db;
        let all = outbox::oldest(&db.pool, 100, 0).await.expect("changes");
        assert_eq!(all.len(), 4);
        assert_eq!(
            (all[0].key.kind, all[0].key.subject.as_str(), all[0].at),
            (Kind::Connection, connection.as_str(), START)
        );
        assert_eq!(outbox::oldest(&db.pool, 2, 1).await.expect("changes"), all[1..3]);
        let done: Vec<_> = all[..2].iter().map(|change| change.key.clone()).collect();
        outbox::delete(db, &done).await.expect("deleted");
        assert_eq!(outbox::oldest(&db.pool, 100, 0).await.expect("changes"), all[2..]);
    })
    .await;
}

#[tokio::test]
async fn rows_are_read_page_by_page_without_a_gap() {
    on_each(async |house: House| {
        for org in ["a", "b", "c"] {
            let connection = house.adopt(org).await;
            for id in ["1", "2"] {
                house.link(&connection, json!({"providerResourceId": id})).await;
            }
        }
        let db = &house.records.db;
        let (mut seen, mut last) = (Vec::new(), String::new());
        while let Some((id, link)) = links::after(&db.pool, &last, 1).await.expect("a page").pop() {
            assert_eq!(link.expect("a link").0.id, id);
            last.clone_from(&id);
            seen.push(id);
        }
        seen.dedup();
        assert_eq!(seen.len(), 6);
        let first = connections::after(&db.pool, "", 2).await.expect("a page");
        let second = connections::after(&db.pool, &first[1].0, 2).await.expect("a page");
        assert_eq!((first.len(), second.len()), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn a_version_is_raised_only_while_the_row_is_as_it_was_read() {
    on_each(async |house: House| {
        let db = &house.records.db;
        let id = house.adopt("org_a").await;
        assert!(connections::raise(db, &id, 1, 8).await.expect("an answer"));
        assert!(!connections::raise(db, &id, 1, 9).await.expect("an answer"));
        let connection = connections::get(&db.pool, &id).await.expect("an answer").expect("a connection");
        assert_eq!((connection.version, connection.status), (8, Status::Active));
        let link = house.link(&id, json!({"providerResourceId": "1"})).await;
        let link = link.body["resource"]["id"].as_str().expect("an id").to_owned();
        assert!(links::raise(db, &link, 1, 5).await.expect("an answer"));
        house.delete(&format!("/connections/{id}/resources/{link}")).await;
        assert!(!links::raise(db, &link, 5, 9).await.expect("an answer"));
    })
    .await;
}

#[tokio::test]
async fn an_impossible_row_is_named_and_not_guessed_at() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let link = house.link(&connection, json!({"providerResourceId": "1"})).await;
        let id = link.body["resource"]["id"].as_str().expect("an id").to_owned();
        let query = sqlx::query("update links set sync_events = '{' where id = $1").bind(id.clone());
        query.execute(&house.records.db.pool).await.expect("a broken row");
        let error = links::get(&house.records.db.pool, &id).await.expect_err("an impossible row");
        assert!(
            matches!(&error, Error::Store(store::Error::Impossible { table: "links", id: found, column: "sync_events" }) if *found == id)
        );
        house.get(&format!("/connections/{connection}/resources")).await.refused(500, "internal");
        let other = house.link(&connection, json!({"providerResourceId": "2"})).await;
        let page = links::after(&house.records.db.pool, "", 2).await.expect("a page");
        let readable: Vec<&str> = page.iter().filter(|(_, link)| link.is_ok()).map(|(id, _)| id.as_str()).collect();
        assert_eq!(
            readable,
            [other.body["resource"]["id"].as_str().expect("an id")],
            "the others of its page are read"
        );
        let refused = sqlx::query("update links set status = 'lost'").execute(&house.records.db.pool).await;
        assert!(refused.is_err(), "the database takes no status that we do not know");
    })
    .await;
}

async fn pool(url: &str) -> AnyPool {
    AnyPoolOptions::new().max_connections(2).connect(url).await.expect("a database")
}
