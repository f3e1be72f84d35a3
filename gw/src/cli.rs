//! The commands. What each takes stands in `config`.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, builder::Resettable};
use clap_complete::Shell;

use crate::{
    config::{
        self, AuditArgs, DeliveriesArgs, DlqArgs, DoctorArgs, EndpointArgs, KeyArgs, LedgerArgs, LinkArgs, LogArgs,
        MigrateArgs, ReplayArgs, RoutesArgs, SchemaArgs, SendArgs, ServeArgs, StatusArgs, TailArgs, TopologyArgs,
        TraceArgs,
    },
    error::{Error, USAGE},
    output,
};

/// The gateway for webhooks: verified, stored durably in NATS JetStream, resolved to organisations, handed on.
#[derive(Debug, Parser)]
#[command(name = "gw", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads flags and environment. A setting without a value is the same as none.
    pub(crate) fn read() -> Self {
        let read = without_blanks(Self::command()).try_get_matches();
        read.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches)).unwrap_or_else(|error| {
            let _reader_left = error.print().is_err();
            std::process::exit(if error.use_stderr() { USAGE.into() } else { 0 })
        })
    }
}

fn without_blanks(command: clap::Command) -> clap::Command {
    let set = command
        .mut_args(|arg| if arg.get_env().is_some_and(config::is_blank) { arg.env(Resettable::Reset) } else { arg });
    set.mut_subcommands(without_blanks)
}

/// What the columns of `gw audit` mean.
const AUDIT: &str = "\
Columns:
  provider    stored = pending + parked + dead + routed + filtered + expired
  orgId       claims = events + filtered
  endpointId  admitted = delivered + pending + scheduled + dead + dropped + expired
  lost        passed by its consumer, and nothing came of it
  timers      scheduled without a timer; below zero, timers that nothing is scheduled for
  error       by how much the line does not add up, timers with it; 0 is right";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway, whole or in part.
    Serve(Box<ServeArgs>),
    /// Sign a webhook as a provider would and post it.
    Send(SendArgs),
    /// Print events as they come.
    Tail(TailArgs),
    /// Show streams, lag, routes and rates on one screen.
    Status(StatusArgs),
    /// Tell what became of a delivery.
    Trace(TraceArgs),
    /// List deliveries, the newest first.
    Deliveries(DeliveriesArgs),
    /// Add up whether everything that was stored is somewhere.
    #[command(after_help = AUDIT)]
    Audit(AuditArgs),
    /// Look after the rows that say what became of deliveries.
    Ledger(LedgerArgs),
    /// Find out what is wrong and how to mend it.
    Doctor(Box<DoctorArgs>),
    /// Bring the database to this version's tables.
    Migrate(MigrateArgs),
    /// Show, compare or apply the streams and buckets.
    Topology(TopologyArgs),
    /// Link a repository, project, team or account to an organisation.
    Link(LinkArgs),
    /// Push events to HTTP endpoints.
    Endpoint(Box<EndpointArgs>),
    /// Make and revoke keys of the API.
    Key(KeyArgs),
    /// Maintain the routes.
    Routes(RoutesArgs),
    /// Describe the messages (JSON Schema) or the subjects (AsyncAPI) for programs that read them.
    Schema(SchemaArgs),
    /// Send events again, or make them anew from what is stored.
    Replay(ReplayArgs),
    /// Look at dead letters, send them back, or drop them.
    Dlq(DlqArgs),
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

pub(crate) fn completions(shell: Shell) -> Result<(), Error> {
    // Made whole first: what cannot be written is a panic there.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gw", &mut script);
    output::whole(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
