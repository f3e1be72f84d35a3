//! Events over HTTP: server-sent events from any point that the stream still holds.

use std::time::Duration;

use bytes::BytesMut;
use nats::{Outgoing, topology};
use reqwest::{Client, Method, Response, Url};
use schemas::{Origin, header};
use serde_json::{Value, json};
use tests::{KEY, Link, Setup, Webhook, World, eventually, memory};
use tokio::time::Instant;

use crate::{pushing::event_of, replay::publisher};

mod places;

/// A server-sent event as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    id: u64,
    kind: String,
    data: String,
}

/// An open stream.
pub(crate) struct Feed {
    response: Response,
    read: BytesMut,
    /// The last id that was given, with or without an event.
    place: u64,
}

impl Feed {
    pub(crate) async fn open(world: &World, query: &str, place: Option<u64>) -> Self {
        Self::open_with(KEY, world, query, place).await
    }

    async fn open_with(key: &str, world: &World, query: &str, place: Option<u64>) -> Self {
        let mut request =
            Client::new().get(format!("{}/events/stream?{query}", world.api_url())).header("x-api-key", key);
        if let Some(place) = place {
            request = request.header("Last-Event-ID", place);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, read: BytesMut::new(), place: 0 }
    }

    /// The next event; none where the stream ends.
    async fn next(&mut self) -> Option<Seen> {
        loop {
            let seen = self.frame().await?;
            if !seen.data.is_empty() {
                return Some(seen);
            }
        }
    }

    /// The reader's place behind the next frame, be it an event or not.
    async fn next_place(&mut self) -> u64 {
        self.frame().await.expect("a frame").id
    }

    async fn frame(&mut self) -> Option<Seen> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let frame = self.read.split_to(end + 2);
                let frame = String::from_utf8(frame.to_vec()).expect("UTF-8");
                let field = |name: &str| frame.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
                if let Some(id) = field("id: ").first() {
                    self.place = id.parse().expect("a sequence");
                }
                let (kind, data) = (field("event: ").concat(), field("data: ").join("\n"));
                return Some(Seen { id: self.place, kind, data });
            }
            let more = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await.expect("in time");
            self.read.extend_from_slice(&more.ok().flatten()?);
        }
    }

    pub(crate) async fn take(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(count);
        while seen.len() < count {
            seen.push(self.next().await.expect("an event"));
        }
        seen
    }
}

fn deliveries(seen: &[Seen]) -> Vec<String> {
    let body = |seen: &Seen| serde_json::from_str::<Value>(&seen.data).expect("JSON");
    seen.iter().map(|seen| body(seen)["deliveryId"].as_str().expect("an id").to_owned()).collect()
}

