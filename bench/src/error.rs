//! What can go wrong in a measurement: it is void then, so the text is all that counts.

use std::{io, net::SocketAddr};

/// A measurement that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot listen on {address} ({setting})")]
    Listen { address: SocketAddr, setting: &'static str, source: io::Error },
    #[error("the broker")]
    Broker(#[from] nats::Error),
    #[error("the bare client")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection")]
    Io(#[from] io::Error),
    #[error("JSON")]
    Json(#[from] serde_json::Error),
    #[error("a task panicked")]
    Task(#[from] tokio::task::JoinError),
    #[error("{0}")]
    Wrong(String),
}

impl Error {
    /// An error of the bare client, whatever its type.
    pub(crate) fn client(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Client(source.into())
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
