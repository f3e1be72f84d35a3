use super::*;

#[tokio::test]
async fn a_link_is_shown_as_it_was_made() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let body = json!({
            "kind": "repository", "providerResourceId": "123", "resourceName": "acme/shop", "workspaceId": "ws_1",
            "sync": {"events": ["pull_request", "github:issue.*"], "autoSync": false},
        });
        let answer = house.link(&connection, body).await;
        let id = answer.body["resource"]["id"].as_str().expect("an id").to_owned();
        assert!(id.starts_with("lnk_"));
        let resource = json!({
            "id": id, "kind": "repository", "level": "resource", "providerResourceId": "123",
            "resourceName": "acme/shop", "workspaceId": "ws_1",
            "sync": {"events": ["pull_request", "github:issue.*"], "autoSync": false}, "status": "active",
        });
        assert_eq!((answer.status, &answer.body), (200, &json!({"status": "linked", "resource": resource})));
        let listed = house.get(&format!("/connections/{connection}/resources")).await;
        assert_eq!(listed.body, json!({"resources": [resource]}));
        assert_eq!(house.outbox().await.pop(), Some(("link".into(), id, 1, Some("linked".into()))));
    })
    .await;
}

#[tokio::test]
async fn a_link_needs_no_more_than_an_id() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let resource = house.link(&connection, json!({"providerResourceId": "123"})).await.body["resource"].clone();
        assert_eq!((&resource["kind"], &resource["level"]), (&json!("repository"), &json!("resource")));
        assert_eq!((&resource["resourceName"], &resource["workspaceId"]), (&Value::Null, &Value::Null));
        assert_eq!(resource["sync"], json!({}));
    })
    .await;
}

#[tokio::test]
async fn an_empty_filter_stays_different_from_none() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        house.link(&connection, json!({"providerResourceId": "1", "sync": {"events": [], "autoSync": true}})).await;
        let listed = house.get(&format!("/connections/{connection}/resources")).await;
        assert_eq!(listed.body["resources"][0]["sync"], json!({"events": [], "autoSync": true}));
    })
    .await;
}

#[tokio::test]
async fn an_account_is_linked_by_its_own_id_only() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let answer = house.link(&connection, json!({"kind": "installation", "providerResourceId": "43"})).await;
        let errors = &answer.refused(400, "invalid_body")["errors"];
        assert_eq!(errors["providerResourceId"].as_array().map(Vec::len), Some(1), "{errors}");
        let answer = house.link(&connection, json!({"kind": "installation", "providerResourceId": "42"})).await;
        assert_eq!(answer.body["resource"]["level"], "account");
        let answer = house.link(&connection, json!({"kind": "repository", "providerResourceId": "42"})).await;
        assert_eq!(answer.status, 200, "the levels do not share their ids");
    })
    .await;
}

#[tokio::test]
async fn an_active_link_is_not_made_twice_in_one_workspace() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let first = house.link(&connection, json!({"providerResourceId": "1"})).await;
        let again = house.link(&connection, json!({"providerResourceId": "1", "resourceName": "other"})).await;
        assert_eq!(again.refused(409, "resource_already_linked")["resourceId"], first.body["resource"]["id"]);
        let elsewhere = house.link(&connection, json!({"providerResourceId": "1", "workspaceId": "ws_1"})).await;
        assert_eq!(elsewhere.status, 200);
        assert_ne!(elsewhere.body["resource"]["id"], first.body["resource"]["id"]);
        assert_eq!(house.outbox().await.len(), 3, "the refused one left nothing");
    })
    .await;
}

#[tokio::test]
async fn a_removed_link_is_revived_under_its_id_with_what_is_wanted_now() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let body = json!({"providerResourceId": "1", "resourceName": "old", "sync": {"events": ["push"]}});
        let first = house.link(&connection, body).await;
        let id = first.body["resource"]["id"].as_str().expect("an id").to_owned();
        let path = format!("/connections/{connection}/resources/{id}");

        let removed = house.delete(&path).await;
        assert_eq!((removed.status, &removed.body), (200, &json!({"status": "removed", "resourceId": id})));
        assert_eq!(house.get(&format!("/connections/{connection}/resources")).await.body, json!({"resources": []}));
        house.delete(&path).await.refused(400, "already_removed");

        let revived = house.link(&connection, json!({"providerResourceId": "1", "resourceName": "new"})).await;
        let resource = &revived.body["resource"];
        assert_eq!(
            (&resource["id"], &resource["resourceName"], &resource["sync"]),
            (&json!(id), &json!("new"), &json!({}))
        );
        let told: Vec<_> =
            house.outbox().await.into_iter().skip(1).map(|(_, _, version, what)| (version, what)).collect();
        assert_eq!(told, [(1, Some("linked".into())), (2, Some("unlinked".into())), (3, Some("linked".into()))]);
    })
    .await;
}

