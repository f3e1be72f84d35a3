//! `gw serve`: starts the parts in order, and stops them in the reverse.

use std::{fs, process::ExitCode};

use axum::middleware;
use nats::{Broker, topology};
use schemas::ambient::Random;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    auth, broker,
    child::{self, Server},
    config::{self, LogArgs, Role, ServeArgs, TopologyMode},
    dev::{self, Dev},
    error::Error,
    health,
    lifecycle::{Signals, Tasks},
    listener::Listener,
    openapi, request, telemetry,
};

mod parts;

use parts::Parts;

/// How the gateway came to its end.
enum End {
    /// Everything in hand was finished.
    Graceful,
    /// A second signal.
    AtOnce,
}

/// Runs until a signal, or until a part ends early.
pub(crate) async fn run(mut args: ServeArgs, log: LogArgs) -> Result<ExitCode, Error> {
    let _telemetry = telemetry::for_service(&log, args.otlp_endpoint.as_deref(), &args.otel_service_name)?;
    check(&args)?;
    let mut signals = Signals::install().map_err(Error::Signals)?;
    let own_server = args.broker.nats_url.is_none();
    let _lock = if own_server { Some(lock(&args)?) } else { None };
    let dev = if args.dev { Some(dev::prepare(&mut args)?) } else { None };
    let listeners = Listeners::bind(&args).await?;
    if !own_server {
        let url = args.broker.nats_url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default();
        return Ok(code(&gateway(&args, listeners, url, None, dev, &mut signals).await?));
    }
    let binary = child::find_binary(args.nats_server.as_deref(), config::search_path().as_deref())?;
    let server = Server::start(binary, &args.data.data_dir).await?;
    let (url, name) = (server.url(), server.name().to_owned());
    let watched = CancellationToken::new();
    let watch = tokio::spawn(server.watch(watched.clone()));
    let end = gateway(&args, listeners, url, Some(name), dev, &mut signals).await;
    watched.cancel();
    match (watch.await, &end) {
        (Ok(server), Ok(End::AtOnce)) => server.abandon(),
        (Ok(server), _) => server.stop().await,
        (Err(error), _) => error!(%error, "nats.watch"),
    }
    Ok(code(&end?))
}

fn code(end: &End) -> ExitCode {
    match end {
        End::Graceful => ExitCode::SUCCESS,
        End::AtOnce => ExitCode::from(130),
    }
}

/// What can be said to be wrong before anything is started.
fn check(args: &ServeArgs) -> Result<(), Error> {
    if args.encryption_key.is_some() && !args.runs(Role::Vault) {
        return Err(Error::KeyWithoutVault);
    }
    if args.dev {
        return Ok(());
    }
    if args.needs_database() && !args.api_keys.iter().any(|key| !key.expose().is_empty()) {
        warn!("no key is set: the API takes only keys that were made before; set GW_API_KEYS to make one");
    }
    if args.runs(Role::Ingest) && args.providers.configured().is_empty() {
        warn!(
            "no provider has a secret and every webhook is refused: set GW_GITHUB_WEBHOOK_SECRET or another provider's"
        );
    }
    Ok(())
}

/// One gateway a data folder: two would fight over its server.
fn lock(args: &ServeArgs) -> Result<fs::File, Error> {
    let path = args.data.data_dir.clone();
    let data_dir = |source| Error::DataDir { path: path.clone(), source };
    fs::create_dir_all(&path).map_err(data_dir)?;
    let file =
        fs::File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(data_dir)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::DataDirTaken { path }),
        Err(fs::TryLockError::Error(source)) => Err(data_dir(source)),
    }
}

/// Bound before anything is started, so that a taken port is said at once.
struct Listeners {
    public: Option<Listener>,
    api: Listener,
}

impl Listeners {
    async fn bind(args: &ServeArgs) -> Result<Self, Error> {
        let public = match args.runs(Role::Ingest) {
            true => Some(Listener::bind(args.public_addr, "GW_PUBLIC_ADDR").await?),
            false => None,
        };
        Ok(Self { public, api: Listener::bind(args.api_addr, "GW_API_ADDR").await? })
    }
}

