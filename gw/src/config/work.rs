//! What `gw replay` and `gw dlq` take.

use clap::{Args, Subcommand, ValueEnum};
use schemas::replay::Rate;

use super::{
    ApiArgs,
    parse::{provider, rate},
};

/// `gw replay`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(subcommand)]
    pub(crate) action: ReplayAction,
    /// As JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ReplayAction {
    /// Send stored events again, to endpoints or to a subject.
    Redeliver {
        #[command(flatten)]
        range: Box<RangeArgs>,
        /// To these endpoints only; repeat or separate by commas. Without it to all that take the events.
        #[arg(long = "endpoint", value_delimiter = ',', value_name = "ID,…")]
        endpoints: Vec<String>,
        /// No limit by organisation, provider, type, endpoint, time or sequence; `--only-failed` still holds.
        #[arg(long)]
        all: bool,
        /// Only pushes whose last attempt failed.
        #[arg(long)]
        only_failed: bool,
        /// Where to: the endpoints, or a subject of the replay's own, which is printed.
        #[arg(long, value_enum, default_value = "endpoints")]
        to: To,
    },
    /// Make events anew from stored deliveries, through today's links and normalisers.
    Reroute {
        #[command(flatten)]
        range: Box<RangeArgs>,
        /// Only what was stored and never routed; it gets the ids it would have had.
        #[arg(long)]
        only_undelivered: bool,
    },
    /// The newest replays, 1,000 at most. One that has ended is kept for 30 days.
    List,
    /// One replay.
    Show {
        /// The id, `rpl_…`.
        id: String,
    },
    /// End a replay.
    Cancel {
        /// The id, `rpl_…`.
        id: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    Endpoints,
    Subject,
}

/// What is replayed, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct RangeArgs {
    /// One organisation only.
    #[arg(long)]
    pub(crate) org: Option<String>,
    /// One provider only.
    #[arg(long, value_parser = provider())]
    pub(crate) provider: Option<String>,
    /// One type or pattern only: `github:pull-request.opened`, `github:issue.*`.
    #[arg(long = "type", value_name = "PATTERN")]
    pub(crate) kind: Option<String>,
    /// What was stored since then: `15m`, `2h`, `7d` ago, or an RFC 3339 time.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// What was stored before then.
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// From this sequence of the stream on.
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) from: Option<u64>,
    /// Up to this sequence of the stream.
    #[arg(long = "up-to", value_name = "SEQUENCE")]
    pub(crate) up_to: Option<u64>,
    /// Count, and publish nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Messages a second, or `max`.
    #[arg(long, default_value = "1000", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Do not wait for the end.
    #[arg(long)]
    pub(crate) detach: bool,
}

/// `gw dlq`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    pub(crate) action: DlqAction,
    /// As JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DlqAction {
    /// The dead letters, from the oldest on.
    List {
        #[command(flatten)]
        which: WhichArgs,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 50, value_name = "COUNT")]
        limit: usize,
    },
    /// A whole letter, its message with it.
    Show {
        /// The id.
        id: u64,
    },
    /// Send letters back where they came from.
    Redrive {
        #[command(flatten)]
        chosen: ChosenArgs,
    },
    /// Remove letters for good.
    Drop {
        #[command(flatten)]
        chosen: ChosenArgs,
    },
}

/// Letters by their ids, or by what they have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChosenArgs {
    /// These letters.
    pub(crate) ids: Vec<u64>,
    /// Every letter.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
}

/// What letters have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct WhichArgs {
    /// Why they died: `unreadable`, `exhausted`, `permanent`, …
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Who gave up: `router`, `endpoint`, …
    #[arg(long)]
    pub(crate) stage: Option<String>,
    /// The endpoint they were for.
    #[arg(long, value_name = "ID")]
    pub(crate) endpoint: Option<String>,
    /// The organisation they belong to.
    #[arg(long)]
    pub(crate) org: Option<String>,
    /// Died since then: `15m`, `2h`, `7d` ago, or an RFC 3339 time.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Died before then.
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
}
