//! Replays: what is sent again and what is made anew, through crashes, and behind everybody else.

use std::{sync::Arc, time::Duration};

use nats::{
    Message, Mode, Outgoing, Publisher, Verdict,
    consume::{self, Consumer, DeadLetters, Handler, Slots},
    topology::{self, GW_WEBHOOK},
};
use reqwest::Method;
use schemas::delivery::Origin;
use serde_json::{Value, json};
use tests::{Receiver, Setup, World, eventually};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pushing::event_of;

mod asking;
mod jobs;
mod redeliver;
mod repeats;
mod reroute;

/// A gateway, and a receiver that it may reach.
pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) receiver: Receiver,
}

impl Ground {
    pub(crate) async fn start() -> Self {
        Self::publishing("auto").await
    }

    /// With a gateway that stores messages this way.
    pub(crate) async fn publishing(mode: &str) -> Self {
        let setup = Setup::new().with("GW_ENDPOINT_ALLOW", "http://127.0.0.1/32").with("GW_PUBLISH", mode);
        Self { world: setup.start().await, receiver: Receiver::start().await }
    }

    /// An endpoint of an organisation for everything, that gives up after its second attempt.
    pub(crate) async fn endpoint(&self, org: &str, path: &str) -> String {
        let body = json!({ "orgId": org, "url": self.receiver.url(path), "events": ["*"], "retrySchedule": [1] });
        let made = self.world.api(Method::POST, "/endpoints", Some(body)).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        made.body["id"].as_str().expect("an id").to_owned()
    }

    /// Stores events of an organisation and gives their ids.
    pub(crate) async fn events(&mut self, org: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
        let (publisher, group) = Publisher::new(&self.world.broker().await, Mode::Batch { single: 0 });
        let group = tokio::spawn(group);
        let messages: Vec<Outgoing> = numbers.map(|number| event_of(org, Origin::Live, number)).collect();
        for run in messages.chunks(200) {
            let deadline = Instant::now() + Duration::from_secs(20);
            publisher.publish_in_order(run.to_vec(), deadline).await.expect("stored");
        }
        drop(publisher);
        group.await.expect("it ends");
        messages.into_iter().map(|message| message.id).collect()
    }

    /// Asks for a replay and gives its id.
    pub(crate) async fn replay(&self, wishes: Value) -> String {
        let asked = self.world.api(Method::POST, "/replays", Some(wishes)).await;
        assert_eq!(asked.status, 202, "{:?}", asked.body);
        asked.body["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn look(&self, replay: &str) -> Value {
        self.world.api(Method::GET, &format!("/replays/{replay}"), None).await.body
    }

    /// What a replay says of itself when it has ended.
    pub(crate) async fn ended(&self, replay: &str) -> Value {
        eventually("the replay ends", || async {
            let shown = self.look(replay).await;
            (shown["status"] != "running").then_some(shown)
        })
        .await
    }

    /// Asks for a replay and waits for its end.
    pub(crate) async fn replayed(&self, wishes: Value) -> Value {
        let replay = self.replay(wishes).await;
        let ended = self.ended(&replay).await;
        assert_eq!(ended["status"], "done", "{ended}");
        ended
    }
}

/// Takes deliveries away from the router and does nothing with them, as a consumer does that lost its way.
struct Swallow;

impl Handler for Swallow {
    fn lane(&self, message: &Message) -> u64 {
        message.sequence
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        vec![Verdict::Done; messages.len()]
    }
}

/// A publisher of the test's own.
pub(crate) async fn publisher(world: &mut World) -> Publisher {
    let (publisher, group) = Publisher::new(&world.broker().await, Mode::Pipeline);
    tokio::spawn(group);
    publisher
}

/// Swallows so many deliveries in the router's place. No router may run.
pub(crate) async fn swallow(world: &mut World) {
    let broker = world.broker().await;
    let publisher = publisher(world).await;
    let consumer = Consumer {
        broker: broker.clone(),
        stream: GW_WEBHOOK,
        name: topology::ROUTER,
        slots: Slots::live(100),
        dead: DeadLetters::new(publisher, "test"),
        redelivered: Default::default(),
        recreate: false,
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(consume::run(consumer, Arc::new(Swallow), stop.clone()));
    world.settled().await;
    stop.cancel();
    running.await.expect("it ends");
}
