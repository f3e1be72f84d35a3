//! Deliveries from services of ours: `POST /deliveries/{provider}` on the API listener.

use nats::{Message, topology};
use reqwest::Method;
use schemas::{Delivery, header};
use serde_json::{Value, json};
use tests::{Answer, KEY, Link, World};

const RECEIVED: i64 = 1_767_225_600_123;

fn form(connection: &str, delivery: &str) -> Value {
    json!({
        "connectionId": connection, "orgId": "org_1", "deliveryId": delivery, "eventType": "push",
        "payload": { "repository": { "id": 42 }, "ref": "refs/heads/main" }, "receivedAt": RECEIVED,
    })
}

fn with(mut form: Value, field: &str, value: Value) -> Value {
    form[field] = value;
    form
}

/// Two organisations with a link to one repository; gives the first one's connection.
async fn linked() -> (World, String) {
    let mut world = World::start().await;
    let (connection, _) = world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "42")).await;
    (world, connection)
}

async fn post(world: &World, body: Value) -> Answer {
    world.api(Method::POST, "/deliveries/github", Some(body)).await
}

async fn post_text(world: &World, body: &str) -> Answer {
    let url = format!("{}/deliveries/github", world.api_url());
    world.send(Method::POST, &url, &[("x-api-key", KEY.as_bytes()), ("content-type", b"application/json")], body).await
}

async fn stored(world: &mut World, delivery: &str) -> Message {
    world.stored(topology::GW_WEBHOOK, &format!("gw.webhook.github.*.{delivery}"), 1).await.remove(0)
}

