//! What was stored is somewhere; and where it is not, adding up says so.

use nats::topology;
use reqwest::Method;
use schemas::{attempt::PushOutcome, subject};
use serde_json::json;
use tests::{Link, Setup, Webhook, World, eventually};

use super::{attempt_of, audit, becomes, record, term};
use crate::checker::{self, Load};

#[tokio::test(flavor = "multi_thread")]
async fn every_term_comes_from_its_own_source_and_the_error_is_none() {
    let mut world = World::start().await;
    checker::link(&mut world).await;
    world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "41") }).await;
    let [one, both, nobody] = [41, 42, 43].map(|repository| Webhook::push(repository, 1));
    let dead = Webhook::new("github", "push", "no JSON");
    for webhook in [&one, &both, &nobody, &dead] {
        world.accept(webhook).await;
    }
    becomes(&world, &dead, "dead").await;
    becomes(&world, &nobody, "parked").await;
    let report = audit(&world).await;
    assert_eq!((&report["error"], &report["at"]), (&json!(0), &json!(4)), "{report}");
    let github = term(&report["providers"], "provider", "github");
    for (name, number) in [("stored", 4), ("routed", 2), ("parked", 1), ("dead", 1), ("pending", 0), ("lost", 0)] {
        assert_eq!(github[name], number, "{name}: {github}");
    }
    let second = term(&report["organisations"], "orgId", "org_2");
    assert_eq!((&second["claims"], &second["events"], &second["filtered"]), (&json!(2), &json!(1), &json!(1)));
    let (code, text, _) = world.gw(&["audit"]).await;
    assert!(code == 0 && text.contains("it adds up"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_adds_up_at_an_earlier_delivery_and_refuses_one_that_is_not_stored_yet() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "42") }).await;
    for number in 0..3 {
        let webhook = Webhook::push_numbered(42, 1, number);
        world.accept(&webhook).await;
        becomes(&world, &webhook, "routed").await;
    }
    eventually("the outcomes are read", || async {
        let report = audit(&world).await;
        (term(&report["organisations"], "orgId", "org_2")["filtered"] == 3).then_some(())
    })
    .await;
    let report = super::get(&world, "/audit?at=3").await.body;
    assert_eq!(term(&report["organisations"], "orgId", "org_1")["events"], 3, "the last is all there is: {report}");
    let earlier = super::get(&world, "/audit?at=2").await.body;
    assert_eq!((&earlier["at"], &earlier["error"]), (&json!(2), &json!(0)), "{earlier}");
    assert_eq!(term(&earlier["providers"], "provider", "github")["stored"], 2);
    let [first, second] = ["org_1", "org_2"].map(|org| term(&earlier["organisations"], "orgId", org));
    // Its own event may have come within its millisecond.
    let one_or_two = |number: &serde_json::Value| matches!(number.as_i64(), Some(1 | 2));
    assert!(one_or_two(&first["events"]) && one_or_two(&second["filtered"]), "{earlier}");
    let later = super::get(&world, "/audit?at=4").await;
    let says = &later.body["errors"]["at"][0];
    assert_eq!((later.status, &later.body["code"]), (400, &json!("invalid_query")), "{later:?}");
    assert!(says.as_str().is_some_and(|says| says.contains("at most 3")), "{later:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_adds_up_at_a_delivery_that_has_reached_its_age_and_is_held_still() {
    // A message is called old a minute before the broker gives it up.
    let mut world = Setup::new().with("GW_RETENTION", "70s").start().await;
    for org in ["org_1", "org_2"] {
        world.link(&Link::repository(org, "42")).await;
    }
    for number in 0..3 {
        let webhook = Webhook::push_numbered(42, 1, number);
        world.accept(&webhook).await;
        becomes(&world, &webhook, "routed").await;
    }
    let old = tokio::time::Instant::now() + std::time::Duration::from_secs(12);
    tokio::time::sleep_until(old).await;
    for at in ["", "?at=1", "?at=2"] {
        let report = super::get(&world, &format!("/audit{at}")).await.body;
        assert_eq!(report["error"], 0, "{at}: {report}");
    }
    world.accept(&Webhook::push_numbered(42, 1, 9)).await;
    let report = super::get(&world, "/audit?at=2").await.body;
    assert_eq!((&report["error"], &report["providers"][0]["stored"]), (&json!(0), &json!(2)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_one_of_two_organisations_is_missed_by_whoever_never_saw_it() {
    let mut world = World::start().await;
    for org in ["org_1", "org_2"] {
        world.link(&Link::repository(org, "42")).await;
    }
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    becomes(&world, &webhook, "routed").await;
    let event = world.stored(topology::GW_EVENT, "gw.event.org_2.>", 1).await.remove(0);
    nats::delete(&world.broker().await, topology::GW_EVENT, event.sequence).await.expect("it is deleted");
    let asked = world.api(Method::POST, "/ledger/rebuild", None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    // Its delivery is routed: the other's event says so. What the router said of both is left.
    let report = eventually("the rows are made anew", || async {
        let report = audit(&world).await;
        let events = report["organisations"].as_array().expect("organisations").iter().map(|org| &org["events"]);
        (report["error"] == 1 && events.eq([&json!(1), &json!(0)])).then_some(report)
    })
    .await;
    let second = term(&report["organisations"], "orgId", "org_2");
    assert_eq!((&second["claims"], &second["error"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report["providers"][0]["error"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_that_somebody_deletes_is_an_error() {
    let mut world = World::start().await;
    let webhook = Webhook::push(43, 1);
    world.accept(&webhook).await;
    becomes(&world, &webhook, "parked").await;
    assert_eq!(audit(&world).await["error"], 0);
    let parked = world.stored(topology::GW_PARKED, subject::PARKED, 1).await;
    nats::delete(&world.broker().await, topology::GW_PARKED, parked[0].sequence).await.expect("it is deleted");
    let report = audit(&world).await;
    assert_eq!((&report["error"], &report["providers"][0]["error"]), (&json!(1), &json!(1)), "{report}");
    let (code, _, said) = world.gw(&["audit"]).await;
    assert!(code == 1 && said.contains("does not add up"), "{said}");
    eventually("the metric says so", || async {
        (world.metric(r#"gw_conservation_error{equation="provider"}"#).await > 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_somebody_deletes_is_an_error_whether_the_ledger_had_seen_it_or_not() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    for number in 0..3 {
        world.accept(&Webhook::push_numbered(42, 1, number)).await;
    }
    let events = world.stored(topology::GW_EVENT, subject::EVENTS, 3).await;
    assert_eq!(audit(&world).await["error"], 0);
    let broker = world.broker().await;
    nats::delete(&broker, topology::GW_EVENT, events[1].sequence).await.expect("it is deleted");
    let report = audit(&world).await;
    assert_eq!((&report["error"], &report["organisations"][0]["error"]), (&json!(1), &json!(-1)), "{report}");
    // Read anew, the rows do not have it either: its delivery is lost.
    let asked = world.api(Method::POST, "/ledger/rebuild", None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let report = eventually("the rows are made anew", || async {
        let report = audit(&world).await;
        (report["providers"][0]["lost"] == 1).then_some(report)
    })
    .await;
    assert_eq!((&report["error"], &report["organisations"][0]["error"]), (&json!(1), &json!(0)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_a_timer_is_an_error() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.accept(&Webhook::push(42, 1)).await;
    let attempt = attempt_of(&mut world, "org_1", "ep_gone").await;
    let failed = schemas::attempt::Attempt { outcome: PushOutcome::Scheduled, next_at: Some(1), ..attempt.clone() };
    record(&mut world, &[failed]).await;
    let report = audit(&world).await;
    let endpoint = term(&report["endpoints"], "endpointId", "ep_gone");
    assert_eq!((&endpoint["scheduled"], &endpoint["timers"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report["error"], 1);
    record(&mut world, &[schemas::attempt::Attempt { attempt: 2, ..attempt }]).await;
    assert_eq!(audit(&world).await["error"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_gateway_and_broker_were_killed_under_load_it_still_adds_up() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("killing the broker", "the broker is shared");
    }
    checker::link(&mut world).await;
    let load = Load::start(&mut world, 12);
    for _ in 0..2 {
        load.accepted(150).await;
        world.kill_gateway();
        world.start_gateway();
        load.follow(&mut world);
        load.accepted(100).await;
        let pid = world.nats_pid();
        world.kill_nats();
        eventually("gw started it again", || async { (world.nats_pid() != pid).then_some(()) }).await;
    }
    load.accepted(150).await;
    let meanwhile = super::get(&world, "/audit").await;
    if meanwhile.status == 200 {
        assert_eq!(meanwhile.body["error"], 0, "under load: {}", meanwhile.body);
    }
    load.stop().await.check(&mut world).await;
    let report = audit(&world).await;
    assert_eq!(report["error"], 0, "{report}");
    let github = term(&report["providers"], "provider", "github");
    let stored = world.count(topology::GW_WEBHOOK, subject::WEBHOOKS).await;
    assert_eq!((&github["stored"], &github["pending"]), (&json!(stored), &json!(0)), "{report}");
}
