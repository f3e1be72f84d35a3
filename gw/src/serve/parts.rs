//! The services that run here, made from the settings.

use std::time::{SystemTime, UNIX_EPOCH};

use nats::{Broker, Config, Mode, Publisher, topology};
use prometheus_client::registry::Registry;
use schemas::ambient::{Clock, Random};
use store::Db;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{PublishMode, Role, ServeArgs},
    database,
    error::Error,
    health::{Health, Metrics},
    lifecycle::Tasks,
    seal,
};

/// What runs, and what health looks at.
pub(super) struct Parts {
    pub(super) ingest: Option<ingest::Ingest>,
    pub(super) deliver: Option<deliver::Deliver>,
    pub(super) ledger: Option<ledger::Ledger>,
    pub(super) vault: Option<vault::Vault>,
    router: Option<router::Router>,
    db: Option<Db>,
    broker: Broker,
    replays: Option<Broker>,
    registry: Option<Registry>,
    clock: Clock,
    begun: Instant,
    instance: String,
}

impl Parts {
    /// Starts the services of the roles that run here.
    pub(super) async fn start(
        args: &ServeArgs,
        broker: &Broker,
        config: &Config,
        applies: bool,
        work: &mut Tasks,
    ) -> Result<Self, Error> {
        let (clock, random) = (system_clock(), Random::new(rand::random));
        let instance = random.id("gw-");
        let mode = publish_mode(args, broker, &instance).await;
        let mut registry = Registry::default();
        let mut parts = Self {
            ingest: None,
            deliver: None,
            ledger: None,
            vault: None,
            router: None,
            db: None,
            broker: broker.clone(),
            replays: None,
            registry: None,
            clock: clock.clone(),
            begun: Instant::now(),
            instance,
        };
        if args.runs(Role::Ingest) {
            let publisher = publisher(broker, mode, work);
            let deps = ingest::Deps { publisher, broker: Some(broker.clone()), clock: clock.clone() };
            parts.ingest = Some(ingest::Ingest::new(&ingest_config(args), deps, &mut registry));
        }
        if args.runs(Role::Router) {
            let deps = router::Deps {
                broker: broker.clone(),
                events: publisher(broker, mode, work),
                parked: publisher(broker, mode, work),
                outcomes: publisher(broker, mode, work),
                dead: publisher(broker, mode, work),
                clock: clock.clone(),
                recreate_consumers: applies,
            };
            let router = router::Router::new(deps, &mut registry);
            let (running, stop) = (router.clone(), work.stop());
            work.spawn("the router", async move { Box::pin(running.run(stop)).await });
            parts.router = Some(router);
        }
        if args.runs(Role::Deliver) {
            // What a replay stores has a connection of its own: live requests do not wait behind it, and it is read and
            // written side by side.
            let name = format!("{}-replays", config.name);
            let replays = Broker::connect(&Config { name, ..config.clone() }).await?;
            let deps = deliver::Deps {
                db: parts.database(args).await?,
                broker: broker.clone(),
                attempts: publisher(broker, mode, work),
                timers: publisher(broker, mode, work),
                dead: publisher(broker, mode, work),
                commands: publisher(broker, mode, work),
                copies: deliver::Copies { publisher: publisher(&replays, mode, work), broker: replays.clone() },
                clock: clock.clone(),
                random: random.clone(),
                sealer: seal::sealer(args, &random)?,
                reach: deliver::push::Reach::parse(&args.endpoint_allow, args.dev)?,
                recreate_consumers: applies,
            };
            let deliver = deliver::Deliver::new(deps, &mut registry).map_err(Error::HttpClient)?;
            let (running, stop) = (deliver.clone(), work.stop());
            work.spawn("deliveries", async move { Box::pin(running.run(stop)).await });
            (parts.deliver, parts.replays) = (Some(deliver), Some(replays));
        }
        if args.runs(Role::Ledger) {
            parts.start_ledger(args, random.clone(), &mut registry, work).await?;
        }
        if args.runs(Role::Vault) {
            let db = parts.database(args).await?;
            let events = publisher(broker, Mode::Pipeline, work);
            let vault = vault::Vault::new(vault::Deps { db, broker: broker.clone(), events, clock, random });
            work.spawn("the vault", vault::run(vault.clone(), work.stop()));
            parts.vault = Some(vault);
        }
        parts.registry = Some(registry);
        Ok(parts)
    }

    /// The ledger only reads the broker.
    async fn start_ledger(
        &mut self,
        args: &ServeArgs,
        random: Random,
        registry: &mut Registry,
        work: &mut Tasks,
    ) -> Result<(), Error> {
        let (db, broker, clock) = (self.database(args).await?, self.broker.clone(), self.clock.clone());
        let deps = ledger::Deps { db, broker, clock, random, retention: args.ledger_retention };
        let ledger = ledger::Ledger::new(deps, registry);
        let (running, stop) = (ledger.clone(), work.stop());
        work.spawn("the ledger", async move { Box::pin(running.run(stop)).await });
        self.ledger = Some(ledger);
        Ok(())
    }

    /// The database, opened once and migrated; the services here share one writer.
    async fn database(&mut self, args: &ServeArgs) -> Result<Db, Error> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        let pool = database::open(&args.database, &args.data).await?;
        store::migrate(&pool).await.map_err(Error::Migrate)?;
        let db = Db::new(pool);
        self.db = Some(db.clone());
        Ok(db)
    }

    /// Lets go of all but the connections beside the main one, which are closed when the work is done.
    pub(super) fn into_connections(self) -> impl Iterator<Item = Broker> {
        self.replays.into_iter()
    }

    /// The database, if one is open, and the time: keys are looked up in it.
    pub(super) fn database_and_clock(&self) -> Option<(Db, Clock)> {
        self.db.clone().map(|db| (db, self.clock.clone()))
    }

    /// What health looks at; asked once.
    pub(super) fn health(&mut self, check: Option<topology::Settings>, stop: CancellationToken) -> Health {
        Health {
            begun: self.begun,
            instance: self.instance.clone(),
            broker: self.broker.clone(),
            router: self.router.clone(),
            db: self.db.as_ref().map(|db| db.pool.clone()),
            check,
            stop,
            clock: self.clock.clone(),
            metrics: Metrics::new(self.registry.take().unwrap_or_default()),
        }
    }
}

/// How messages go to the broker: measured, unless the settings say it or nothing that runs here stores many.
async fn publish_mode(args: &ServeArgs, broker: &Broker, instance: &str) -> Mode {
    let storing = || [Role::Ingest, Role::Router, Role::Deliver].into_iter().any(|role| args.runs(role));
    match args.publish {
        PublishMode::Auto if storing() => Mode::measure(broker, instance).await,
        PublishMode::Auto | PublishMode::Pipeline => Mode::Pipeline,
        PublishMode::Batch => Mode::Batch { single: 0 },
    }
}

/// A publisher to one stream, and its task.
fn publisher(broker: &Broker, mode: Mode, work: &mut Tasks) -> Publisher {
    let (publisher, group) = Publisher::new(broker, mode);
    work.spawn("a publisher", group);
    publisher
}

fn ingest_config(args: &ServeArgs) -> ingest::Config {
    ingest::Config {
        providers: args.providers.configured(),
        max_inflight_bytes: usize::try_from(args.max_inflight_bytes).unwrap_or(usize::MAX),
        body_timeout: args.body_timeout,
        freshness: args.freshness,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
