//! Every setting of the gateway: a flag and an environment variable each. `gw <command> --help` is the reference.

use std::{collections::HashMap, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use schemas::secret::Secret;

mod dev_env;
pub(crate) mod parse;
mod providers;

pub(crate) use dev_env::DevEnv;
pub(crate) use parse::duration;
use parse::{secret, sizes};
pub(crate) use providers::{ProviderArgs, secret_variable};

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

/// How to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// One JSON object a line, or text for people; auto is text on a terminal.
    #[arg(long, env = "GW_LOG_FORMAT", value_enum, default_value = "auto", global = true)]
    pub(crate) log_format: LogFormat,
    /// What to log: a level, or directives as in `info,router=debug`.
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    pub(crate) log_level: String,
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
    #[arg(long, env = "GW_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

/// How to reach the broker.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerArgs {
    /// NATS servers, `nats://[user:password@]host:port`, several separated by commas.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub(crate) nats_url: Option<Secret>,
    /// A credentials file, in the place of user and password.
    #[arg(long, env = "NATS_CREDS", value_name = "FILE")]
    pub(crate) nats_creds: Option<PathBuf>,
}

/// What the streams keep.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Streams")]
pub(crate) struct StreamArgs {
    /// Copies of each stream: 1, or 3 on a cluster.
    #[arg(long, env = "GW_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) replicas: u8,
    /// How long deliveries, events and outcomes are kept.
    #[arg(long, env = "GW_RETENTION", default_value = "7d", value_parser = duration)]
    pub(crate) retention: Duration,
    /// Largest size of streams, `GW_WEBHOOK=32GiB,GW_EVENT=32GiB`.
    #[arg(long, env = "GW_MAX_BYTES", value_name = "STREAM=SIZE,…", value_parser = sizes)]
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

/// Where connections and links are kept.
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
    /// Keeps connections and links.
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
    /// Measures at the start which of the two is faster.
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
    #[arg(long, env = "GW_DEV")]
    pub(crate) dev: bool,
    /// Run a part only; repeat it for several. Without it everything runs.
    #[arg(long = "role", env = "GW_ROLE", value_enum, value_delimiter = ',', value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Where webhooks come in.
    #[arg(long, env = "GW_PUBLIC_ADDR", default_value = "127.0.0.1:4108", value_name = "ADDR", help_heading = "Listeners")]
    pub(crate) public_addr: SocketAddr,
    /// Where the API, health and metrics are.
    #[arg(long, env = "GW_API_ADDR", default_value = "127.0.0.1:4110", value_name = "ADDR", help_heading = "Listeners")]
    pub(crate) api_addr: SocketAddr,
    /// Keys that may use the API, separated by commas.
    #[arg(long, env = "GW_API_KEYS", hide_env_values = true, value_delimiter = ',', value_name = "KEY,…", value_parser = secret, help_heading = "Listeners")]
    pub(crate) api_keys: Vec<Secret>,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// The nats-server to start when no NATS_URL is given; otherwise looked for on PATH and in .tools.
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
}

/// How commands reach a running gateway. `dev.env` in the data folder answers what is not given.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct ApiArgs {
    /// The API listener, `http://127.0.0.1:4110`.
    #[arg(long, env = "GW_API_URL", value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// A key of the API.
    #[arg(long, env = "GW_API_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
    pub(crate) api_key: Option<Secret>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// `gw send`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SendArgs {
    /// The provider to send as.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(schemas::provider::ALL.iter().map(|provider| provider.id)))]
    pub(crate) provider: String,
    /// The event type, `pull_request` or `Issue:create`; without it the provider's first sample, or what the file says.
    #[arg(long)]
    pub(crate) event: Option<String>,
    /// Which sample of the event; `--list` names them.
    #[arg(long, conflicts_with = "file")]
    pub(crate) sample: Option<String>,
    /// A payload to send as it is; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The delivery id, where a header carries it; without it a new one each time.
    #[arg(long, value_name = "ID")]
    pub(crate) delivery: Option<String>,
    /// How often to send.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: u32,
    /// Send the file's bytes even where a signed time in them has passed.
    #[arg(long, requires = "file")]
    pub(crate) exact: bool,
    /// List the samples.
    #[arg(long)]
    pub(crate) list: bool,
    /// The public listener, `http://127.0.0.1:4108`.
    #[arg(long, env = "GW_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// The secret to sign with; without it the setting of `gw serve`.
    #[arg(long, env = "GW_SEND_SECRET", hide_env_values = true, value_parser = secret)]
    pub(crate) secret: Option<Secret>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) providers: ProviderArgs,
}

/// `gw tail`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TailArgs {
    /// One organisation only.
    #[arg(long)]
    pub(crate) org: Option<String>,
    /// One provider only.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Begin with events stored since then: `15m`, `2h`, or an RFC 3339 time.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Also backfilled and replayed events.
    #[arg(long)]
    pub(crate) history: bool,
    /// Whole events as JSON, one a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Stop after so many events.
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// `gw status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Over how long rates are measured.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// `gw doctor`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// `gw migrate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

/// `gw topology`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TopologyArgs {
    #[command(subcommand)]
    pub(crate) action: TopologyAction,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) streams: StreamArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TopologyAction {
    /// Make and change streams, buckets and consumers until they are as wanted.
    Apply {
        /// Also where a stream would keep less than it does.
        #[arg(long)]
        force: bool,
    },
    /// What is wanted, as JSON.
    Show,
    /// What `apply` would do; exit code 1 if anything.
    Diff,
}

/// `gw link`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinkArgs {
    #[command(subcommand)]
    pub(crate) action: LinkAction,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LinkAction {
    /// Link a resource or a whole account; the connection is adopted if it is new.
    Add {
        /// The organisation that wants the events.
        #[arg(long)]
        org: String,
        /// The provider.
        #[arg(long)]
        provider: String,
        /// The account at the provider: installation, team, user or organization id.
        #[arg(long)]
        account: String,
        /// What is linked: `repository`, `project`, `team`, `installation`, `organization`; without it the
        /// provider's resource, or the account where no resource is given.
        #[arg(long)]
        kind: Option<String>,
        /// The id of the resource; without it the whole account is linked.
        #[arg(long)]
        resource: Option<String>,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// The workspace the link is for.
        #[arg(long)]
        workspace: Option<String>,
        /// Which events: `github:pull-request.opened`, `pull_request`, `*`; repeat or separate by commas.
        #[arg(long, value_delimiter = ',')]
        events: Option<Vec<String>>,
    },
    /// The links of an organisation, or all.
    List {
        /// One organisation only.
        #[arg(long)]
        org: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a link by its id.
    Remove {
        /// The id, `lnk_…`.
        id: String,
    },
}

/// `gw routes`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoutesArgs {
    #[command(subcommand)]
    pub(crate) action: RoutesAction,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RoutesAction {
    /// Make the broker's routes anew from the database.
    Rebuild,
}

/// One provider's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderSettings {
    /// Current secret, and the previous one.
    pub(crate) secrets: Vec<Secret>,
    /// Webhooks a second.
    pub(crate) rate_limit: Option<NonZeroU32>,
}
