//! `gw-bench`: the parts of the bench that must be fast. Each command prints one line of JSON; `scripts/bench.py`
//! starts servers and gateways, runs the commands, and compares.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

mod batch;
mod broker;
mod copy;
mod drain;
mod e2e;
mod edge;
mod error;
mod fill;
mod http;
mod latency;
mod load;
mod raw;
mod receive;
mod relay;
mod sample;
mod usage;

// The gateway's own files, so that the edge with the null sink has the same layers and serves the same way.
#[path = "../../gw/src/listener.rs"]
mod listener;
#[path = "../../gw/src/request.rs"]
mod request;

use error::Error;

/// As `gw`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the gateway. `scripts/bench.py` is the one to run.
#[derive(Debug, Parser)]
#[command(name = "gw-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the edge with a sink that confirms at once and stores nothing, until a signal ends it.
    Edge(edge::EdgeArgs),
    /// Post webhooks to an edge, each connection one after the other.
    Load(load::LoadArgs),
    /// Publish the same messages with the bare client.
    Raw(raw::RawArgs),
    /// Post at a fixed rate, and wait for the events as a subscriber.
    E2e(e2e::E2eArgs),
    /// Store a webhook and its event one after the other with bare clients at a fixed rate.
    Relay(relay::RelayArgs),
    /// Take pushes, and count them.
    Receive(receive::ReceiveArgs),
    /// Store a copy of each event with bare clients.
    Copy(copy::CopyArgs),
    /// Store events without a router.
    Events(fill::EventsArgs),
    /// Store deliveries without an edge.
    Fill(fill::FillArgs),
    /// Put routes into the bucket.
    Routes(fill::RoutesArgs),
    /// Wait until the router has dealt with everything.
    Drain(drain::DrainArgs),
    /// Wait until a stream answers, and tell how much it holds.
    Stream(drain::StreamArgs),
    /// Empty a stream.
    Purge(drain::StreamArgs),
}

fn main() -> ExitCode {
    let done = Cli::parse().run().and_then(|result| Ok(writeln!(std::io::stdout(), "{result}")?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gw-bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    fn run(self) -> Result<Value, Error> {
        match self.command {
            Command::Edge(args) => threads()?.block_on(edge::run(args)),
            Command::Load(args) => one_thread()?.block_on(load::run(args)),
            Command::Raw(args) if args.one_thread => one_thread()?.block_on(raw::run(args)),
            Command::Raw(args) => threads()?.block_on(raw::run(args)),
            Command::E2e(args) => one_thread()?.block_on(e2e::run(args)),
            Command::Relay(args) => one_thread()?.block_on(relay::run(args)),
            Command::Receive(args) => one_thread()?.block_on(receive::run(args)),
            Command::Copy(args) => threads()?.block_on(copy::run(args)),
            Command::Events(args) => threads()?.block_on(fill::events(args)),
            Command::Fill(args) => threads()?.block_on(fill::deliveries(args)),
            Command::Routes(args) => threads()?.block_on(fill::routes(args)),
            Command::Drain(args) => one_thread()?.block_on(drain::run(args)),
            Command::Stream(args) => one_thread()?.block_on(drain::stream(args)),
            Command::Purge(args) => one_thread()?.block_on(drain::purge(args)),
        }
    }
}

/// As `gw` makes its own.
fn threads() -> Result<Runtime, Error> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// The cheapest for a generator that shares the cores with what it measures.
fn one_thread() -> Result<Runtime, Error> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
