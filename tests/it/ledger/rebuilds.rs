//! A rebuild forgets nothing that only the ledger knows by now.

use std::sync::atomic::{AtomicBool, Ordering};

use nats::topology;
use reqwest::Method;
use serde_json::json;
use tests::{Link, Postgres, Receiver, Setup, Webhook, World, eventually};

use super::{attempt_of, audit, get, outages::caught_up, path, record, tells, term};

/// Makes an endpoint of `org_1` that gets everything, and gives its id.
async fn endpoint(world: &mut World, receiver: &Receiver) -> String {
    world.link(&Link::repository("org_1", "42")).await;
    let body = json!({ "orgId": "org_1", "url": receiver.url("/hook"), "events": ["*"] });
    let made = world.api(Method::POST, "/endpoints", Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().expect("an id").to_owned()
}

/// Sends deliveries that are pushed to the endpoint.
async fn pushed(world: &mut World, receiver: &Receiver, count: u64) -> Vec<Webhook> {
    let webhooks: Vec<Webhook> = (0..count).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    for webhook in &webhooks {
        world.accept(webhook).await;
    }
    receiver.got("/hook", webhooks.len()).await;
    world.settled().await;
    webhooks
}

/// Waits until an endpoint has these terms, and nothing is wrong.
async fn adds_up(world: &World, endpoint: &str, wanted: &[(&str, i64)]) {
    eventually(&format!("{endpoint} adds up to {wanted:?}"), || async {
        let report = audit(world).await;
        let terms = report["endpoints"].as_array()?.iter().find(|one| one["endpointId"] == endpoint)?;
        (report["error"] == 0 && wanted.iter().all(|(name, number)| terms[*name] == *number)).then_some(())
    })
    .await;
}

async fn rebuild(world: &World) {
    let (code, said, error) = world.gw(&["ledger", "rebuild"]).await;
    assert_eq!(code, 0, "{said}{error}");
    caught_up(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_amid_rebuilds_waits_for_them_and_calls_nothing_lost() {
    let mut world = Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32").start().await;
    let receiver = Receiver::start().await;
    let endpoint = endpoint(&mut world, &receiver).await;
    pushed(&mut world, &receiver, 40).await;
    adds_up(&world, &endpoint, &[("admitted", 40), ("delivered", 40)]).await;
    let done = AtomicBool::new(false);
    let rebuilds = async {
        for _ in 0..4 {
            rebuild(&world).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let audits = async {
        while !done.load(Ordering::Relaxed) {
            let answer = get(&world, "/audit").await;
            assert_eq!((answer.status, &answer.body["error"]), (200, &json!(0)), "{answer:?}");
        }
    };
    tokio::join!(rebuilds, audits);
    adds_up(&world, &endpoint, &[("admitted", 40), ("delivered", 40)]).await;
}

async fn delivered(mut world: World) {
    let receiver = Receiver::start().await;
    let endpoint = endpoint(&mut world, &receiver).await;
    let webhooks = pushed(&mut world, &receiver, 3).await;
    adds_up(&world, &endpoint, &[("admitted", 3), ("delivered", 3), ("lost", 0)]).await;
    // What nobody admits and only an attempt tells of is delivered as well.
    let attempt = attempt_of(&mut world, "org_1", "ep_gone").await;
    record(&mut world, std::slice::from_ref(&attempt)).await;
    adds_up(&world, "ep_gone", &[("admitted", 1), ("delivered", 1)]).await;
    nats::durable::purge(&world.broker().await, topology::GW_ATTEMPT, ">", None).await.expect("it is purged");
    let last = Webhook::push_numbered(42, 1, 9);
    world.accept(&last).await;
    receiver.got("/hook", 4).await;
    world.settled().await;
    adds_up(&world, &endpoint, &[("admitted", 4), ("delivered", 4), ("lost", 0)]).await;

    rebuild(&world).await;
    let report = audit(&world).await;
    assert_eq!(report["error"], 0, "{report}");
    let terms = term(&report["endpoints"], "endpointId", &endpoint);
    for (name, number) in [("admitted", 4), ("delivered", 4), ("pending", 0), ("lost", 0)] {
        assert_eq!(terms[name], number, "{name}: {report}");
    }
    assert_eq!(term(&report["endpoints"], "endpointId", "ep_gone")["delivered"], 1, "{report}");
    for webhook in webhooks.iter().chain([&last]) {
        let told = get(&world, &path(webhook)).await.body;
        let pushes = told["events"][0]["pushes"].as_array().expect("pushes");
        let push = pushes.iter().find(|push| push["endpointId"] == *endpoint).expect("its push");
        assert_eq!(push["status"], "delivered", "{told}");
        assert_eq!(push["attempts"].as_array().map(Vec::len), Some(1), "what was tried is told still: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_stays_delivered_in_a_rebuild_after_its_attempts_are_given_up() {
    delivered(Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32").start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_what_was_delivered_stays_delivered_in_a_rebuild_as_well() {
    let Some(postgres) = Postgres::start().await else { return };
    let setup = Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32").with("DATABASE_URL", postgres.url());
    delivered(setup.start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_attempts_were_given_up_before_the_ledger_read_them_is_not_called_lost() {
    let setup = Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32").with("GW_MAX_BYTES", "GW_ATTEMPT=4KiB");
    let mut world = setup.with("GW_ROLE", "ingest,router,deliver,vault").start().await;
    let receiver = Receiver::start().await;
    let endpoint = endpoint(&mut world, &receiver).await;
    let webhooks = pushed(&mut world, &receiver, 20).await;
    let broker = world.broker().await;
    let held = eventually("all was tried", || async {
        let state = topology::stream_info(&broker, topology::GW_ATTEMPT).await.ok()?.state;
        (state.last_sequence == 20).then_some(state.messages)
    })
    .await;
    assert!(held < 20, "the stream gave none up");
    world.stop_gateway();
    world.set("GW_ROLE", "");
    world.start_gateway();
    world.ready().await;
    caught_up(&world).await;
    let held = i64::try_from(held).expect("a few");
    let wanted = [("admitted", 20), ("delivered", held), ("pending", 20 - held), ("lost", 0)];
    adds_up(&world, &endpoint, &wanted).await;
    tells(&world, &webhooks[19], &[("/events/0/pushes/0/status", json!("delivered"))]).await;
}
