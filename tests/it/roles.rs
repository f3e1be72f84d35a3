//! The roles in a process each, on one broker: what they promise together.

use nats::{Broker, Credentials, Payloads, topology};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Receiver, Reply, Setup, Webhook, World, eventually};

use crate::{feed::Feed, raw::Raw, server::Server};

/// One gateway a role, and the admin's connection.
pub(crate) struct Roles {
    pub(crate) ingest: World,
    pub(crate) router: World,
    pub(crate) deliver: World,
    pub(crate) vault: World,
    broker: Broker,
    /// The admin's address.
    url: String,
}

impl Roles {
    /// Starts them on a server: as which user, where there are users. The streams are made first, by the admin.
    pub(crate) async fn start(
        server: &Server,
        login: fn(&'static str) -> Option<(&'static str, &'static str)>,
    ) -> Self {
        let url = server.url(login("admin"));
        let start = |role: &'static str| {
            let setup = Setup::new()
                .with("GW_ROLE", role)
                .with("GW_TOPOLOGY", "check")
                .with("GW_ENDPOINT_ALLOW", "http://127.0.0.1")
                .with("NATS_URL", server.url(login(role)));
            setup.start_on(&url)
        };
        let vault = start("vault");
        let reasons = vault.get("/readyz").await.body["reasons"].to_string();
        assert!(reasons.contains("+ GW_WEBHOOK"), "the missing streams are named: {reasons}");
        apply(&vault, &url).await;
        let (ingest, router, deliver) = (start("ingest"), start("router"), start("deliver"));
        let roles = Self { ingest, router, deliver, vault, broker: connect(&url).await, url };
        for world in [&roles.ingest, &roles.router, &roles.deliver, &roles.vault] {
            world.ready().await;
        }
        roles
    }

    async fn apply(&self) {
        apply(&self.vault, &self.url).await;
    }

