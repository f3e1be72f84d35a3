//! `gw`: the plug board. One binary, every setting, the command line, the lifecycle.

use std::process::ExitCode;

mod api_client;
mod auth;
mod broker;
mod child;
mod cli;
mod config;
mod database;
mod dev;
mod dlq;
mod doctor;
mod endpoint;
mod error;
mod health;
mod key;
mod ledger;
mod lifecycle;
mod link;
mod listener;
mod openapi;
mod output;
mod replay;
mod request;
mod schema;
mod seal;
mod send;
mod serve;
mod status;
mod tail;
mod telemetry;
mod topology;

use cli::{Cli, Command};
use error::Error;

/// A delivery's many small parts are made on one thread and dropped on another: the system's allocator took a fifth of
/// the edge's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    // The one TLS provider of the process; it fails only where another is installed already, and none is.
    let _installed = rustls::crypto::ring::default_provider().install_default().is_ok();
    match run(cli) {
        Ok(code) => code,
        Err(error) if error.is_quiet() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gw: {}", error::chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
    match cli.command {
        Command::Completions { shell } => cli::completions(shell).map(|()| ExitCode::SUCCESS),
        Command::Serve(serve) => runtime.block_on(serve::run(*serve, cli.log)),
        command => {
            let _telemetry = telemetry::for_commands(&cli.log);
            runtime.block_on(command_run(command)).map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn command_run(command: Command) -> Result<(), Error> {
    match command {
        Command::Send(send) => send::run(send).await,
        Command::Tail(tail) => tail::run(tail).await,
        Command::Status(status) => status::run(status).await,
        Command::Trace(trace) => ledger::trace(trace).await,
        Command::Deliveries(deliveries) => ledger::deliveries(deliveries).await,
        Command::Audit(audit) => ledger::audit(audit).await,
        Command::Ledger(ledger) => ledger::run(ledger).await,
        Command::Doctor(doctor) => doctor::run(*doctor).await,
        Command::Topology(topology) => topology::run(topology).await,
        Command::Link(link) => link::run(link).await,
        Command::Endpoint(endpoint) => endpoint::run(*endpoint).await,
        Command::Key(key) => key::run(key).await,
        Command::Routes(routes) => link::routes(routes).await,
        Command::Schema(args) => schema::run(&args),
        Command::Replay(replay) => replay::run(replay).await,
        Command::Dlq(dlq) => dlq::run(dlq).await,
        Command::Migrate(migrate) => database::migrate(migrate).await,
        Command::Serve(_) | Command::Completions { .. } => Ok(()),
    }
}
