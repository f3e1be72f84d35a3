//! Every setting of the gateway: a flag and an environment variable each. `gw <command> --help` is the reference.

use std::{collections::HashMap, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, builder::FalseyValueParser};
use schemas::secret::Secret;

mod commands;
mod dev_env;
mod endpoint;
pub(crate) mod parse;
mod providers;
mod work;

pub(crate) use commands::{
    ApiArgs, AuditArgs, DeliveriesArgs, DoctorArgs, LedgerAction, LedgerArgs, LinkAction, LinkArgs, MigrateArgs,
    RoutesAction, RoutesArgs, SchemaArgs, SchemaOf, SendArgs, StatusArgs, TailArgs, TopologyAction, TopologyArgs,
    TraceArgs,
};
pub(crate) use dev_env::DevEnv;
pub(crate) use endpoint::{EndpointAction, EndpointArgs, EndpointWishes, KeyAction, KeyArgs, Pauses};
pub(crate) use parse::duration;
use parse::{replicas, secret, sizes};
pub(crate) use providers::{ProviderArgs, secret_variable};
pub(crate) use work::{ChosenArgs, DlqAction, DlqArgs, RangeArgs, ReplayAction, ReplayArgs, To, WhichArgs};

/// Whether the environment asks for no colours, <https://no-color.org>.
#[expect(clippy::disallowed_methods, reason = "settings are read in this file")]
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Where programs are looked for.
#[expect(clippy::disallowed_methods, reason = "settings are read in this file")]
pub(crate) fn search_path() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}

/// Whether a setting is there without a value, as files of settings leave it.
#[expect(clippy::disallowed_methods, reason = "settings are read in this file")]
pub(crate) fn is_blank(variable: &std::ffi::OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
}

/// How to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// For `gw serve`: one JSON object a line, or text for people; auto is text on a terminal.
    #[arg(long, env = "GW_LOG_FORMAT", value_enum, default_value = "auto", global = true)]
    pub(crate) log_format: LogFormat,
    /// What to log: a level, or directives as in `info,router=debug`. Without it `gw serve` logs from info on, other
    /// commands from warn on.
    #[arg(long, env = "RUST_LOG", value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Auto,
    Json,
    Pretty,
}

/// Where the gateway keeps its files.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataArgs {
    /// Folder of the embedded database and broker, and of `dev.env`.
    #[arg(long, env = "GW_DATA_DIR", default_value = "data", value_name = "DIR", global = true)]
    pub(crate) data_dir: PathBuf,
}

/// How to reach the broker.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerArgs {
    /// NATS servers, `nats://[user:password@]host:port`, several separated by commas.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL", value_parser = secret, global = true)]
    pub(crate) nats_url: Option<Secret>,
    /// A credentials file, in the place of user and password.
    #[arg(long, env = "NATS_CREDS", value_name = "FILE", global = true)]
    pub(crate) nats_creds: Option<PathBuf>,
}

/// What the streams keep.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Streams")]
pub(crate) struct StreamArgs {
    /// Copies of each stream: 1, or on a cluster 3 or 5.
    #[arg(long, env = "GW_REPLICAS", default_value_t = 1, value_parser = replicas, global = true)]
    pub(crate) replicas: u8,
    /// How long deliveries, events and outcomes are kept.
    #[arg(long, env = "GW_RETENTION", default_value = "7d", value_parser = duration, global = true)]
    pub(crate) retention: Duration,
    /// Largest size of streams, `GW_WEBHOOK=32GiB,GW_EVENT=32GiB`.
    #[arg(long, env = "GW_MAX_BYTES", value_name = "STREAM=SIZE,…", value_parser = sizes, global = true)]
    pub(crate) max_bytes: Option<HashMap<String, i64>>,
}

impl StreamArgs {
    pub(crate) fn settings(&self) -> nats::topology::Settings {
        nats::topology::Settings {
            replicas: self.replicas.into(),
            retention: self.retention,
            max_bytes: self.max_bytes.clone().unwrap_or_default(),
        }
    }
}

/// Where connections, links, endpoints, keys and the ledger are kept.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseArgs {
    /// `postgres://…` or `sqlite://…`; without it `gw.db` in the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub(crate) database_url: Option<Secret>,
}

/// A part of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Role {
    /// Takes webhooks in.
    Ingest,
    /// Resolves deliveries to events.
    Router,
    /// Pushes events to endpoints and serves readers; dead letters and replays.
    Deliver,
    /// Writes down what became of each delivery.
    Ledger,
    /// Keeps connections, links and API keys.
    Vault,
}

/// Who brings the streams into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopologyMode {
    /// This process makes and changes them; the default with its own broker.
    Apply,
    /// This process only checks; `gw topology apply` is the admin's. The default otherwise.
    Check,
}

/// How messages go to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublishMode {
    /// Measures at the start which of the two is faster, and from how many messages on.
    Auto,
    /// What waits becomes one atomic batch: best where the server syncs each write.
    Batch,
    /// Each message by itself, many in flight.
    Pipeline,
}