/// Connects, to our own server where it has a name, serves, and stops: intake first, then what is in hand, then the
/// connections.
async fn gateway(
    args: &ServeArgs,
    listeners: Listeners,
    url: String,
    server: Option<String>,
    dev: Option<Dev>,
    signals: &mut Signals,
) -> Result<End, Error> {
    let mut intake = Tasks::new();
    let mut work = Tasks::new();
    let own_server = server.is_some();
    let config = nats::Config { wait: true, server, ..broker::config(&args.broker, url.clone(), "gangway") };
    let starting = async {
        let broker = Broker::connect(&config).await?;
        let checked = bring_topology(args, &broker, own_server).await?;
        let parts = Parts::start(args, &broker, &config, checked.is_none(), &mut work).await?;
        Ok::<_, Error>((broker, checked, parts))
    };
    let (broker, checked, mut parts) = tokio::select! {
        started = starting => started?,
        () = signals.next() => {
            info!("gateway.stopping: it had not yet started");
            return Ok(End::Graceful);
        }
    };
    let addresses = (listeners.public.as_ref().and_then(Listener::address), listeners.api.address());
    listen(args, listeners, &mut parts, checked, &mut intake, &mut work);
    let shown = |address: Option<std::net::SocketAddr>| address.map(tracing::field::display);
    info!(public = shown(addresses.0), api = shown(addresses.1), "gateway.ready");
    if let Some(dev) = dev {
        work.spawn("dev", dev.welcome(addresses, url, work.stop()));
    }
    let end = tokio::select! {
        () = signals.next() => None,
        early = intake.ended_early() => Some(early),
        early = work.ended_early() => Some(early),
    };
    info!("gateway.stopping: a second signal stops at once");
    let deadline = Instant::now() + args.stop_timeout;
    let graceful = async {
        intake.finish(deadline).await;
        let connections = parts.into_connections().chain([broker]);
        work.finish(deadline).await;
        for connection in connections {
            connection.close().await;
        }
    };
    let how = tokio::select! {
        () = graceful => End::Graceful,
        () = signals.next() => End::AtOnce,
    };
    end.map_or(Ok(how), Err)
}

/// Makes the streams, or finds out whether they are there. Gives what is to be checked later on.
async fn bring_topology(
    args: &ServeArgs,
    broker: &Broker,
    own_server: bool,
) -> Result<Option<topology::Settings>, Error> {
    let settings = args.streams.settings();
    let mode = args.topology.unwrap_or(if own_server { TopologyMode::Apply } else { TopologyMode::Check });
    match mode {
        TopologyMode::Apply => {
            topology::apply(broker, &settings, false).await?;
            Ok(None)
        }
        TopologyMode::Check => {
            let plans = topology::diff(broker, &settings).await?;
            for plan in plans.iter().filter(|plan| !plan.is_empty()) {
                warn!(%plan, "topology.differs: `gw topology apply` mends it");
            }
            Ok(Some(settings))
        }
    }
}

/// Puts the routes on the two listeners.
fn listen(
    args: &ServeArgs,
    listeners: Listeners,
    parts: &mut Parts,
    checked: Option<topology::Settings>,
    intake: &mut Tasks,
    work: &mut Tasks,
) {
    let random = Random::new(rand::random);
    let keys = auth::Keys::new(&args.api_keys, parts.database_and_clock());
    let mut api = OpenApiRouter::new();
    if let Some(ingest) = &parts.ingest {
        api = api.merge(ingest.api());
    }
    if let Some(deliver) = &parts.deliver {
        api = api.merge(deliver::api(deliver));
    }
    if let Some(ledger) = &parts.ledger {
        api = api.merge(ledger::api(ledger));
    }
    if let Some(vault) = &parts.vault {
        api = api.merge(vault::api(vault.clone()));
    }
    let health = health::routes(parts.health(checked, intake.stop()));
    // What health says needs no key.
    let (api, description) =
        api.layer(middleware::from_fn_with_state(keys, auth::check)).merge(health).split_for_parts();
    let api = request::wrap(api.merge(openapi::route(description)), "api", &random);
    // It stays up until the work is done, so that a stop can be watched.
    work.spawn("the API listener", listeners.api.serve(api, work.stop()));
    if let (Some(ingest), Some(public)) = (&parts.ingest, listeners.public) {
        let routes = request::wrap(ingest.public(), "public", &random);
        intake.spawn("the public listener", public.serve(routes, intake.stop()));
    }
}
