//! Where readers over HTTP begin, and what they are told of what is not there.

use std::time::Duration;

use nats::topology;
use schemas::Origin;
use serde_json::json;
use tests::{KEY, Link, Webhook, World, eventually};
use tokio::time::Instant;

use super::{Feed, deliveries, status};
use crate::{pushing::event_of, raw::Raw, replay::publisher};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_nothing_yet_misses_nothing_when_it_comes_back() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    for index in 0..3 {
        world.accept(&Webhook::push(42, index)).await;
    }
    world.events("org_1", 3).await;
    let seen = Feed::open(&world, "orgId=org_1&from=first", None).await.take(3).await;
    let [first, second, last] = [0, 1, 2].map(|index: usize| seen[index].id);
    for (query, back, place) in [
        ("from=now", None, last),
        ("from=first", None, first - 1),
        (&*format!("from={second}"), None, second - 1),
        ("since=1h", None, first - 1),
        ("from=now", Some(second), second),
    ] {
        let mut feed = Feed::open(&world, &format!("orgId=org_1&{query}"), back).await;
        assert_eq!(feed.next_place().await, place, "{query}");
    }
    let mut feed = Feed::open(&world, "orgId=org_1", None).await;
    let place = feed.next_place().await;
    assert!(world.stop_gateway().success());
    world.start_gateway();
    world.ready().await;
    let missed: Vec<Webhook> = (3..6).map(|index| Webhook::push(42, index)).collect();
    for webhook in &missed {
        world.accept(webhook).await;
    }
    world.events("org_1", 6).await;
    let mut back = Feed::open(&world, "orgId=org_1", Some(place)).await;
    assert_eq!(deliveries(&back.take(3).await), missed.iter().map(Webhook::delivery).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_wants_nothing_of_what_comes_knows_its_place_all_the_same() {
    let mut world = World::start().await;
    let publisher = publisher(&mut world).await;
    // So many types are read as all of the organisation.
    let types: Vec<String> = (0..20).map(|number| format!("linear:kind{number}.made")).collect();
    let mut feed = Feed::open(&world, &format!("orgId=org_1&types={}", types.join(",")), None).await;
    let opening = feed.next_place().await;
    let unwanted = async {
        for number in 0.. {
            let deadline = Instant::now() + Duration::from_secs(10);
            publisher.publish(event_of("org_1", Origin::Live, number), deadline).await.expect("stored");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let place = tokio::select! {
        place = feed.next_place() => place,
        () = unwanted => unreachable!("it goes on"),
    };
    assert!(place > opening, "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_back_too_late_is_told_and_never_moved_on_in_silence() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    for index in 0..3 {
        world.accept(&Webhook::push(42, index)).await;
    }
    world.events("org_1", 3).await;
    let mut feed = Feed::open(&world, "orgId=org_1&from=first", None).await;
    let seen = feed.take(3).await;
    let broker = world.broker().await;
    for event in &seen[..2] {
        nats::delete(&broker, topology::GW_EVENT, event.id).await.expect("deleted");
    }
    let first = eventually("the first event is gone", || async {
        let info = topology::stream_info(&broker, topology::GW_EVENT).await.ok()?;
        (info.state.first_sequence == seen[2].id).then_some(info.state.first_sequence)
    })
    .await;
    let key = ("x-api-key", KEY);
    let (code, body) = status(&world, "orgId=org_1", &[key, ("last-event-id", "0")]).await;
    assert_eq!((code, &body["code"], &body["firstSequence"]), (410, &json!("events_expired"), &json!(first)));
    let (code, body) = status(&world, "orgId=org_1", &[key, ("last-event-id", "999999")]).await;
    assert_eq!((code, &body["code"]), (410, &json!("place_unknown")));
    let mut rest = Feed::open(&world, "orgId=org_1", Some(seen[1].id)).await;
    assert_eq!(rest.take(1).await, seen[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_begins_at_a_time_is_told_of_what_may_have_expired_since_and_not_of_silence() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.accept(&Webhook::push(42, 1)).await;
    world.events("org_1", 1).await;
    // As if the last event were older than the retention, 7 d.
    let mut raw = Raw::connect(&world.nats_url()).await;
    let purged = raw.request(&format!("$JS.API.STREAM.PURGE.{}", topology::GW_EVENT), &json!({})).await;
    assert_eq!(purged.expect("an answer")["success"], json!(true));
    let key = ("x-api-key", KEY);
    let mut since = Feed::open(&world, "orgId=org_1&since=1h", None).await;
    let expired = async |when: &str| {
        let (code, body) = status(&world, "orgId=org_1&since=8d", &[key]).await;
        assert_eq!((code, &body["code"]), (410, &json!("events_expired")), "{when}");
    };
    expired("nothing is left").await;
    let next = Webhook::push(42, 2);
    world.accept(&next).await;
    let seen = since.take(1).await;
    assert_eq!(deliveries(&seen), [next.delivery()]);
    expired("what is left is younger").await;
    assert_eq!(Feed::open(&world, "orgId=org_1&since=1h", None).await.take(1).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_broker_does_not_have_yet_is_waited_for_before_the_reader_is_told() {
    let mut world = World::start().await;
    let publisher = publisher(&mut world).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    publisher.publish(event_of("org_1", Origin::Live, 0), deadline).await.expect("stored");
    let seen = Feed::open(&world, "orgId=org_1&from=first", None).await.take(1).await;
    // As if the leader were one event behind the replica that the reader's place is of.
    let opening = Feed::open(&world, "orgId=org_1", Some(seen[0].id + 1));
    let catching_up = publisher.publish(event_of("org_1", Origin::Live, 1), deadline);
    let (mut feed, caught_up) = tokio::join!(opening, catching_up);
    caught_up.expect("stored");
    assert_eq!(feed.next_place().await, seen[0].id + 1);
    publisher.publish(event_of("org_1", Origin::Live, 2), deadline).await.expect("stored");
    assert_eq!(deliveries(&feed.take(1).await), ["delivery-2"]);

    let asked = Instant::now();
    let place = (seen[0].id + 1_000).to_string();
    let (code, body) = status(&world, "orgId=org_1", &[("x-api-key", KEY), ("last-event-id", &place)]).await;
    assert_eq!((code, &body["code"]), (410, &json!("place_unknown")));
    assert!(asked.elapsed() >= Duration::from_secs(2), "it was waited for");
}