/// `gw serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Try it out: random secrets and keys kept in the data folder, a demo organisation with links, a guide.
    #[arg(long, env = "GW_DEV", value_parser = FalseyValueParser::new())]
    pub(crate) dev: bool,
    /// Run a part only; repeat it for several. Without it everything runs.
    #[arg(long = "role", env = "GW_ROLE", value_enum, value_delimiter = ',', value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Where webhooks come in.
    #[arg(
        long,
        env = "GW_PUBLIC_ADDR",
        default_value = "127.0.0.1:4108",
        value_name = "ADDR",
        help_heading = "Listeners"
    )]
    pub(crate) public_addr: SocketAddr,
    /// Where the API, health and metrics are.
    #[arg(
        long,
        env = "GW_API_ADDR",
        default_value = "127.0.0.1:4110",
        value_name = "ADDR",
        help_heading = "Listeners"
    )]
    pub(crate) api_addr: SocketAddr,
    /// Keys that may use the API, separated by commas.
    #[arg(long, env = "GW_API_KEYS", hide_env_values = true, value_delimiter = ',', value_name = "KEY,…", value_parser = secret, help_heading = "Listeners")]
    pub(crate) api_keys: Vec<Secret>,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// The nats-server to start when no NATS_URL is given; otherwise looked for in .tools and on PATH.
    #[arg(long, env = "GW_NATS_SERVER", value_name = "FILE", help_heading = "Broker")]
    pub(crate) nats_server: Option<PathBuf>,
    /// How messages go to the broker.
    #[arg(long, env = "GW_PUBLISH", value_enum, default_value = "auto", help_heading = "Broker")]
    pub(crate) publish: PublishMode,
    /// Who brings the streams into being.
    #[arg(long, env = "GW_TOPOLOGY", value_enum, help_heading = "Streams")]
    pub(crate) topology: Option<TopologyMode>,
    #[command(flatten)]
    pub(crate) streams: StreamArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) providers: ProviderArgs,
    /// Bytes of webhook bodies held at once; beyond it 503.
    #[arg(long, env = "GW_MAX_INFLIGHT_BYTES", default_value = "256MiB", value_parser = parse::size, value_name = "SIZE", help_heading = "Limits")]
    pub(crate) max_inflight_bytes: i64,
    /// How long a body may take to arrive; beyond it 408.
    #[arg(long, env = "GW_BODY_TIMEOUT", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    pub(crate) body_timeout: Duration,
    /// How old a signed time of sending may be, where a provider signs one.
    #[arg(long, env = "GW_FRESHNESS", default_value = "8h", value_parser = duration, help_heading = "Limits")]
    pub(crate) freshness: Duration,
    /// How long requests and messages in hand may take to finish when the gateway stops.
    #[arg(long, env = "GW_STOP_TIMEOUT", default_value = "25s", value_parser = duration, help_heading = "Limits")]
    pub(crate) stop_timeout: Duration,
    /// The key that seals tokens. Only for the vault role.
    #[arg(long, env = "GW_ENCRYPTION_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret, help_heading = "Vault")]
    pub(crate) encryption_key: Option<Secret>,
    /// Networks and hosts that endpoints may be at beside public addresses: `10.0.0.0/8,http://hooks.internal`. Those
    /// with `http://` may be called without TLS.
    #[arg(
        long,
        env = "GW_ENDPOINT_ALLOW",
        value_delimiter = ',',
        value_name = "[http://]CIDR|HOST,…",
        help_heading = "Endpoints"
    )]
    pub(crate) endpoint_allow: Vec<String>,
    /// The key that seals endpoints' secrets, 64 hex digits, then optionally a comma and the previous one; without it
    /// one is made and kept in the data folder.
    #[arg(long, env = "GW_ENDPOINT_KEY", hide_env_values = true, value_delimiter = ',', value_name = "KEY", value_parser = secret, help_heading = "Endpoints")]
    pub(crate) endpoint_key: Vec<Secret>,
    /// How long rows of the ledger are kept before they become totals.
    #[arg(long, env = "GW_LEDGER_RETENTION", default_value = "30d", value_parser = duration, help_heading = "Database")]
    pub(crate) ledger_retention: Duration,
    /// Where traces go (OTLP over HTTP); off without it.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", help_heading = "Traces")]
    pub(crate) otlp_endpoint: Option<String>,
    /// The service's name in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "gangway", value_name = "NAME", help_heading = "Traces")]
    pub(crate) otel_service_name: String,
}

impl ServeArgs {
    pub(crate) fn runs(&self, role: Role) -> bool {
        self.roles.is_empty() || self.roles.contains(&role)
    }

    /// Whether a role runs here whose data is in the database. Keys that were made are there, too.
    pub(crate) fn needs_database(&self) -> bool {
        [Role::Deliver, Role::Ledger, Role::Vault].into_iter().any(|role| self.runs(role))
    }
}

/// One provider's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderSettings {
    /// Current secret, and the previous one.
    pub(crate) secrets: Vec<Secret>,
    /// Webhooks a second.
    pub(crate) rate_limit: Option<NonZeroU32>,
}