    async fn link(&self, repository: u64) -> (String, String) {
        let known = self.router.metric("gw_routes").await;
        let adopt = json!({ "provider": "github", "externalId": "1", "orgId": "org_1" });
        let connection = self.vault.api(Method::POST, "/connections", Some(adopt)).await.body["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let body = json!({ "kind": "repository", "providerResourceId": repository.to_string() });
        let linked = self.vault.api(Method::POST, &format!("/connections/{connection}/resources"), Some(body)).await;
        assert_eq!(linked.status, 200, "{linked:?}");
        self.knows(known + 1.0).await;
        (connection, linked.body["resource"]["id"].as_str().expect("an id").to_owned())
    }

    async fn knows(&self, routes: f64) {
        let what = format!("the router knows {routes} routes");
        eventually(&what, || async { ((self.router.metric("gw_routes").await - routes).abs() < 0.5).then_some(()) })
            .await;
    }

    async fn event(&mut self, webhook: &Webhook, of: usize) -> Value {
        let events = self.ingest.events("org_1", of).await;
        let id = json!(webhook.delivery());
        events.into_iter().find(|event| event["deliveryId"] == id).expect("the event of the delivery")
    }

    /// Webhook to event, claim check, parking, links, rebuild, duplicates, internal deliveries, health.
    pub(crate) async fn promises(&mut self) {
        let (connection, _) = self.link(42).await;
        let webhook = Webhook::push(42, 1);
        self.ingest.accept(&webhook).await;
        let event = self.event(&webhook, 1).await;
        assert_eq!(event["connectionId"], json!(connection));
        let again = self.ingest.post(&webhook).await;
        assert_eq!((again.status, &again.body["status"]), (200, &json!("duplicate")));

        let large = large(42);
        self.ingest.accept(&large).await;
        let event = self.event(&large, 2).await;
        let reference = event["payloadRef"].as_str().expect("a reference").to_owned();
        let stored = Payloads::new(&self.broker).get(&reference).await.expect("an answer").expect("an object");
        assert!(stored.as_ref() == large.body.as_slice(), "the object holds the received bytes");
        let last = topology::stream_info(&self.broker, topology::GW_EVENT).await.expect("a stream").state.last_sequence;
        let message = nats::get(&self.broker, topology::GW_EVENT, last).await.expect("an answer").expect("an event");
        let id = message.header("ce-id").expect("an id");
        let payload = self.deliver.api(Method::GET, &format!("/events/{id}/payload"), None).await;
        assert_eq!((payload.status, &payload.body["repository"]["id"]), (200, &json!(42)), "{:?}", payload.headers);

        let early = Webhook::push(77, 1);
        self.ingest.accept(&early).await;
        self.ingest.stored(topology::GW_PARKED, "gw.parked.>", 1).await;
        let (_, link) = self.link(77).await;
        self.event(&early, 3).await;
        eventually("it is not parked any more", || async {
            let info = topology::stream_info(&self.broker, topology::GW_PARKED).await.ok()?;
            (info.state.messages == 0).then_some(())
        })
        .await;
        let removed =
            self.vault.api(Method::DELETE, &format!("/connections/{connection}/resources/{link}"), None).await;
        assert_eq!(removed.status, 200, "{removed:?}");
        self.knows(1.0).await;
        self.ingest.accept(&Webhook::push(77, 1)).await;
        self.ingest.stored(topology::GW_PARKED, "gw.parked.>", 1).await;
        let rebuilt = self.vault.api(Method::POST, "/routes/rebuild", None).await;
        assert_eq!(rebuilt.status, 200, "{rebuilt:?}");

        let internal = self.internal(&connection).await;
        assert_eq!((internal.status, &internal.body["status"]), (200, &json!("accepted")), "{internal:?}");
        assert_eq!(self.ingest.events("org_1", 4).await.len(), 4);
        self.pushes().await;
        self.replays().await;
        self.healthy().await;
    }

    /// Endpoint, first attempt, timer, second attempt, a retry of what the endpoint's end leaves, and its end.
    async fn pushes(&mut self) {
        let receiver = Receiver::start().await;
        receiver.on("/hook", |number, _| Reply::Status(if number == 0 || number == 2 { 500 } else { 200 }));
        let body = json!({
            "orgId": "org_1", "url": receiver.url("/hook"), "events": ["*"], "history": true, "retrySchedule": [1, 3600],
        });
        let made = self.deliver.api(Method::POST, "/endpoints", Some(body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/endpoints/{}", made.body["id"].as_str().expect("an id"));
        self.ingest.accept(&Webhook::push(42, 1)).await;
        let seen = receiver.got("/hook", 2).await;
        assert_eq!(seen[0].id(), seen[1].id());
        self.ingest.accept(&Webhook::push(42, 1)).await;
        self.ingest.stored(topology::GW_RETRY, "gw.retry.wait.>", 1).await;
        let deleted = self.deliver.api(Method::DELETE, &path, None).await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
        eventually("nothing is left of the endpoint", || async {
            let names = nats::durable::names(&self.broker, topology::GW_EVENT).await.ok()?;
            (!names.iter().any(|name| name.starts_with("ep_"))).then_some(())
        })
        .await;
    }

    /// Every kind of replay, events over HTTP, and a dead letter that goes back to the router.
    async fn replays(&mut self) {
        let receiver = Receiver::start().await;
        let body = json!({ "orgId": "org_1", "url": receiver.url("/hook"), "events": ["*"], "history": true });
        let made = self.deliver.api(Method::POST, "/endpoints", Some(body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        for wishes in [
            json!({ "mode": "redeliver", "orgId": "org_1" }),
            json!({ "mode": "redeliver", "orgId": "org_1", "onlyFailed": true }),
            json!({ "mode": "redeliver", "to": "subject", "provider": "github", "since": "1h" }),
            json!({ "mode": "reroute", "since": "1h" }),
            json!({ "mode": "reroute", "onlyUndelivered": true, "dryRun": true }),
        ] {
            let asked = self.deliver.api(Method::POST, "/replays", Some(wishes.clone())).await;
            assert_eq!(asked.status, 202, "{wishes}: {asked:?}");
            let path = format!("/replays/{}", asked.body["id"].as_str().expect("an id"));
            let what = format!("the replay {wishes} ends");
            let ended = eventually(&what, || async {
                let shown = self.deliver.api(Method::GET, &path, None).await.body;
                for world in [&self.deliver, &self.router] {
                    let log = std::fs::read_to_string(world.folder().join("gw-1.log")).unwrap_or_default();
                    assert!(!log.to_lowercase().contains("violation"), "{log}");
                }
                (shown["status"] != "running").then_some(shown)
            })
            .await;
            assert_eq!(ended["status"], "done", "{ended}");
        }
        receiver.got("/hook", 1).await;
        let listed = self.deliver.api(Method::GET, "/replays", None).await;
        assert_eq!(listed.body["replays"].as_array().map(Vec::len), Some(5), "{listed:?}");
        assert_eq!(Feed::open(&self.deliver, "orgId=org_1&from=first", None).await.take(5).await.len(), 5);

        self.ingest.accept(&Webhook::new("github", "push", "no JSON")).await;
        self.ingest.stored(topology::GW_DLQ, "gw.dlq.router.>", 1).await;
        let letters = self.deliver.api(Method::GET, "/dead-letters?since=1h", None).await.body;
        assert_eq!(letters["deadLetters"].as_array().map(Vec::len), Some(1), "{letters}");
        let body = json!({ "stage": "router" });
        let redriven = self.deliver.api(Method::POST, "/dead-letters/redrive", Some(body)).await;
        assert_eq!(redriven.status, 200, "{redriven:?}");
        eventually("the router looked at it again", || async {
            let info = topology::consumer_info(&self.broker, topology::GW_JOB, "redrive").await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence > 0).then_some(())
        })
        .await;
    }

    async fn internal(&self, connection: &str) -> Answer {
        let body = json!({
            "connectionId": connection, "orgId": "org_1", "deliveryId": "internal-1", "eventType": "push",
            "payload": serde_json::from_slice::<Value>(&Webhook::push(42, 1).body).expect("JSON"), "receivedAt": 1_780_000_000_000_i64,
        });
        self.ingest.api(Method::POST, "/deliveries/github", Some(body)).await
    }

    async fn healthy(&mut self) {
        let lag = self.router.metrics().await;
        assert!(lag.contains(r#"gw_consumer_lag{consumer="router"} 0"#), "{lag}");
        for world in [&mut self.ingest, &mut self.router, &mut self.deliver, &mut self.vault] {
            let ready = world.get("/readyz").await;
            assert_eq!(ready.status, 200, "{:?}", ready.body);
            assert!(world.metrics().await.contains("gw_build_info"));
            let log = world.gateway().log();
            assert!(!log.contains(r#""level":"ERROR""#), "{log}");
        }
    }
}

async fn apply(world: &World, url: &str) {
    let mut apply = world.command(&["topology", "apply"]);
    apply.env("NATS_URL", url);
    let applied = tokio::task::spawn_blocking(move || apply.output()).await.expect("a thread").expect("gw runs");
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

/// A webhook of more than 2 MiB.
fn large(repository: u64) -> Webhook {
    let mut body: Value = serde_json::from_slice(&Webhook::push(repository, 1).body).expect("JSON");
    body["padding"] = json!("x".repeat(2 << 20));
    Webhook::new("github", "push", body.to_string())
}

async fn connect(url: &str) -> Broker {
    let config = nats::Config {
        url: url.to_owned(),
        credentials: Credentials::Address,
        name: "admin".to_owned(),
        wait: false,
        server: None,
    };
    Broker::connect(&config).await.expect("a broker")
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_do_together_what_one_does() {
    let server = Server::single().await;
    let mut roles = Roles::start(&server, |_| None).await;
    roles.promises().await;
    // None of them may make the consumer anew: readiness says what is missing until the admin has done it.
    let mut raw = Raw::connect(&server.url(None)).await;
    raw.request("$JS.API.CONSUMER.DELETE.GW_WEBHOOK.router", &json!({})).await.expect("it is deleted");
    let webhook = Webhook::push(42, 1);
    roles.ingest.accept(&webhook).await;
    let answer = roles.router.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body["reasons"].to_string().contains("+ consumer router"), "{:?}", answer.body);
    roles.apply().await;
    roles.event(&webhook, 7).await;
    roles.router.ready().await;
    for world in [&mut roles.ingest, &mut roles.router, &mut roles.deliver, &mut roles.vault] {
        assert_eq!(world.stop_gateway().code(), Some(0));
    }
}
