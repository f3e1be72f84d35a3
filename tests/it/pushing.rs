//! What a push promises: to its receiver, to the operator, and to all other endpoints.

use std::time::Duration;

use nats::{Broker, Message, Mode, Outgoing, Publisher, durable, topology};
use reqwest::Method;
use schemas::{
    attempt::{Attempt, Retry},
    delivery::Origin,
    event_type::TypeKey,
    header, subject,
};
use serde_json::{Value, json};
use tests::{Receiver, Setup, World, eventually, eventually_within};
use tokio::time::Instant;

use crate::ledger::{audit, term};

mod breaker;
mod changes;
mod crashes;
mod delivery;
mod history;
mod many;
mod ordered;
mod receivers;
mod retries;
mod status;

/// A gateway and a receiver that it may reach.
struct Pushes {
    world: World,
    receiver: Receiver,
}

/// An endpoint that was made.
struct Made {
    id: String,
    secret: String,
}

impl Pushes {
    async fn start() -> Self {
        Self::start_with(Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32")).await
    }

    async fn start_with(setup: Setup) -> Self {
        Self { world: setup.start().await, receiver: Receiver::start().await }
    }

    /// An endpoint of `org_1` for everything, at a path of the receiver, with what the test wants beside.
    async fn endpoint(&self, path: &str, wishes: Value) -> Made {
        self.endpoint_at(&self.receiver.url(path), wishes).await
    }

    async fn endpoint_at(&self, url: &str, wishes: Value) -> Made {
        let mut body = json!({ "orgId": "org_1", "url": url, "events": ["*"] });
        for (name, value) in wishes.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let made = self.world.api(Method::POST, "/endpoints", Some(body)).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        let text = |name: &str| made.body[name].as_str().expect("a text").to_owned();
        Made { id: text("id"), secret: text("secret") }
    }

    /// Another process that pushes, on the same broker and database.
    async fn another_process(&self) -> World {
        let data = self.world.folder().join("data");
        let key = std::fs::read_to_string(data.join("endpoint.key")).expect("a key");
        let other = Setup::new()
            .with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32")
            .with("GW_ROLE", "deliver")
            .with("GW_ENDPOINT_KEY", key)
            .with("DATABASE_URL", format!("sqlite://{}", data.join("gw.db").display()))
            .start_on(&self.world.nats_url());
        other.ready().await;
        other
    }

    async fn change(&self, endpoint: &Made, wishes: Value) {
        let changed = self.world.api(Method::PATCH, &format!("/endpoints/{}", endpoint.id), Some(wishes)).await;
        assert_eq!(changed.status, 200, "{:?}", changed.body);
    }

    async fn status(&self, endpoint: &Made) -> Value {
        self.world.api(Method::GET, &format!("/endpoints/{}", endpoint.id), None).await.body
    }

    /// Stores an event of `org_1` and gives its id.
    async fn event(&mut self, number: usize) -> String {
        self.events(number..number + 1).await.remove(0)
    }

    async fn events(&mut self, numbers: std::ops::Range<usize>) -> Vec<String> {
        self.store(Origin::Live, numbers).await
    }

    async fn history(&mut self, numbers: std::ops::Range<usize>) -> Vec<String> {
        self.store(Origin::Backfill, numbers).await
    }

    async fn store(&mut self, origin: Origin, numbers: std::ops::Range<usize>) -> Vec<String> {
        let messages: Vec<Outgoing> = numbers.map(|number| event_of("org_1", origin, number)).collect();
        let ids = messages.iter().map(|message| message.id.clone()).collect();
        self.publish(messages).await;
        ids
    }

    async fn publish(&mut self, messages: Vec<Outgoing>) {
        let (publisher, group) = Publisher::new(&self.world.broker().await, Mode::Batch { single: 0 });
        let group = tokio::spawn(group);
        let deadline = Instant::now() + Duration::from_secs(20);
        for run in messages.chunks(100) {
            publisher.publish_in_order(run.to_vec(), deadline).await.expect("stored");
        }
        drop(publisher);
        group.await.expect("it ends");
    }

    /// What is recorded of an endpoint's pushes, once there is so much.
    async fn attempts(&mut self, endpoint: &Made, count: usize) -> Vec<Attempt> {
        let filter = format!("gw.attempt.org_1.{}.>", endpoint.id);
        let messages = self.world.stored(topology::GW_ATTEMPT, &filter, count).await;
        messages.iter().map(|message| serde_json::from_slice(&message.payload).expect("an attempt")).collect()
    }

    /// The timers of an endpoint.
    async fn timers(&mut self, endpoint: &Made) -> Vec<(Message, Retry)> {
        let messages = self.world.messages(topology::GW_RETRY, &subject::retries_waiting_of(&endpoint.id)).await;
        let read = |message: Message| {
            let retry = serde_json::from_slice(&message.payload).expect("a timer");
            (message, retry)
        };
        messages.into_iter().map(read).collect()
    }

    /// The dead letters of endpoints, once there are so many.
    async fn letters(&mut self, count: usize) -> Vec<Message> {
        self.world.stored(topology::GW_DLQ, "gw.dlq.endpoint.>", count).await
    }

    /// Waits until an endpoint has nothing before it and nothing in hand.
    async fn idle(&mut self, endpoint: &Made) {
        let broker = self.world.broker().await;
        eventually("the endpoint's consumer has nothing left", || async {
            let info = topology::consumer_info(&broker, topology::GW_EVENT, &endpoint.id).await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }

    /// Waits until nothing of an endpoint is in hand, be it event or timer. For what a killed process had the broker
    /// waits a minute.
    async fn settled(&mut self, endpoint: &Made) {
        let broker = self.world.broker().await;
        eventually_within(Duration::from_secs(100), "nothing is in hand", || async {
            let events = topology::consumer_info(&broker, topology::GW_EVENT, &endpoint.id).await.ok()?;
            let due = topology::consumer_info(&broker, topology::GW_RETRY, topology::RETRY).await.ok()?;
            let idle = [events, due].iter().all(|info| info.num_pending == 0 && info.num_ack_pending == 0);
            idle.then_some(())
        })
        .await;
    }

    /// Starts the gateway again, with these roles alone; all of them where none is named.
    async fn as_roles(&mut self, roles: &str) {
        self.world.stop_gateway();
        self.world.set("GW_ROLE", roles);
        self.world.start_gateway();
        self.world.ready().await;
    }

    /// Everything adds up, and all pushes of an endpoint were delivered, so many.
    async fn adds_up(&self, endpoint: &Made, delivered: i64) {
        self.has(endpoint, &[("admitted", delivered), ("delivered", delivered)]).await;
    }

    /// Everything adds up, and these terms of an endpoint are so.
    async fn has(&self, endpoint: &Made, wanted: &[(&str, i64)]) {
        let report = audit(&self.world).await;
        let terms = term(&report["endpoints"], "endpointId", &endpoint.id);
        assert_eq!((&report["error"], &terms["lost"]), (&json!(0), &json!(0)), "{report}");
        for (name, number) in wanted {
            assert_eq!(&terms[*name], number, "{name}: {report}");
        }
    }

    async fn broker(&mut self) -> Broker {
        self.world.broker().await
    }

    /// Waits until an endpoint's consumer is gone.
    async fn forgotten(&mut self, endpoint: &Made) {
        let broker = self.broker().await;
        eventually("the consumer is gone", || async {
            durable::find(&broker, topology::GW_EVENT, &endpoint.id).await.ok()?.is_none().then_some(())
        })
        .await;
    }
}

/// An event as the router writes it.
pub(crate) fn event_of(org: &str, origin: Origin, number: usize) -> Outgoing {
    let id = schemas::event::id("github", &format!("{origin:?}-{number}"), org, None);
    let key = TypeKey { entity: "push".to_owned(), action: None };
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-source", "/github/1"),
        ("ce-type", "github:push"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("ce-datacontenttype", "application/json"),
        ("ce-orgid", org),
        ("content-type", "application/json"),
        (header::ORG, org),
        (header::PROVIDER, "github"),
        (header::DELIVERY, &format!("delivery-{number}")),
        (header::SEQUENCE, &(number + 1).to_string()),
        (header::ORIGIN, origin.as_str()),
    ];
    Outgoing {
        subject: subject::event(origin, org, "github", &key, &id),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        payload: json!({ "deliveryId": format!("delivery-{number}"), "number": number }).to_string().into(),
        id,
        once: true,
        ..Outgoing::default()
    }
}
