//! What the commands beside `gw serve` take.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use schemas::secret::Secret;

use super::{
    BrokerArgs, DataArgs, DatabaseArgs, ProviderArgs, ServeArgs, StreamArgs, duration,
    parse::{provider, secret},
};

/// How commands reach a running gateway. `dev.env` in the data folder answers what is not given.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct ApiArgs {
    /// The API listener, `http://127.0.0.1:4110`.
    #[arg(long, env = "GW_API_URL", value_name = "URL", global = true)]
    pub(crate) api_url: Option<String>,
    /// A key of the API.
    #[arg(long, env = "GW_API_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret, global = true)]
    pub(crate) api_key: Option<Secret>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// `gw send`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SendArgs {
    /// The provider to send as.
    #[arg(value_parser = provider())]
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
    #[arg(long, value_parser = provider())]
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

/// `gw schema`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SchemaArgs {
    /// What to describe.
    #[arg(value_enum)]
    pub(crate) what: SchemaOf,
}

/// What `gw schema` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The events, as JSON Schema.
    Events,
    /// The subjects and their messages, as AsyncAPI 3.
    Asyncapi,
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
        #[arg(long, value_parser = provider())]
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
    /// Make the broker's routes anew from the database; those that it does not hold are removed.
    Rebuild,
}

/// `gw trace`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TraceArgs {
    /// The delivery id; without it the newest delivery.
    pub(crate) delivery: Option<String>,
    /// Its provider; without it each is asked.
    #[arg(long, value_parser = provider())]
    pub(crate) provider: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// `gw deliveries`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeliveriesArgs {
    /// One organisation only.
    #[arg(long)]
    pub(crate) org: Option<String>,
    /// One provider only.
    #[arg(long, value_parser = provider())]
    pub(crate) provider: Option<String>,
    /// One type only: `github:pull-request.opened`, or the provider's own event name.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// One state only: `pending`, `routed`, `released`, `filtered`, `parked`, `dead`, `expired`.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only what was for this endpoint.
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// Stored since then: `15m`, `2h`, or an RFC 3339 time.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Stored before then.
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// How many at most, 1 to 200.
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(crate) limit: Option<u16>,
    /// Where the page before ended.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// `gw audit`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AuditArgs {
    /// Up to this delivery of GW_WEBHOOK, and the events and outcomes stored by then; without it the last.
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// `gw ledger`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    pub(crate) action: LedgerAction,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LedgerAction {
    /// How far the streams were read, and what is sealed.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the rows anew from the streams. Settled rows whose messages the streams no longer hold are removed and not
    /// made again: their totals stay, and of their attempts and letters nothing.
    Rebuild,
}
