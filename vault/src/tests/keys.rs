use schemas::caller::Scope;

use super::*;
use crate::key;

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_its_hash() {
    on_each(async |house: House| {
        let made = house.post("/keys", &json!({"name": "stream", "scope": "read", "orgId": "org_a"})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let secret = made.text("key").to_owned();
        assert!(secret.starts_with("gwk_") && secret.len() == 30, "{secret}");
        let id = made.text("id");
        let shown = json!({
            "id": id, "name": "stream", "scope": "read", "orgId": "org_a", "createdAt": made.text("createdAt"),
            "lastUsedAt": null,
        });
        assert_eq!(house.get("/keys").await.body, json!({ "keys": [shown] }));
        let active = key::active(&house.records.db).await.expect("keys");
        assert_eq!((active[0].id.as_str(), active[0].scope, active[0].hash), (id, Scope::Read, key::hash(&secret)));
        key::used(&house.records.db, &[id.to_owned()], START).await.expect("noted");
        assert_eq!(house.get("/keys").await.body["keys"][0]["lastUsedAt"], "2023-11-14T22:13:20.000Z");
        let revoked = house.delete(&format!("/keys/{id}")).await;
        assert_eq!((revoked.status, revoked.text("status"), revoked.text("keyId")), (200, "revoked", id));
        house.delete(&format!("/keys/{id}")).await.refused(404, "not_found");
        assert_eq!(house.get("/keys").await.body, json!({ "keys": [] }));
        assert!(key::active(&house.records.db).await.expect("keys").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_key_that_reads_has_an_organisation_and_an_admins_has_none() {
    on_each(async |house: House| {
        for (body, field) in [
            (json!({}), "scope"),
            (json!({"scope": "write"}), "scope"),
            (json!({"scope": "read"}), "orgId"),
            (json!({"scope": "admin", "orgId": "org_a"}), "orgId"),
            (json!({"scope": "admin", "name": ""}), "name"),
            (json!({"scope": "admin", "until": 1}), "body"),
            (json!(7), "body"),
        ] {
            let answer = house.post("/keys", &body).await;
            assert!(answer.refused(400, "invalid_body")["errors"].get(field).is_some(), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_narrowed_caller_makes_and_sees_its_organisations_keys_only() {
    on_each(async |house: House| {
        let own = json!({"scope": "read", "orgId": "org_a"}).to_string();
        let id = house.ask(&narrowed("org_a"), Method::POST, "/keys", own.clone()).await.text("id").to_owned();
        let admin = json!({"scope": "admin"});
        house
            .ask(&narrowed("org_a"), Method::POST, "/keys", admin.to_string())
            .await
            .refused(404, "other_organisation");
        house.ask(&narrowed("org_b"), Method::POST, "/keys", own).await.refused(404, "other_organisation");
        assert_eq!(house.post("/keys", &admin).await.status, 201);
        let count = async |caller: Caller| {
            let listed = house.ask(&caller, Method::GET, "/keys", Body::empty()).await;
            listed.body["keys"].as_array().map(Vec::len)
        };
        assert_eq!((count(narrowed("org_a")).await, count(narrowed("org_b")).await), (Some(1), Some(0)));
        assert_eq!(count(anyone()).await, Some(2));
        let path = format!("/keys/{id}");
        house.ask(&narrowed("org_b"), Method::DELETE, &path, Body::empty()).await.refused(404, "not_found");
        let reader = Caller { scope: Scope::Read, ..narrowed("org_a") };
        house.ask(&reader, Method::GET, "/keys", Body::empty()).await.refused(403, "admin_only");
    })
    .await;
}
