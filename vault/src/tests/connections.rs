use schemas::caller::Caller;

use super::*;

#[tokio::test]
async fn an_adopted_account_is_shown_with_its_first_generation() {
    on_each(async |house: House| {
        let body = json!({"provider": "linear", "externalId": "org-uuid", "orgId": "org_a"});
        let made = house.post("/connections", &body).await;
        assert_eq!(made.status, 201);
        let id = made.text("id");
        assert!(id.starts_with("con_"));
        let expected = json!({
            "id": id, "provider": "linear", "externalId": "org-uuid", "orgId": "org_a",
            "status": "active", "generation": 1, "createdAt": "2023-11-14T22:13:20.000Z",
        });
        assert_eq!(made.body, expected);
        assert_eq!(house.get(&format!("/connections/{id}")).await.body, expected);
        assert_eq!(house.get("/connections?orgId=org_a").await.body, json!({"connections": [expected]}));
        assert_eq!(house.outbox().await, [("connection".into(), id.into(), 1, Some("connected".into()))]);
    })
    .await;
}

#[tokio::test]
async fn adopting_the_same_account_again_gives_the_same_connection_and_changes_nothing() {
    on_each(async |house: House| {
        let id = house.adopt("org_a").await;
        let body = json!({"provider": "github", "externalId": "42", "orgId": "org_a"});
        let again = house.post("/connections", &body).await;
        assert_eq!((again.status, again.text("id")), (200, id.as_str()));
        assert_eq!(house.outbox().await.len(), 1);
        assert_ne!(house.adopt("org_b").await, id, "another organisation has its own");
    })
    .await;
}