#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str, fields: &[&str]) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let mut found: Vec<&str> =
        answer.body["errors"].as_object().into_iter().flatten().map(|(field, _)| field.as_str()).collect();
    let mut fields = fields.to_vec();
    found.sort_unstable();
    fields.sort_unstable();
    assert_eq!(found, fields, "{answer:?}");
    for (field, errors) in answer.body["errors"].as_object().into_iter().flatten() {
        let errors = errors.as_array().expect("a list of texts");
        assert!(!errors.is_empty() && errors.iter().all(Value::is_string), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_delivery_becomes_the_event_of_its_connection_s_organisation_alone() {
    let (mut world, connection) = linked().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers =
        [("authorization", "bearer a-key-of-the-suite"), ("x-correlation-id", "corr-1"), ("traceparent", trace)];
    for (path, delivery) in [("/deliveries/github", "d-1"), ("/webhooks/github", "d-2")] {
        let answer = world.api_with(Method::POST, path, Some(form(&connection, delivery)), &headers).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({ "status": "accepted", "deliveryId": delivery })));
        let message = stored(&mut world, delivery).await;
        let found = Delivery::from_headers(&message.header_list()).expect("a delivery");
        let bound = found.bound.expect("a connection");
        assert_eq!(
            (bound.connection.as_str(), bound.org.as_str(), found.origin.as_str()),
            (connection.as_str(), "org_1", "service")
        );
        assert_eq!((found.account.as_deref(), found.resources.as_slice()), (Some("1"), &["42".to_owned()][..]));
        assert_eq!(
            (found.received_at, found.correlation.as_deref(), found.signature_key),
            (RECEIVED, Some("corr-1"), None)
        );
        assert_eq!(message.header(header::TRACEPARENT), Some(trace));
    }
    let events = world.events("org_1", 2).await;
    world.settled().await;
    assert_eq!(events[0]["origin"], json!("service"));
    assert_eq!((&events[0]["receivedAt"], &events[0]["correlationId"]), (&json!(RECEIVED), &json!("corr-1")));
    assert_eq!((&events[0]["eventType"], &events[0]["connectionId"]), (&json!("push"), &json!(connection)));
    assert!(world.events("org_2", 0).await.is_empty(), "another organisation's link claimed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_resource_goes_before_those_of_the_payload_and_times_are_seconds_or_milliseconds() {
    let (mut world, connection) = linked().await;
    let named = with(form(&connection, "d-1"), "resourceId", json!("77"));
    let seconds = with(form(&connection, "d-2"), "receivedAt", json!(1_767_225_600));
    let fraction = with(form(&connection, "d-3"), "receivedAt", json!(1_767_225_600.123));
    let null = with(form(&connection, "d-4"), "resourceId", Value::Null);
    for form in [named, seconds, fraction, null] {
        assert_eq!(post(&world, form).await.status, 200);
    }
    let expected =
        [("d-1", "77", RECEIVED), ("d-2", "42", 1_767_225_600_000), ("d-3", "42", RECEIVED), ("d-4", "42", RECEIVED)];
    for (delivery, resource, received) in expected {
        let message = stored(&mut world, delivery).await;
        let found = Delivery::from_headers(&message.header_list()).expect("a delivery");
        assert_eq!(
            (found.resources.as_slice(), found.received_at),
            (&[resource.to_owned()][..], received),
            "{delivery}"
        );
    }
    // Nobody links 77: it waits, and a link of another organisation does not release it.
    world.stored(topology::GW_PARKED, "gw.parked.github.1.d-1", 1).await;
    world.link(&Link::repository("org_2", "77")).await;
    world.link(&Link::repository("org_1", "77")).await;
    let events = world.events("org_1", 4).await;
    assert!(events.iter().any(|event| event["deliveryId"] == json!("d-1")));
    assert!(world.events("org_2", 0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_payload_is_the_payload_s_own_bytes() {
    let (mut world, connection) = linked().await;
    let large = format!(r#"{{ "x":"{}" }}"#, "x".repeat(600 * 1024));
    let payloads =
        [r#"{ "b":1.50, "a":1e2,"a":2 , "é":"\u00e9" }"#, "{}", "{\n\t\"deep\": {\"list\": [1,  2]}\r\n}", &large];
    for (at, payload) in payloads.into_iter().enumerate() {
        let body = format!(
            " {{\"payload\" : {payload} ,\"receivedAt\":{RECEIVED},\"eventType\":\"push\",\"deliveryId\":\"d-{at}\",\"orgId\":\"org_1\",\"connectionId\":\"{connection}\",\"more\":[]}}\n"
        );
        let answer = post_text(&world, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = stored(&mut world, &format!("d-{at}")).await;
        let bytes = match message.header(header::PAYLOAD_REF) {
            None => message.payload,
            Some(name) => {
                nats::Payloads::new(&world.broker().await).get(name).await.expect("a read").expect("an object")
            }
        };
        assert!(bytes == payload, "payload {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_wrong_with_the_fields_is_said_at_once_and_leaves_no_trace() {
    let (mut world, connection) = linked().await;
    let good = form(&connection, "d-1");
    let all = ["connectionId", "orgId", "deliveryId", "eventType", "payload", "receivedAt"];
    check_refused(&post(&world, json!({})).await, 400, "invalid_body", &all);
    let mut every = all.to_vec();
    every.push("resourceId");
    let wrong = json!({ "connectionId": 1, "orgId": "", "deliveryId": null, "eventType": [], "payload": "{}", "receivedAt": "2026-01-01T00:00:00Z", "resourceId": 7 });
    check_refused(&post(&world, wrong).await, 400, "invalid_body", &every);
    for (field, values) in [
        ("receivedAt", json!([-1, "1767225600123", null, true, 1e300])),
        ("payload", json!([[], "text", 1, null, true])),
        ("resourceId", json!(["", 1, {}])),
        ("eventType", json!(["", 1, null])),
    ] {
        for value in values.as_array().expect("a list") {
            check_refused(&post(&world, with(good.clone(), field, value.clone())).await, 400, "invalid_body", &[field]);
        }
    }
    for text in ["{", "not json", "{\"connectionId\":}", "\u{feff}{}", "{} {}"] {
        check_refused(&post_text(&world, text).await, 400, "invalid_json", &[]);
    }
    for text in ["[]", "null", "1", "\"text\"", r#"["c","o","d","e",null,{},1]"#] {
        check_refused(&post_text(&world, text).await, 400, "invalid_body", &["body"]);
    }
    check_refused(&post_text(&world, "").await, 400, "missing_body", &[]);
    let unknown = world.api(Method::POST, "/deliveries/bitbucket", Some(good.clone())).await;
    check_refused(&unknown, 404, "unknown_provider", &[]);
    let unknown = world.api(Method::POST, "/deliveries/%ff", Some(good)).await;
    check_refused(&unknown, 404, "unknown_provider", &[]);
    assert_eq!(world.api(Method::GET, "/deliveries/github", None).await.status, 405);
    assert!(world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_taken_only_for_an_active_connection_of_that_organisation_and_provider() {
    let (mut world, connection) = linked().await;
    let good = form(&connection, "d-1");
    for id in ["con_none", "*", ">", "a.b", " ", "x/../y", &"x".repeat(3_000)] {
        check_refused(
            &post(&world, with(good.clone(), "connectionId", json!(id))).await,
            400,
            "invalid_body",
            &["connectionId"],
        );
    }
    check_refused(&post(&world, with(good.clone(), "orgId", json!("org_2"))).await, 400, "invalid_body", &["orgId"]);
    let linear = world.api(Method::POST, "/deliveries/linear", Some(good.clone())).await;
    check_refused(&linear, 400, "invalid_body", &["connectionId"]);
    let both = world.api(Method::POST, "/deliveries/linear", Some(with(good.clone(), "orgId", json!("org_2")))).await;
    check_refused(&both, 400, "invalid_body", &["connectionId", "orgId"]);
    // A caller narrowed to another organisation learns nothing of the connection.
    for (form, org) in
        [(good.clone(), "org_2"), (with(good.clone(), "orgId", json!("org_2")), "org_2"), (good.clone(), "org_none")]
    {
        let answer = world
            .api_with(Method::POST, "/deliveries/github", Some(form), &[("x-api-key", KEY), ("x-org-id", org)])
            .await;
        check_refused(&answer, 400, "invalid_body", &["connectionId"]);
        assert_eq!(answer.body["errors"]["connectionId"], json!(["no such connection"]));
    }
    let long = "o".repeat(201);
    for org in ["", &long] {
        let answer = world
            .api_with(Method::POST, "/deliveries/github", Some(good.clone()), &[("x-api-key", KEY), ("x-org-id", org)])
            .await;
        check_refused(&answer, 400, "invalid_header", &[]);
    }
    assert!(world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.is_empty());
    let own = world
        .api_with(Method::POST, "/deliveries/github", Some(good), &[("x-api-key", KEY), ("x-org-id", "org_1")])
        .await;
    assert_eq!(own.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_needed_and_a_repeated_delivery_is_a_duplicate() {
    let (mut world, connection) = linked().await;
    let good = form(&connection, "d-1");
    let wrong: [&[(&str, &str)]; 8] = [
        &[],
        &[("x-api-key", "")],
        &[("x-api-key", "a-key-of-the-suit")],
        &[("x-api-key", "a-key-of-the-suite-")],
        &[("authorization", "a-key-of-the-suite")],
        &[("authorization", "Basic a-key-of-the-suite")],
        &[("authorization", "Bearer ")],
        &[("x-api-key", "a-key-of-the-suite,another")],
    ];
    for headers in wrong {
        for path in ["/deliveries/github", "/webhooks/github", "/deliveries/bitbucket"] {
            let answer = world.api_with(Method::POST, path, Some(good.clone()), headers).await;
            check_refused(&answer, 401, "unauthorized", &[]);
            assert_eq!((answer.headers["www-authenticate"].as_str(), &answer.body["detail"]), ("Bearer", &Value::Null));
        }
    }
    for headers in [[("x-api-key", KEY)], [("authorization", "Bearer a-key-of-the-suite")]] {
        let delivery = headers[0].0;
        let form = with(good.clone(), "deliveryId", json!(delivery));
        let first = world.api_with(Method::POST, "/deliveries/github", Some(form.clone()), &headers).await;
        assert_eq!(first.body, json!({ "status": "accepted", "deliveryId": delivery }));
        let sequence = stored(&mut world, delivery).await.sequence;
        let again = world.api_with(Method::POST, "/webhooks/github", Some(form), &headers).await;
        assert_eq!(again.body, json!({ "status": "duplicate", "deliveryId": delivery, "sequence": sequence }));
    }
    assert_eq!(world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.len(), 2);
}
