//! The life of a delivery, whatever became of it.

use nats::topology;
use schemas::{attempt::PushOutcome, subject};
use serde_json::json;
use tests::{Link, Postgres, Setup, Webhook, World};

use super::{attempt_of, audit, becomes, get, get_as, path, record, says, tells};

/// Routed, filtered, parked, released, dead: each as it is told.
async fn lives(world: &mut World) {
    let (_, link) = world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "42") }).await;
    let (connection, admitting) = world.link(&Link::repository("org_1", "42")).await;
    let routed = Webhook::push(42, 1).signed_with(tests::PREVIOUS);
    world.accept(&routed).await;
    let told = tells(
        world,
        &routed,
        &[("/status", json!("routed")), ("/events/0/orgId", json!("org_1")), ("/filtered/0/orgId", json!("org_2"))],
    )
    .await;
    assert_eq!((&told["received"]["event"], &told["received"]["signatureKey"]), (&json!("push"), &json!("previous")));
    assert_eq!((&told["stored"]["stream"], &told["stored"]["sequence"]), (&json!("GW_WEBHOOK"), &json!(1)));
    assert_eq!(told["stored"]["bytes"], json!(routed.body.len()));
    let events = told["events"].as_array().expect("events");
    assert_eq!(events.len(), 1, "{told}");
    assert_eq!((&events[0]["type"], &events[0]["connectionId"]), (&json!("github:push"), &json!(connection)));
    assert_eq!((&told["events"][0]["linkIds"], &told["filtered"][0]["linkIds"]), (&json!([admitting]), &json!([link])));

    world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "43") }).await;
    let filtered = Webhook::push(43, 1);
    world.accept(&filtered).await;
    becomes(world, &filtered, "filtered").await;

    let parked = Webhook::push(77, 1);
    world.accept(&parked).await;
    let why = json!("no link claims resource 77 or account 1");
    tells(world, &parked, &[("/status", json!("parked")), ("/outcomes/0/reason", why)]).await;
    world.link(&Link::repository("org_1", "77")).await;
    tells(
        world,
        &parked,
        &[
            ("/status", json!("released")),
            ("/outcomes/0/outcome", json!("parked")),
            ("/outcomes/1/outcome", json!("released")),
            ("/events/0/orgId", json!("org_1")),
        ],
    )
    .await;

    let dead = Webhook::new("github", "push", "no JSON");
    world.accept(&dead).await;
    let unreadable = ("/letters/0/reason", json!("unreadable"));
    let told = tells(world, &dead, &[("/status", json!("dead")), unreadable, ("/letters/0/id", json!(1))]).await;
    assert!(told["letters"][0]["detail"].as_str().expect("a detail").contains("JSON"), "{told}");
    assert_eq!(audit(world).await["error"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_delivery_is_told_whatever_became_of_it() {
    let mut world = World::start().await;
    lives(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_life_of_a_delivery_is_told_as_well() {
    let Some(postgres) = Postgres::start().await else { return };
    let mut world = Setup::new().with("DATABASE_URL", postgres.url()).start().await;
    lives(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_sees_its_own_part_and_nothing_of_others() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "42") }).await;
    world.link(&Link::repository("org_2", "43")).await;
    let (both, foreign) = (Webhook::push(42, 1), Webhook::push(43, 1));
    world.accept(&both).await;
    world.accept(&foreign).await;
    becomes(&world, &foreign, "routed").await;
    tells(&world, &both, &[("/events/0/orgId", json!("org_1")), ("/filtered/0/orgId", json!("org_2"))]).await;

    let own = get_as(&world, "org_1", &path(&both)).await.body;
    assert_eq!((own["events"].as_array().map(Vec::len), &own["filtered"]), (Some(1), &json!([])));
    let refused = get_as(&world, "org_2", &path(&both)).await;
    assert!(says(&refused, &[("/status", json!("filtered")), ("/events", json!([]))]), "{refused:?}");
    let said = |told: &serde_json::Value| told["outcomes"].as_array().map(Vec::len);
    assert_eq!((said(&own), said(&refused.body)), (Some(0), Some(1)), "what another's filters did is not told");
    let none = get_as(&world, "org_1", &path(&foreign)).await;
    assert_eq!((none.status, &none.body["code"]), (404, &json!("not_found")));
    for (org, count) in [("org_1", 1), ("org_2", 2), ("org_3", 0)] {
        let page = get_as(&world, org, "/deliveries").await.body;
        assert_eq!(page["deliveries"].as_array().map(Vec::len), Some(count), "{org}: {page}");
        assert!(!page.to_string().contains(if org == "org_1" { "org_2" } else { "org_1" }), "{page}");
    }
    assert_eq!(get_as(&world, "org_1", "/deliveries?orgId=org_2").await.status, 404);
    assert_eq!(get_as(&world, "org_1", "/ledger").await.status, 403);
    assert_eq!(get_as(&world, "org_1", "/audit").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_told_and_what_is_scheduled_next() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    let first = attempt_of(&mut world, "org_1", "ep_one").await;
    let failed = schemas::attempt::Attempt {
        outcome: PushOutcome::Scheduled,
        status_code: Some(503),
        error_class: Some("status".to_owned()),
        next_at: Some(1_790_000_000_000),
        ..first.clone()
    };
    record(&mut world, &[failed]).await;
    let next = ("/next/endpointId", json!("ep_one"));
    let told = tells(&world, &webhook, &[next, ("/events/0/pushes/0/attempts/0/statusCode", json!(503))]).await;
    let push = &told["events"][0]["pushes"][0];
    assert_eq!(push["status"], "scheduled");
    assert_eq!((&push["attempts"][0]["errorClass"], &push["attempts"][0]["latencyMs"]), (&json!("status"), &json!(12)));
    assert_eq!(told["next"]["at"], push["nextAt"]);
    record(&mut world, &[schemas::attempt::Attempt { attempt: 2, ..first }]).await;
    let told = tells(&world, &webhook, &[("/events/0/pushes/0/status", json!("delivered"))]).await;
    assert_eq!(told["events"][0]["pushes"][0]["attempts"].as_array().map(Vec::len), Some(2));
    assert!(told["next"].is_null());
    let (code, text, _) = world.gw(&["trace", &webhook.delivery()]).await;
    assert_eq!(code, 0, "{text}");
    for part in ["received push", "stored in GW_WEBHOOK at 1", "attempt 1: scheduled, 503", "to ep_one: delivered"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beside_its_message_is_told_by_its_object_and_a_size_only_where_it_is_true() {
    let mut world = World::start().await;
    let large = Webhook::new("github", "push", vec![b' '; 600 * 1024]);
    world.accept(&large).await;
    let filter = format!("gw.webhook.github.push.{}", large.delivery());
    let message = world.stored(topology::GW_WEBHOOK, &filter, 1).await.remove(0);
    let object = json!(message.header(schemas::header::PAYLOAD_REF).expect("a reference"));
    let check = |told: &serde_json::Value| {
        assert_eq!((&told["stored"]["payloadRef"], told["stored"].get("bytes")), (&object, None), "{told}");
    };
    // From the stream or from the row, whichever it is, and then from the row.
    check(&get(&world, &path(&large)).await.body);
    check(&becomes(&world, &large, "dead").await);
    let (code, text, _) = world.gw(&["trace", &large.delivery()]).await;
    let object = object.as_str().expect("a name");
    assert!(code == 0 && text.contains(&format!("at 1, its body as {object}")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_has_not_reached_is_told_from_the_stream() {
    let mut world = World::start().await;
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    world.stored(topology::GW_PARKED, subject::PARKED, 1).await;
    // Told at once, whether or not the ledger has it.
    let answer = get(&world, &path(&webhook)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["stored"]["sequence"], 1);
    let unknown = get(&world, "/deliveries/github/nobody").await;
    assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("not_found")));
    let (code, _, said) = world.gw(&["trace", "nobody"]).await;
    assert_eq!((code, said.as_str()), (1, "gw: no delivery nobody: `gw deliveries` shows those there are\n"));
    for odd in ["/deliveries/nobody/x", "/deliveries/github/a%00b", "/deliveries/github/%FF"] {
        assert_eq!(get(&world, odd).await.status, 404, "{odd}");
    }
}