#[tokio::test]
async fn a_revoked_connection_is_revived_with_the_next_generation_and_all_its_routes() {
    on_each(async |house: House| {
        let id = house.adopt("org_a").await;
        let kept = house.link(&id, json!({"providerResourceId": "1"})).await;
        let gone = house.link(&id, json!({"providerResourceId": "2"})).await;
        let gone = gone.body["resource"]["id"].as_str().expect("an id").to_owned();
        house.delete(&format!("/connections/{id}/resources/{gone}")).await;
        house.set_status(&id, "revoked").await;
        sqlx::query("delete from outbox").execute(&house.records.db.pool).await.expect("an empty outbox");

        let body = json!({"provider": "github", "externalId": "42", "orgId": "org_a"});
        let revived = house.post("/connections", &body).await;
        assert_eq!((revived.status, revived.text("id"), revived.text("status")), (201, id.as_str(), "active"));
        assert_eq!(revived.body["generation"], 2);
        let kept = kept.body["resource"]["id"].as_str().expect("an id").to_owned();
        let expected = [("connection".into(), id, 2, Some("connected".into())), ("link".into(), kept, 2, None)];
        assert_eq!(house.outbox().await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_ending_or_broken_is_not_adopted() {
    on_each(async |house: House| {
        let id = house.adopt("org_a").await;
        for status in ["pending", "error", "closing"] {
            house.set_status(&id, status).await;
            let body = json!({"provider": "github", "externalId": "42", "orgId": "org_a"});
            let answer = house.post("/connections", &body).await;
            assert_eq!(answer.refused(400, "installation_not_active")["status"], status);
        }
    })
    .await;
}

#[tokio::test]
async fn every_wrong_field_of_a_connection_is_named_at_once() {
    on_each(async |house: House| {
        let body = json!({"provider": "gitlab", "externalId": 42, "orgId": "a\nb"});
        let answer = house.post("/connections", &body).await;
        let expected = json!({
            "provider": ["must be one of github, vercel, linear, sentry"],
            "externalId": ["must be a text"],
            "orgId": ["must not hold control characters"],
        });
        assert_eq!(answer.refused(400, "invalid_body")["errors"], expected);

        let answer = house.post("/connections", &json!({"externalId": "", "orgId": "x".repeat(201)})).await;
        let expected = json!({
            "provider": ["is required"], "externalId": ["is required"], "orgId": ["must have 1 to 200 characters"],
        });
        assert_eq!(answer.refused(400, "invalid_body")["errors"], expected);

        let answer = house.post("/connections", &json!(["github"])).await;
        assert_eq!(answer.refused(400, "invalid_body")["errors"], json!({"body": ["must be an object"]}));
        assert_eq!(house.outbox().await, []);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_says_so() {
    on_each(async |house: House| {
        for body in ["", "{", "not json"] {
            house.ask(&anyone(), Method::POST, "/connections", body).await.refused(400, "invalid_json");
        }
        let large = " ".repeat(3 << 20);
        house.ask(&anyone(), Method::POST, "/connections", large).await.refused(413, "body_too_large");
    })
    .await;
}

#[tokio::test]
async fn a_narrowed_caller_sees_and_makes_only_its_own() {
    on_each(async |house: House| {
        let (own, foreign) = (house.adopt("org_a").await, house.adopt("org_b").await);
        let caller: Caller = narrowed("org_a");
        let get = async |path: &str| house.ask(&caller, Method::GET, path, Body::empty()).await;

        let all = get("/connections").await;
        assert_eq!(all.body["connections"].as_array().map(Vec::len), Some(1));
        assert_eq!(all.body["connections"][0]["id"], json!(own));
        get("/connections?orgId=org_b").await.refused(404, "not_found");
        get(&format!("/connections/{foreign}")).await.refused(404, "not_found");
        get(&format!("/connections/{foreign}/resources")).await.refused(404, "not_found");

        let body = json!({"provider": "github", "externalId": "43", "orgId": "org_b"}).to_string();
        let answer = house.ask(&caller, Method::POST, "/connections", body).await;
        answer.refused(404, "other_organisation");
        let path = format!("/connections/{foreign}/resources");
        let answer = house.ask(&caller, Method::POST, &path, r#"{"providerResourceId": "1"}"#).await;
        answer.refused(404, "not_found");
        assert_eq!(house.get("/connections").await.body["connections"].as_array().map(Vec::len), Some(2));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_an_id_names_nothing() {
    on_each(async |house: House| {
        for path in ["/connections/con_none", "/connections/%00", "/connections/%FF", "/connections/a%2Fb"] {
            house.get(path).await.refused(404, "not_found");
        }
        house.get("/connections?orgId=%00").await.refused(400, "invalid_query");
        house.get("/connections?orgId=a&orgId=b").await.refused(400, "invalid_query");
    })
    .await;
}

#[tokio::test]
async fn of_many_who_adopt_one_account_at_once_one_makes_it() {
    on_each(async |house: House| {
        let body = json!({"provider": "github", "externalId": "42", "orgId": "org_a"});
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (house, body) = (house.clone(), body.clone());
            asked.spawn(async move { house.post("/connections", &body).await });
        }
        let answers = asked.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 11, "{answers:?}");
        assert_eq!(house.outbox().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn lists_come_a_page_at_a_time() {
    on_each(async |house: House| {
        let connection = house.adopt("org_0").await;
        for number in 1..5 {
            house.adopt(&format!("org_{number}")).await;
            house.link(&connection, json!({"providerResourceId": number.to_string()})).await;
        }
        house.link(&connection, json!({"providerResourceId": "5"})).await;
        let links = format!("/connections/{connection}/resources");
        for (path, list) in [("/connections", "connections"), (links.as_str(), "resources")] {
            let whole = house.get(path).await.body;
            assert!(whole.get("nextCursor").is_none(), "{whole}");
            let (mut pages, mut next) = (Vec::new(), String::new());
            loop {
                let page = house.get(&format!("{path}?limit=2{next}")).await.body;
                pages.push(page[list].as_array().expect("a list").clone());
                let Some(cursor) = page["nextCursor"].as_str() else { break };
                next = format!("&cursor={cursor}");
            }
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
            assert_eq!(&json!(pages.concat()), &whole[list]);
            house.get(&format!("{path}?limit=0&cursor=!&page=2")).await.refused(400, "invalid_query");
        }
    })
    .await;
}
