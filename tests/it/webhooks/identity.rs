//! Which deliveries are the same, and whose they are.

use data_encoding::HEXLOWER;
use nats::topology;
use schemas::header;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Link, Webhook, World};

fn hash(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_without_an_id_has_the_hash_of_its_body() {
    let mut world = World::start().await;
    let github = Webhook::new("github", "push", r#"{"n":1}"#).without("x-github-delivery");
    let linear = Webhook::new("linear", "", r#"{"n":2,"type":"Issue"}"#).without("linear-delivery");
    let vercel = Webhook::new("vercel", "", r#"{"n":3,"type":"deployment.created"}"#);
    let empty = Webhook::new("github", "push", r#"{"n":4}"#).with("x-github-delivery", "");
    for webhook in [github, linear, vercel, empty] {
        let id = hash(&webhook.body);
        assert_eq!(
            world.accept(&webhook).await.body,
            json!({ "status": "accepted", "deliveryId": id }),
            "{}",
            webhook.provider
        );
        let stored = world.messages(topology::GW_WEBHOOK, &format!("gw.webhook.{}.*.{id}", webhook.provider)).await;
        assert_eq!(stored.len(), 1);
        // The id is of the body: what else differs does not make it another delivery.
        let again =
            webhook.clone().with("user-agent", "another").with("x-vercel-id", "retry-2").with("request-id", "2");
        let again = world.post(&again).await;
        assert_eq!(again.body, json!({ "status": "duplicate", "deliveryId": id, "sequence": stored[0].sequence }));
    }
}

fn sentry(installation: &str, action: &str) -> Webhook {
    let body =
        json!({ "action": action, "installation": { "uuid": installation }, "data": { "issue": { "id": "1" } } });
    Webhook::new("sentry", "issue", body.to_string()).with("sentry-hook-timestamp", "1767225600")
}

#[tokio::test(flavor = "multi_thread")]
async fn sentry_deliveries_of_one_second_are_told_apart_by_all_but_the_time() {
    let mut world = World::start().await;
    let first = sentry("a", "created");
    let others = [sentry("b", "created"), sentry("a", "resolved"), first.clone().with("sentry-hook-resource", "error")];
    let id = world.accept(&first).await.body["deliveryId"].clone();
    for other in &others {
        assert_ne!(world.accept(other).await.body["deliveryId"], id);
    }
    // Sentry's own retry: another request id, another second.
    let retried = first.clone().with("sentry-hook-timestamp", "1767225660").with("request-id", "other");
    for again in [&first, &retried] {
        let answer = world.post(again).await;
        assert_eq!((&answer.body["status"], &answer.body["deliveryId"]), (&json!("duplicate"), &id));
    }
    assert_eq!(world.messages(topology::GW_WEBHOOK, "gw.webhook.sentry.>").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_vercel_account_is_its_user() {
    let mut world = World::start().await;
    let link = Link {
        org: "org_1",
        provider: "vercel",
        account: "usr_1",
        kind: "user",
        target: "usr_1",
        workspace: None,
        events: None,
    };
    world.link(&link).await;
    let link = Link {
        org: "org_2",
        provider: "vercel",
        account: "team_1",
        kind: "team",
        target: "team_1",
        workspace: None,
        events: None,
    };
    world.link(&link).await;
    let body = |id: &str, team: Value| {
        let payload = json!({ "team": team, "user": { "id": "usr_1" }, "project": { "id": "prj_1" }, "deployment": { "id": "dpl_1" } });
        json!({ "id": id, "type": "deployment.created", "createdAt": 1_767_225_600_000_i64, "payload": payload })
            .to_string()
    };
    world.accept(&Webhook::new("vercel", "", body("uev_1", Value::Null))).await;
    world.accept(&Webhook::new("vercel", "", body("uev_2", json!({ "id": "team_1" })))).await;
    let mine = world.events("org_1", 1).await;
    let theirs = world.events("org_2", 1).await;
    world.settled().await;
    assert_eq!((mine.len(), theirs.len()), (1, 1), "a team's deployment is not its member's");
    assert_eq!((&mine[0]["deliveryId"], &theirs[0]["deliveryId"]), (&json!("uev_1"), &json!("uev_2")));
    let stored = world.messages(topology::GW_WEBHOOK, "gw.webhook.vercel.*.uev_1").await;
    assert_eq!(stored[0].header(header::ACCOUNT), Some("usr_1"));
}
