//! From the post to the subscriber or receiver, at a fixed rate. Open loop: a webhook counts from when it was due, so that a slow
//! answer cannot hide by delaying the next post.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use clap::Args;
use nats::{Reader, Start, topology::GW_EVENT};
use schemas::{header::DELIVERY, subject};
use serde_json::{Value, json};
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    task::JoinSet,
    time::Instant,
};

use crate::{
    broker::NatsArgs,
    error::Error,
    http::Connection,
    latency::Latencies,
    receive::Receivers,
    sample::{Sample, id, number_of},
    usage::Window,
};

/// How long the last events may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// `gw-bench e2e`.
#[derive(Debug, Args)]
pub(crate) struct E2eArgs {
    #[command(flatten)]
    nats: NatsArgs,
    /// Where the edge listens.
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    secret: String,
    #[command(flatten)]
    load: LoadArgs,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Accounts that the webhooks are of; `routes` links them. The router handles those of one account in order.
    #[arg(long, default_value_t = 64)]
    accounts: usize,
    /// Take the events as pushes, on so many ports that are printed first, and begin when a line comes on standard
    /// input. Without it they are read from the stream.
    #[arg(long)]
    receivers: Option<usize>,
    /// Pushes that each webhook leads to.
    #[arg(long, default_value_t = 1)]
    fan_out: usize,
}

/// How much, for how long, and who is watched meanwhile.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// Webhooks a second.
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u32,
    #[arg(long)]
    seconds: f64,
    /// Seconds before it that do not count.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Processes whose use of the processors is told, `name=pid`.
    #[arg(long)]
    watch: Vec<String>,
}

impl LoadArgs {
    /// The use of the processors while webhooks count.
    pub(crate) fn watched(&self, who: &'static str) -> impl Future<Output = Value> + use<> {
        Window::after(self.warmup, self.seconds).watch(self.watch.clone(), who)
    }
}

/// Where the events come out.
enum Outlet {
    Stream(Box<Reader>),
    Receivers(Receivers),
}

impl Outlet {
    async fn open(args: &E2eArgs) -> Result<Self, Error> {
        let Some(count) = args.receivers else {
            let broker = args.nats.broker().await?;
            let reader = Reader::open(&broker, GW_EVENT, &[subject::EVENTS.to_owned()], Start::New, false).await?;
            return Ok(Self::Stream(Box::new(reader)));
        };
        let receivers = Receivers::open(count).await?;
        receivers.announce()?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
        Ok(Self::Receivers(receivers))
    }

    /// The delivery of the next event; none where none came in time.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        match self {
            Self::Stream(reader) => {
                let message = reader.next_within(PATIENCE).await?;
                Ok(message.map(|message| message.header(DELIVERY).unwrap_or_default().to_owned()))
            }
            Self::Receivers(receivers) => {
                let push = tokio::time::timeout(PATIENCE, receivers.pushes.recv()).await.ok().flatten();
                Ok(push.map(|push| push.delivery))
            }
        }
    }
}

/// When each webhook is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    begin: Instant,
    every: Duration,
    pub(crate) count: usize,
    /// Of these, how many come first and do not count.
    pub(crate) warmup: usize,
}

impl Schedule {
    /// Begins now.
    pub(crate) fn new(load: &LoadArgs) -> Self {
        let rate = f64::from(load.rate);
        Self {
            begin: Instant::now(),
            every: Duration::from_secs_f64(1.0 / rate),
            count: ((load.warmup + load.seconds) * rate) as usize,
            warmup: (load.warmup * rate) as usize,
        }
    }

    pub(crate) fn due(&self, number: usize) -> Instant {
        self.begin + self.every * number as u32
    }
}

pub(crate) async fn run(args: E2eArgs) -> Result<Value, Error> {
    let mut outlet = Outlet::open(&args).await?;
    let mut connections = Vec::with_capacity(args.connections);
    for number in 0..args.connections {
        let sample = Sample::push(number % args.accounts.max(1))?;
        connections.push(Connection::open(args.to, &sample, &args.secret).await?);
    }
    let run = rand::random();
    let watched = tokio::spawn(args.load.watched("e2e"));
    let schedule = Schedule::new(&args.load);
    let (sender, turns) = mpsc::unbounded_channel();
    let turns = Arc::new(Mutex::new(turns));
    let mut posters = JoinSet::new();
    for connection in connections {
        posters.spawn(post(connection, run, schedule, turns.clone()));
    }
    let pace = thread::spawn(move || pace(schedule, &sender));
    let mut latencies = Latencies::default();
    let mut received = 0;
    while received < schedule.count * args.fan_out {
        let Some(delivery) = outlet.next().await? else { break };
        let Some(number) = number_of(run, &delivery) else { continue };
        received += 1;
        if number >= schedule.warmup {
            latencies.add(schedule.due(number).elapsed());
        }
    }
    let mut answers = Latencies::default();
    while let Some(answered) = posters.join_next().await {
        answers.extend(&answered??);
    }
    let _ended = pace.join().is_ok();
    Ok(json!({
        "rate": args.load.rate,
        "posted": schedule.count,
        "expected": schedule.count * args.fan_out,
        "received": received,
        "latency": latencies.summary(),
        "answer_latency": answers.summary(),
        "cores": watched.await?,
    }))
}

/// Calls out each webhook when it is due. A thread of its own: the runtime's timer counts in milliseconds, and a loop
/// that looked at the clock would take the processor from what is measured.
pub(crate) fn pace(schedule: Schedule, turns: &UnboundedSender<usize>) {
    for number in 0..schedule.count {
        thread::sleep(schedule.due(number).saturating_duration_since(Instant::now()));
        if turns.send(number).is_err() {
            return;
        }
    }
}

/// Posts the next webhook that is due, whenever the connection is free.
async fn post(
    mut connection: Connection,
    run: u32,
    schedule: Schedule,
    turns: Arc<Mutex<UnboundedReceiver<usize>>>,
) -> Result<Latencies, Error> {
    let mut latencies = Latencies::default();
    loop {
        let turn = turns.lock().await.recv().await;
        let Some(number) = turn else { return Ok(latencies) };
        if let Some(refusal) = connection.post(&id(run, 0, number as u64)).await? {
            return Err(Error::Wrong(format!("refused: {refusal}")));
        }
        if number >= schedule.warmup {
            latencies.add(schedule.due(number).elapsed());
        }
    }
}
