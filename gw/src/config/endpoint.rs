//! What `gw endpoint` and `gw key` take.

use std::time::Duration;

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{ApiArgs, duration};

/// `gw endpoint`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EndpointArgs {
    #[command(subcommand)]
    pub(crate) action: EndpointAction,
    /// As JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum EndpointAction {
    /// Push an organisation's events to an address; its signing secret is shown once.
    Add {
        /// The organisation whose events it gets.
        #[arg(long)]
        org: String,
        /// Where requests go, `https://…`.
        #[arg(long)]
        url: String,
        #[command(flatten)]
        wishes: EndpointWishes,
        /// Where to begin: `now`, an RFC 3339 time, or a sequence in `GW_EVENT` up to the one behind the last.
        #[arg(long, default_value = "now", value_name = "WHERE")]
        start: String,
    },
    /// The endpoints of an organisation, or all.
    List {
        /// One organisation only.
        #[arg(long)]
        org: Option<String>,
        /// One status only.
        #[arg(long, value_parser = PossibleValuesParser::new(["active", "paused", "disabled"]))]
        status: Option<String>,
    },
    /// Everything about an endpoint.
    Show {
        /// The id, `ep_…`.
        id: String,
    },
    /// Change what is named here; the rest stays.
    Set {
        /// The id, `ep_…`.
        id: String,
        /// Where requests go, `https://…`.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        wishes: Box<EndpointWishes>,
        /// Back to the default, and not set besides; repeat or separate by commas.
        #[arg(long, value_delimiter = ',', value_name = "WHAT", value_parser = PossibleValuesParser::new(
            ["events", "format", "headers", "timeout", "retry", "concurrency", "rate", "ordered", "history"]
        ))]
        reset: Vec<String>,
    },
    /// Hold requests back; events and retries wait.
    Pause {
        /// The id, `ep_…`.
        id: String,
    },
    /// Send requests again, after a pause or after it was disabled.
    Resume {
        /// The id, `ep_…`.
        id: String,
    },
    /// Stop requests; what was scheduled becomes dead letters, and the place in the stream is kept.
    Disable {
        /// The id, `ep_…`.
        id: String,
    },
    /// Make a new signing secret, which is shown once; the one before signs as well for a while, older ones no longer.
    Rotate {
        /// The id, `ep_…`.
        id: String,
        /// For how long both secrets sign.
        #[arg(long, default_value = "1d", value_parser = duration)]
        grace: Duration,
    },
    /// Delete an endpoint, its retries and its place in the stream.
    Remove {
        /// The id, `ep_…`.
        id: String,
    },
}

impl EndpointAction {
    /// The endpoint that it is about.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Add { .. } | Self::List { .. } => None,
            Self::Show { id }
            | Self::Set { id, .. }
            | Self::Pause { id }
            | Self::Resume { id }
            | Self::Disable { id }
            | Self::Rotate { id, .. }
            | Self::Remove { id } => Some(id),
        }
    }
}

/// How events are pushed.
#[derive(Clone, Debug, Args)]
pub(crate) struct EndpointWishes {
    /// Which events: `github:pull-request.opened`, `github:*`, `*`; repeat or separate by commas.
    #[arg(long, value_delimiter = ',', value_name = "EVENT,…")]
    pub(crate) events: Option<Vec<String>>,
    /// `envelope`: the event as JSON; `cloudevents`: the same with its attributes as headers.
    #[arg(long, value_parser = PossibleValuesParser::new(["envelope", "cloudevents"]))]
    pub(crate) format: Option<String>,
    /// A header sent with each request; repeat it for several. In a change, `NAME=` removes it.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<String>,
    /// How long a receiver may take, 1 to 60 seconds.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// The pauses between attempts: `5s,30s,2m`; `--retry ''` makes one attempt only.
    #[arg(long, value_parser = pauses, value_name = "PAUSE,…")]
    pub(crate) retry: Option<Pauses>,
    /// Requests at once, 1 to 100.
    #[arg(long)]
    pub(crate) concurrency: Option<u16>,
    /// Requests a second at most, 1 to 10000.
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// One event at a time, in order: a failing one holds up those behind it.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) ordered: Option<bool>,
    /// Also backfilled and replayed events.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) history: Option<bool>,
}

/// Pauses between attempts, seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pauses(pub(crate) Vec<u64>);

fn pauses(text: &str) -> Result<Pauses, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| duration(part).map(|pause| pause.as_secs())).collect::<Result<_, _>>().map(Pauses)
}

/// `gw key`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) action: KeyAction,
    /// As JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make a key of the API; it is shown once.
    Add {
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// `admin` may do everything, `read` reads what belongs to one organisation.
        #[arg(long, value_parser = PossibleValuesParser::new(["admin", "read"]))]
        scope: String,
        /// The organisation of a key that reads.
        #[arg(long)]
        org: Option<String>,
    },
    /// The keys that were made and not revoked.
    List,
    /// Revoke a key by its id.
    Revoke {
        /// The id, `key_…`.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_durations_and_may_be_none() {
        assert_eq!(pauses("5s,30s, 2m"), Ok(Pauses(vec![5, 30, 120])));
        assert_eq!(pauses(""), Ok(Pauses(Vec::new())));
        assert!(pauses("5").is_err());
    }
}