async fn status(world: &World, query: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let answer = world.api_with(Method::GET, &format!("/events/stream?{query}"), None, headers).await;
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_old_and_new_events_of_its_organisation_each_once_and_in_order() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "43")).await;
    let webhooks: Vec<Webhook> = (0..60).map(|index| Webhook::push_numbered(42 + index % 2, 1, index)).collect();
    for webhook in &webhooks[..40] {
        world.accept(webhook).await;
    }
    world.events("org_1", 20).await;
    let mut feed = Feed::open(&world, "orgId=org_1&from=first", None).await;
    let mut seen = feed.take(20).await;
    for webhook in &webhooks[40..] {
        world.accept(webhook).await;
    }
    seen.extend(feed.take(10).await);
    let expected: Vec<String> = webhooks.iter().step_by(2).map(Webhook::delivery).collect();
    assert_eq!(deliveries(&seen), expected);
    assert!(seen.iter().all(|seen| seen.kind == "github:push"));
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id));

    // Whoever comes back goes on behind what it saw.
    let mut back = Feed::open(&world, "orgId=org_1", Some(seen[24].id)).await;
    assert_eq!(back.take(5).await, seen[25..]);
    let mut since = Feed::open(&world, "orgId=org_1&since=1h", None).await;
    assert_eq!(since.take(30).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_asks_for_types_and_everything_wrong_is_said_at_once() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.accept(&Webhook::push(42, 1)).await;
    let issue = json!({ "action": "opened", "repository": { "id": 42 }, "issue": { "number": 1, "title": "t" } });
    world.accept(&Webhook::new("github", "issues", issue.to_string())).await;
    world.events("org_1", 2).await;
    let mut feed = Feed::open(&world, "orgId=org_1&from=first&types=linear:*,github:issue.*", None).await;
    assert_eq!(feed.take(1).await[0].kind, "github:issue.opened");

    let key = ("x-api-key", KEY);
    let (code, body) = status(&world, "types=push&history=maybe&from=x&since=soon&what=1", &[key]).await;
    assert_eq!((code, &body["code"]), (400, &json!("invalid_query")));
    let wrong: Vec<&str> = body["errors"].as_object().expect("errors").keys().map(String::as_str).collect();
    assert_eq!(wrong, ["from", "history", "orgId", "query", "since", "types"]);
    assert_eq!(status(&world, "orgId=org_1", &[key, ("x-org-id", "org_2")]).await.0, 404);
    assert_eq!(status(&world, "orgId=org_1", &[]).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_streams_and_one_that_is_closed_makes_room() {
    let world = World::start().await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(Feed::open(&world, "orgId=org_1", None).await);
    }
    let key = ("x-api-key", KEY);
    let (code, body) = status(&world, "orgId=org_1", &[key]).await;
    assert_eq!((code, &body["code"]), (429, &json!("too_many_reads")));
    open.pop();
    eventually("a place is free", || async {
        let request = Client::new().get(format!("{}/events/stream?orgId=org_1", world.api_url()));
        (request.header("x-api-key", KEY).send().await.ok()?.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_misses_nothing_when_the_broker_is_killed() {
    let mut world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("a killed broker", "the broker is shared");
    }
    world.link(&Link::repository("org_1", "42")).await;
    let mut feed = Feed::open(&world, "orgId=org_1", None).await;
    let first: Vec<Webhook> = (0..5).map(|index| Webhook::push_numbered(42, 1, index)).collect();
    for webhook in &first {
        world.accept(webhook).await;
    }
    let mut seen = feed.take(5).await;
    world.kill_nats();
    let second: Vec<Webhook> = (5..10).map(|index| Webhook::push_numbered(42, 1, index)).collect();
    for webhook in &second {
        eventually("the broker is back", || async { (world.post(webhook).await.status == 200).then_some(()) }).await;
    }
    seen.extend(feed.take(5).await);
    let expected: Vec<String> = first.iter().chain(&second).map(Webhook::delivery).collect();
    assert_eq!(deliveries(&seen), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_gateway_stops_and_holds_it_up_for_nobody() {
    let mut world = Setup::new().with("GW_STOP_TIMEOUT", "20s").start().await;
    let mut feed = Feed::open(&world, "orgId=org_1", None).await;
    assert!(world.stop_gateway().success());
    assert_eq!(feed.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_reads_reads_its_own_organisation_alone() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.link(&Link::repository("org_2", "43")).await;
    let body = json!({ "name": "reader", "scope": "read", "orgId": "org_1" });
    let made = world.api(Method::POST, "/keys", Some(body)).await;
    let reader = made.body["key"].as_str().expect("a key").to_owned();
    for index in 0..4 {
        world.accept(&Webhook::push_numbered(42 + index % 2, 1, index)).await;
    }
    world.events("org_2", 2).await;
    world.events("org_1", 2).await;
    let mut feed = Feed::open_with(&reader, &world, "from=first", None).await;
    let last = Webhook::push_numbered(42, 1, 9);
    let seen = feed.take(2).await;
    for webhook in [&Webhook::push_numbered(43, 1, 8), &last] {
        world.accept(webhook).await;
    }
    let seen = [seen, feed.take(1).await].concat();
    let orgs: Vec<Value> = seen.iter().map(|seen| serde_json::from_str::<Value>(&seen.data).expect("JSON")).collect();
    assert!(orgs.iter().all(|body| body["orgId"] == "org_1"), "{orgs:?}");
    assert_eq!(deliveries(&seen)[2], last.delivery());
    let key = ("x-api-key", reader.as_str());
    assert_eq!(status(&world, "orgId=org_2", &[key]).await.0, 404);
    assert_eq!(status(&world, "orgId=org_1", &[key, ("x-org-id", "org_2")]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_reads_nothing_is_waited_for_takes_no_memory_and_holds_up_no_stop() {
    const EVENTS: usize = 300;
    const BYTES: usize = 200 << 10;
    let mut world = World::start().await;
    let events = (0..EVENTS).map(|number| {
        let body = json!({ "deliveryId": number.to_string(), "text": "x".repeat(BYTES) });
        Outgoing { payload: body.to_string().into(), ..event_of("org_1", Origin::Live, number) }
    });
    let publisher = publisher(&mut world).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    publisher.publish_in_order(events.collect(), deadline).await.expect("stored");
    let before = memory(world.gateway().pid());
    let mut feeds = Vec::new();
    for _ in 0..5 {
        feeds.push(Feed::open(&world, "orgId=org_1&from=first", None).await);
    }
    // What the sockets and a batch each take is taken; then nothing moves.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let grown = memory(world.gateway().pid()).saturating_sub(before);
    assert!(grown < 5 * (8 << 20), "{} MiB for five readers that do not read", grown >> 20);
    let seen = feeds[0].take(EVENTS).await;
    assert_eq!(deliveries(&seen), (0..EVENTS).map(|number| number.to_string()).collect::<Vec<_>>());
    // The other four have read nothing yet.
    assert!(world.stop_gateway().success());
    assert!(!world.gateway().log().contains("stop.timeout"));
}

/// Asks for an event's payload: status and bytes.
async fn payload(world: &World, headers: &[(&str, &str)], event: &str) -> (u16, Vec<u8>) {
    let mut request = Client::new().get(format!("{}/events/{event}/payload", world.api_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    if status == 200 {
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    (status, answer.bytes().await.expect("a body").to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_of_an_event_is_what_the_provider_sent_however_large_and_for_its_organisation_alone() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let body = json!({ "name": "reader", "scope": "read", "orgId": "org_1" });
    let broker = world.broker().await;
    let made = world.api(Method::POST, "/keys", Some(body)).await;
    let reader = made.body["key"].as_str().expect("a key").to_owned();
    let with =
        |filling: &str| format!(r#"{{ "repository":{{"id":42}},"installation":{{"id":1}}, "n":1.50,"x":"{filling}"}}"#);
    let large = with(&"x".repeat(600 * 1024));
    let form = Url::parse_with_params("http://x", [("payload", &large)]).expect("a form").query().map(str::to_owned);
    let form =
        Webhook::new("github", "push", form.expect("a form")).with("content-type", "application/x-www-form-urlencoded");
    for (webhook, sent) in [
        (Webhook::new("github", "push", with("")), with("")),
        (Webhook::new("github", "push", large.clone()), large.clone()),
        (form, large),
    ] {
        world.accept(&webhook).await;
        let own = |message: &nats::Message| message.header(header::DELIVERY) == Some(&webhook.delivery());
        let event = eventually("the event is there", || async {
            nats::batch(&broker, topology::GW_EVENT, 1..=u64::MAX, 10).await.ok()?.into_iter().find(own)
        })
        .await;
        let id = event.header("ce-id").expect("an id");
        let (key, org) = ("x-api-key", "x-org-id");
        for caller in [&[(key, KEY)][..], &[(key, KEY), (org, "org_1")], &[(key, &reader)]] {
            let (status, bytes) = payload(&world, caller, id).await;
            assert!((status, bytes.as_slice()) == (200, sent.as_bytes()), "{caller:?}");
        }
        assert_eq!(payload(&world, &[(key, KEY), (org, "org_2")], id).await.0, 404);
        assert_eq!(payload(&world, &[], id).await.0, 401);
    }
    for unknown in ["*", "%3E", "a.b", "aaaaaaaaaaaaaaaaaaaaaaaaaa", "%00", "evt_1"] {
        assert_eq!(payload(&world, &[("x-api-key", KEY)], unknown).await.0, 404, "{unknown}");
    }
}
