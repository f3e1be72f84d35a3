//! Posts under load from many tasks, remembers what was acknowledged, and afterwards compares it with what is
//! stored, what became an event, and what is parked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nats::topology;
use schemas::header;
use tests::{Link, Webhook, World};
use tokio::{sync::watch, task::JoinSet};

/// The repository that `org_1` linked.
const ONE: u64 = 41;
/// The repository that both organisations linked.
const BOTH: u64 = 42;
/// The repository that nobody linked.
const NOBODY: u64 = 43;
/// How often a sender tries a webhook, as a provider would.
const TRIES: usize = 3;
/// What was in a killed process's hands is handed out again after the broker's `ack_wait`.
const SETTLED: Duration = Duration::from_secs(150);

/// The load, until it is stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    target: watch::Sender<String>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicUsize,
    /// Repository and whether it was answered 2xx, by delivery.
    sent: Mutex<BTreeMap<String, (u64, bool)>>,
    /// Answers that are neither 2xx nor a refusal that asks for another try.
    wrong: Mutex<Vec<String>>,
}

/// What was sent: repository and whether it was answered 2xx, by delivery.
pub(crate) struct Posted(BTreeMap<String, (u64, bool)>);

/// Links what the load is about.
pub(crate) async fn link(world: &mut World) {
    let (one, both) = (ONE.to_string(), BOTH.to_string());
    world.link(&Link::repository("org_1", &one)).await;
    world.link(&Link::repository("org_1", &both)).await;
    world.link(&Link::repository("org_2", &both)).await;
}

impl Load {
    /// Starts so many senders.
    pub(crate) fn start(world: &mut World, senders: u64) -> Self {
        let (target, seen) = watch::channel(address(world));
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for sender in 0..senders {
            tasks.spawn(send(sender, shared.clone(), seen.clone()));
        }
        Self { shared, target, tasks }
    }

    /// The gateway listens elsewhere from now on.
    pub(crate) fn follow(&self, world: &mut World) {
        self.target.send_replace(address(world));
    }

    /// Waits until so many more are acknowledged.
    pub(crate) async fn accepted(&self, more: usize) {
        let (from, begun) = (self.shared.accepted.load(Ordering::Relaxed), Instant::now());
        while self.shared.accepted.load(Ordering::Relaxed) < from + more {
            assert!(begun.elapsed() < Duration::from_secs(60), "{more} more were not accepted in a minute");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the senders and gives what they sent.
    pub(crate) async fn stop(mut self) -> Posted {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a sender does not panic");
        }
        let wrong = std::mem::take(&mut *self.shared.wrong.lock().expect("no sender panicked"));
        assert!(wrong.is_empty(), "{} wrong answers, the first: {}", wrong.len(), wrong[0]);
        Posted(std::mem::take(&mut *self.shared.sent.lock().expect("no sender panicked")))
    }
}

fn address(world: &mut World) -> String {
    world.gateway().public.clone().expect("a public listener")
}

async fn send(sender: u64, shared: Arc<Shared>, target: watch::Receiver<String>) {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let repository = [ONE, BOTH, NOBODY][(number % 3) as usize];
        // One account a sender, so that there are several lanes.
        let webhook = Webhook::push_numbered(repository, 1000 + sender, number);
        shared.sent.lock().expect("no sender panicked").insert(webhook.delivery(), (repository, false));
        for _ in 0..TRIES {
            let url = format!("{}/webhooks/github", *target.borrow());
            let mut request = http.post(url).body(webhook.body.clone());
            for (name, value) in &webhook.headers {
                request = request.header(name, value);
            }
            match request.send().await.map(|response| response.status().as_u16()) {
                Ok(200) => {
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    shared.sent.lock().expect("no sender panicked").insert(webhook.delivery(), (repository, true));
                    break;
                }
                Ok(503) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(status) => shared
                    .wrong
                    .lock()
                    .expect("no sender panicked")
                    .push(format!("{status} for {}", webhook.delivery())),
            }
        }
    }
}

impl Posted {
    /// Acknowledged is stored, stored is stored once, and what is stored became exactly the events it should, or is
    /// parked once.
    pub(crate) async fn check(&self, world: &mut World) {
        settled(world).await;
        let stored = deliveries(world, topology::GW_WEBHOOK, "gw.webhook.>").await;
        for (delivery, count) in &stored {
            assert_eq!(*count, 1, "{delivery} is stored {count} times");
            assert!(self.0.contains_key(delivery), "{delivery} was never sent");
        }
        let lost: Vec<_> =
            self.0.iter().filter(|(delivery, (_, accepted))| *accepted && !stored.contains_key(*delivery)).collect();
        assert!(lost.is_empty(), "{} acknowledged and not stored: {:?}", lost.len(), lost[0]);
        let parked = deliveries(world, topology::GW_PARKED, "gw.parked.>").await;
        let events = events(world).await;
        for delivery in stored.keys() {
            let (repository, _) = self.0[delivery];
            let expected: &[&str] = match repository {
                ONE => &["org_1"],
                BOTH => &["org_1", "org_2"],
                _ => &[],
            };
            let got: Vec<&str> = events.get(delivery).into_iter().flatten().map(String::as_str).collect();
            assert_eq!(got, expected, "the events of {delivery} of repository {repository}");
            let times = parked.get(delivery).copied().unwrap_or_default();
            assert_eq!(times, usize::from(expected.is_empty()), "{delivery} of repository {repository} is parked");
        }
        let unfounded: BTreeSet<_> =
            events.keys().chain(parked.keys()).filter(|delivery| !stored.contains_key(*delivery)).collect();
        assert!(unfounded.is_empty(), "events or parked deliveries without a stored delivery: {unfounded:?}");
        assert!(world.messages(topology::GW_DLQ, "gw.dlq.>").await.is_empty(), "dead letters");
        assert!(self.0.len() > 100, "the load was none: {}", self.0.len());
    }
}

/// Waits until the router holds nothing and nothing waits for it.
pub(crate) async fn settled(world: &mut World) {
    let begun = Instant::now();
    loop {
        let broker = world.broker().await;
        let info = topology::consumer_info(&broker, topology::GW_WEBHOOK, topology::ROUTER).await;
        if info.as_ref().is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0) {
            return;
        }
        assert!(begun.elapsed() < SETTLED, "the router did not catch up in {SETTLED:?}: {info:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn deliveries(world: &mut World, stream: &str, filter: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in world.messages(stream, filter).await {
        *counts.entry(message.header(header::DELIVERY).expect("a delivery id").to_owned()).or_default() += 1;
    }
    counts
}

/// The organisations that got an event, sorted, by delivery; one that got two stands there twice.
async fn events(world: &mut World) -> BTreeMap<String, Vec<String>> {
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in world.messages(topology::GW_EVENT, "gw.event.>").await {
        let text = |name| message.header(name).expect("a header").to_owned();
        events.entry(text(header::DELIVERY)).or_default().push(text(header::ORG));
    }
    events.values_mut().for_each(|orgs| orgs.sort());
    events
}