#[tokio::test]
async fn a_link_is_removed_through_its_own_connection_only() {
    on_each(async |house: House| {
        let (own, other) = (house.adopt("org_a").await, house.adopt("org_b").await);
        let link = house.link(&own, json!({"providerResourceId": "1"})).await;
        let id = link.body["resource"]["id"].as_str().expect("an id").to_owned();
        house.delete(&format!("/connections/{other}/resources/{id}")).await.refused(404, "not_found");
        house.delete(&format!("/connections/{own}/resources/lnk_none")).await.refused(404, "not_found");
        let path = format!("/connections/{own}/resources/{id}");
        house.ask(&narrowed("org_b"), Method::DELETE, &path, Body::empty()).await.refused(404, "not_found");
        assert_eq!(house.delete(&path).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_said_from_the_connection_to_its_state_to_the_body() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let path = format!("/connections/{connection}/resources");
        let ask = async |path: &str, body: &'static str| house.ask(&anyone(), Method::POST, path, body).await;

        ask("/connections/con_none/resources", "{").await.refused(404, "not_found");
        house.set_status(&connection, "closing").await;
        assert_eq!(ask(&path, "{").await.refused(400, "installation_not_active")["status"], "closing");
        house.set_status(&connection, "active").await;
        ask(&path, "{").await.refused(400, "invalid_json");
        for body in ["{}", r#"{"providerResourceId": ""}"#, r#"{"providerResourceId": null, "kind": "project"}"#] {
            ask(&path, body).await.refused(400, "missing_provider_resource_id");
        }
        assert_eq!(house.outbox().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn every_wrong_field_of_a_link_is_named_at_once() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let body = json!({
            "kind": "project", "providerResourceId": 1, "resourceName": "", "workspaceId": "a\u{7f}",
            "sync": {"events": ["push", "a b", 3], "autoSync": "yes"},
        });
        let answer = house.link(&connection, body).await;
        let form = "is not an event type, a category, a pattern that ends in * or * itself";
        let expected = json!({
            "kind": ["must be one of repository, installation"],
            "providerResourceId": ["must be a text"],
            "resourceName": ["must have 1 to 200 characters"],
            "workspaceId": ["must not hold control characters"],
            "sync.events": [format!("entry 1 {form}"), format!("entry 2 {form}")],
            "sync.autoSync": ["must be true or false"],
        });
        assert_eq!(answer.refused(400, "invalid_body")["errors"], expected);

        let many = vec!["push"; 101];
        let answer = house.link(&connection, json!({"providerResourceId": "1", "sync": {"events": many}})).await;
        let expected = json!({"sync.events": ["must have at most 100 entries"]});
        assert_eq!(answer.refused(400, "invalid_body")["errors"], expected);
        let answer = house.link(&connection, json!({"providerResourceId": "1", "sync": ["push"]})).await;
        assert_eq!(answer.refused(400, "invalid_body")["errors"], json!({"sync": ["must be an object"]}));
    })
    .await;
}

#[tokio::test]
async fn of_many_who_link_one_resource_at_once_one_wins_and_the_others_learn_its_id() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (house, connection) = (house.clone(), connection.clone());
            asked.spawn(async move { house.link(&connection, json!({"providerResourceId": "1"})).await });
        }
        let answers = asked.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 11), "{lost:?}");
        for answer in lost {
            let id = &answer.refused(409, "resource_already_linked")["resourceId"];
            assert_eq!(id, &won[0].body["resource"]["id"]);
        }
        assert_eq!(house.outbox().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn of_many_who_remove_one_link_at_once_one_does() {
    on_each(async |house: House| {
        let connection = house.adopt("org_a").await;
        let link = house.link(&connection, json!({"providerResourceId": "1"})).await;
        let path =
            format!("/connections/{connection}/resources/{}", link.body["resource"]["id"].as_str().expect("an id"));
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (house, path) = (house.clone(), path.clone());
            asked.spawn(async move { house.delete(&path).await });
        }
        let answers = asked.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(400, "already_removed");
        }
    })
    .await;
}
