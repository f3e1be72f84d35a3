//! Old rows become totals, and count once.

use nats::topology;
use serde_json::json;
use tests::{Link, Setup, Webhook, eventually};

use super::{audit, get, term};

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_become_totals_that_survive_a_rebuild_and_nothing_is_counted_twice() {
    let mut world = Setup::new().with("GW_LEDGER_RETENTION", "3s").start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link { events: Some(&["issues"]), ..Link::repository("org_2", "42") }).await;
    let parked = Webhook::push(43, 1);
    world.accept(&parked).await;
    for number in 0..20 {
        world.accept(&Webhook::push_numbered(42, 1, number)).await;
    }
    world.settled().await;
    let totals = eventually("all that is settled is sealed", || async {
        let totals = get(&world, "/ledger").await.body["totals"].clone();
        let done = totals["provider"]["github"]["routed"] == 20
            && totals["organisation"]["org_1"]["event"] == 20
            && totals["organisation"]["org_2"]["filtered"] == 20;
        done.then_some(totals)
    })
    .await;
    let page = get(&world, "/deliveries").await.body;
    assert_eq!(page["deliveries"].as_array().map(Vec::len), Some(1), "what waits stays: {page}");
    let whole = |report: &serde_json::Value| {
        assert_eq!(report["error"], 0, "{report}");
        let github = term(&report["providers"], "provider", "github");
        assert_eq!((&github["stored"], &github["routed"], &github["parked"]), (&json!(21), &json!(20), &json!(1)));
    };
    whole(&audit(&world).await);
    let (code, ..) = world.gw(&["ledger", "rebuild"]).await;
    assert_eq!(code, 0);
    eventually("it is rebuilt", || async {
        (get(&world, "/ledger").await.body["rebuilding"] == json!(false)).then_some(())
    })
    .await;
    whole(&audit(&world).await);
    assert_eq!(get(&world, "/ledger").await.body["totals"], totals);
    // What waited is told of still, and counted when it is settled.
    world.link(&Link::repository("org_1", "43")).await;
    eventually("the released one is sealed", || async {
        let totals = get(&world, "/ledger").await.body["totals"].clone();
        (totals["provider"]["github"]["released"] == 1).then_some(())
    })
    .await;
    let report = audit(&world).await;
    let github = term(&report["providers"], "provider", "github");
    assert_eq!(
        (&report["error"], &github["routed"], &github["parked"]),
        (&json!(0), &json!(21), &json!(0)),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_and_made_again_is_read_from_its_first_message() {
    let mut world = tests::World::start().await;
    for number in 0..5 {
        world.accept(&Webhook::push_numbered(43, 1, number)).await;
    }
    eventually("they are listed", || async {
        (get(&world, "/deliveries").await.body["deliveries"].as_array().map(Vec::len) == Some(5)).then_some(())
    })
    .await;
    let broker = world.broker().await;
    topology::delete_stream(&broker, topology::GW_OUTCOME).await.expect("it is deleted");
    topology::apply(&broker, &topology::Settings::default(), false).await.expect("it is made again");
    let webhook = Webhook::push_numbered(43, 1, 9);
    world.accept(&webhook).await;
    super::becomes(&world, &webhook, "parked").await;
    assert_eq!(audit(&world).await["error"], 0);
}
