//! Changes of endpoints while events flow, several processes, and streams that are not the ones they were.

use std::time::Duration;

use nats::{Outgoing, topology};
use reqwest::Method;
use schemas::{
    attempt::{PushOutcome, Retry},
    delivery::Origin,
    event_type::TypeKey,
    subject,
};
use serde_json::json;
use tests::{eventually, never};
use tokio::time::Instant;

use super::{Pushes, event_of};

/// An event of another type than those of `event_of`.
fn issue(number: usize) -> Outgoing {
    let key = TypeKey { entity: "issue".to_owned(), action: Some("opened".to_owned()) };
    let mut event = event_of("org_1", Origin::Live, number);
    event.subject = subject::event(Origin::Live, "org_1", "github", &key, &event.id);
    for (name, value) in &mut event.headers {
        if name == "ce-type" {
            "github:issue.opened".clone_into(value);
        }
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_widened_while_events_flow_owes_what_it_delivers() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({ "events": ["github:push"] })).await;
    pushes.event(0).await;
    pushes.receiver.got("/hook", 1).await;
    pushes.change(&endpoint, json!({ "events": ["github:*"] })).await;
    let (begun, mut number) = (Instant::now(), 1);
    while begun.elapsed() < Duration::from_secs(7) {
        // Each push moves the place of the endpoint beyond the issue before it.
        pushes.publish(vec![issue(number), event_of("org_1", Origin::Live, number + 1)]).await;
        number += 2;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pushes.publish(vec![issue(number)]).await;
    let receiver = &pushes.receiver;
    eventually("the last issue arrives", || async {
        receiver.seen("/hook").iter().any(|seen| seen.json()["number"] == number).then_some(())
    })
    .await;
    pushes.idle(&endpoint).await;
    pushes.has(&endpoint, &[("pending", 0), ("scheduled", 0), ("dropped", 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_one_process_deletes_is_not_begun_anew_by_another() {
    let mut pushes = Pushes::start().await;
    let _other = pushes.another_process().await;
    pushes.events(0..50).await;
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6"];
    for path in paths {
        let endpoint = pushes.endpoint(path, json!({ "start": 1, "concurrency": 10 })).await;
        pushes.receiver.got(path, 50).await;
        pushes.idle(&endpoint).await;
        let deleted = pushes.world.api(Method::DELETE, &format!("/endpoints/{}", endpoint.id), None).await;
        assert_eq!(deleted.status, 200, "{:?}", deleted.body);
    }
    let receiver = &pushes.receiver;
    let again = || async { paths.iter().any(|path| receiver.seen(path).len() > 50).then_some(()) };
    never("an event is pushed again", Duration::from_secs(4), again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_at_whose_place_another_organisations_event_stands_pushes_nothing() {
    let mut pushes = Pushes::start().await;
    let endpoint = pushes.endpoint("/hook", json!({})).await;
    pushes.publish(vec![event_of("org_2", Origin::Live, 0)]).await;
    let others = pushes.world.stored(topology::GW_EVENT, "gw.event.org_2.>", 1).await.remove(0);
    let event_id = event_of("org_1", Origin::Live, 7).id;
    let retry = Retry {
        org_id: "org_1".to_owned(),
        endpoint_id: endpoint.id.clone(),
        event_id: event_id.clone(),
        stream: topology::GW_EVENT.to_owned(),
        sequence: others.sequence,
        event_sequence: others.sequence,
        attempt: 2,
        replay: None,
        only_failed: false,
    };
    let due = Outgoing {
        subject: subject::retry_due(&endpoint.id, &event_id),
        id: "due".to_owned(),
        payload: serde_json::to_vec(&retry).expect("JSON").into(),
        ..Outgoing::default()
    };
    pushes.publish(vec![due]).await;
    let ended = pushes.attempts(&endpoint, 1).await.remove(0);
    assert_eq!((ended.outcome, ended.event_id), (PushOutcome::Expired, event_id));
    assert!(pushes.receiver.seen("/hook").is_empty());
}
