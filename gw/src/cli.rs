//! The commands. What each takes stands in `config`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{
    DoctorArgs, LinkArgs, LogArgs, MigrateArgs, RoutesArgs, SendArgs, ServeArgs, StatusArgs, TailArgs, TopologyArgs,
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
    /// Find out what is wrong and how to mend it.
    Doctor(Box<DoctorArgs>),
    /// Bring the database to this version's tables.
    Migrate(MigrateArgs),
    /// Show, compare or apply the streams and buckets.
    Topology(TopologyArgs),
    /// Link a repository, project, team or account to an organisation.
    Link(LinkArgs),
    /// Maintain the routes.
    Routes(RoutesArgs),
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

pub(crate) fn completions(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "gw", &mut std::io::stdout());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
