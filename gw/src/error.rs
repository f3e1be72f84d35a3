//! What ends a command.

use std::{fmt::Write, io, net::SocketAddr, path::PathBuf};

/// The exit code where an argument or a setting is wrong, as `sysexits.h` has it. Anything else that fails is 1.
pub(crate) const USAGE: u8 = 64;

/// Why a command failed, in words that say what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot use the data folder {}; choose another with GW_DATA_DIR", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("another gw uses the data folder {}; stop it, or choose another with GW_DATA_DIR", path.display())]
    DataDirTaken { path: PathBuf },
    #[error("cannot listen on {address}; is it taken? {setting} chooses another")]
    Listen { address: SocketAddr, setting: &'static str, source: io::Error },
    #[error(
        "no nats-server found: put nats-server 2.15 or newer on PATH or name it with GW_NATS_SERVER, run `make tools`, or set NATS_URL to use a running one"
    )]
    NoNatsServer,
    #[error("cannot start {}; GW_NATS_SERVER names another nats-server", path.display())]
    StartNats { path: PathBuf, source: io::Error },
    #[error("nats-server did not come up; its log is {}", log.display())]
    NatsNotUp { log: PathBuf },
    #[error("a nats-server holds {} and does not answer; its log is {}", folder.display(), log.display())]
    NatsHangs { folder: PathBuf, log: PathBuf },
    #[error(transparent)]
    Broker(#[from] nats::Error),
    #[error("the broker does not answer: is `gw serve` running, is NATS_URL right?")]
    BrokerAway(#[source] nats::Error),
    #[error("the streams are not as they should be; run `gw topology diff` to see, `gw topology apply` to mend")]
    Topology,
    #[error("cannot open the database; is DATABASE_URL right?")]
    Database(#[source] sqlx::Error),
    #[error("GW_ENDPOINT_KEY, or endpoint.key in the data folder, is wrong")]
    EndpointKey(#[source] vault::seal::BadKey),
    #[error("GW_ENDPOINT_ALLOW is wrong: {0}")]
    EndpointAllow(#[from] deliver::push::BadReach),
    #[error("cannot make the HTTP client that pushes events")]
    HttpClient(#[source] reqwest::Error),
    #[error("cannot bring the database to this version's tables")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error(
        "GW_ENCRYPTION_KEY is set but the vault role does not run here: unset it, so that no other role holds the key"
    )]
    KeyWithoutVault,
    #[error("no NATS_URL is given and no gateway has run in {}: start `gw serve --dev`, or set NATS_URL or GW_DATA_DIR", data_dir.display())]
    NoBroker { data_dir: PathBuf },
    #[error("{0}")]
    Usage(String),
    #[error("cannot read {}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("cannot reach {url}; does the gateway run there?")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the gateway answered {status}: {detail}")]
    Answer { status: u16, code: String, detail: String },
    #[error("what the gateway answered cannot be read; is it of this version?")]
    Unreadable(#[source] serde_json::Error),
    #[error("no {what} {id}: `{list}` shows those there are")]
    Absent { what: &'static str, id: String, list: &'static str },
    #[error("cannot set up traces")]
    Telemetry(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{task} ended early")]
    EndedEarly { task: &'static str },
    #[error("checks failed")]
    Unwell,
    #[error("the streams differ from what is wanted; `gw topology apply` mends them")]
    Differs,
    #[error("it does not add up: {error} too many or too few")]
    AddsUp { error: i64 },
    #[error("the replay is {status}, not done")]
    NotDone { status: String },
    #[error("the gateway refused {refused} of {sent}")]
    Refused { refused: u32, sent: u32 },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Error {
    /// Whether the reader of standard output left, as `head` does: nothing that anyone needs to be told.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::KeyWithoutVault
            | Self::NoBroker { .. }
            | Self::Usage(_)
            | Self::EndpointAllow(_)
            | Self::EndpointKey(_) => USAGE,
            _ => 1,
        }
    }
}

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            let _infallible = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}
