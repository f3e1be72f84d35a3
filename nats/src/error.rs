//! What can go wrong between the gateway and the broker.

use std::fmt;

use serde::Deserialize;

/// Why something failed, whatever type it has.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failed request to the broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("cannot connect to NATS at {url}")]
    Connect {
        /// The server's address, without credentials.
        url: String,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The credentials file could not be used.
    #[error("cannot read the NATS credentials file {path}")]
    Credentials {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address cannot be read.
    #[error("the NATS address is not one: expected nats://[user:password@]host:port")]
    Address,
    /// The server is older than the gateway needs.
    #[error("nats-server {found} is too old: {needed} or newer is needed")]
    ServerTooOld {
        /// What runs.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// The request did not get an answer.
    #[error("no answer from the broker to {what}")]
    Unanswered {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: async_nats::RequestError,
    },
    /// The connection was lost, or there is none.
    #[error("no connection to the broker for {what}")]
    Disconnected {
        /// What was asked.
        what: String,
    },
    /// The broker refused.
    #[error("the broker refused {what}: {description} ({code})")]
    Refused {
        /// What was asked.
        what: String,
        /// Which error.
        code: Code,
        /// The broker's words.
        description: String,
    },
    /// The answer is not one.
    #[error("the broker's answer to {what} cannot be read")]
    Answer {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A message could not be stored.
    #[error("cannot store {what}")]
    Publish {
        /// What was to be stored.
        what: String,
        /// Why.
        #[source]
        source: crate::PublishError,
    },
    /// The object store failed.
    #[error("cannot {what} payload {name}")]
    Payload {
        /// `store` or `read`.
        what: &'static str,
        /// The object.
        name: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A reader or consumer of a stream failed.
    #[error("cannot read stream {stream}")]
    Read {
        /// The stream.
        stream: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A stream or consumer could not be brought to what is wanted.
    #[error("cannot make stream {stream} as it should be")]
    Apply {
        /// The stream.
        stream: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A stream would keep less than it does.
    #[error(
        "{stream}: {what} would shrink from {from} to {to}, which drops stored messages; \
         `gw topology apply --force` does it, while the broker runs"
    )]
    Shrinks {
        /// The stream.
        stream: String,
        /// Which limit.
        what: &'static str,
        /// As it is.
        from: String,
        /// As it would be.
        to: String,
    },
}

/// JetStream's error codes that the gateway tells apart. The numbers are the server's (`err_code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 10059.
    StreamNotFound,
    /// 10014.
    ConsumerNotFound,
    /// 10037: no message was found.
    NoMessage,
    /// 10071: the subject already has a message, or another than expected.
    WrongLastSequence,
    /// 10158: a message with the same id is being stored.
    DuplicateInFlight,
    /// 10164: a message on the same subject is being stored.
    SubjectInFlight,
    /// 10167: the stream's inbound queue is full.
    TooManyRequests,
    /// 10077: the stream is full.
    StreamFull,
    /// 10047 or 10023: the server or account has no storage left.
    StorageExceeded,
    /// 10008: the cluster has no leader.
    NotAvailable,
    /// 10201: an atomic batch holds an id that is stored already.
    BatchDuplicate,
    /// 10176: an atomic batch lacks messages.
    BatchIncomplete,
    /// 10199: an atomic batch has too many messages.
    BatchTooLarge,
    /// 10174, or 10205: the stream takes no batches.
    BatchDisabled,
    /// 10210 and 10211: too many atomic batches are in flight.
    TooManyBatches,
    /// 10026: the stream has as many consumers as it may.
    MaxConsumers,
    /// Any other.
    Other(u64),
}

impl Code {
    /// The code of a number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        match number {
            10059 => Self::StreamNotFound,
            10014 => Self::ConsumerNotFound,
            10037 => Self::NoMessage,
            10071 => Self::WrongLastSequence,
            10158 => Self::DuplicateInFlight,
            10164 => Self::SubjectInFlight,
            10167 => Self::TooManyRequests,
            10077 => Self::StreamFull,
            10047 | 10023 => Self::StorageExceeded,
            10008 => Self::NotAvailable,
            10201 => Self::BatchDuplicate,
            10176 => Self::BatchIncomplete,
            10199 => Self::BatchTooLarge,
            10174 | 10205 => Self::BatchDisabled,
            10210 | 10211 => Self::TooManyBatches,
            10026 => Self::MaxConsumers,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "error {number}"),
            known => write!(f, "{known:?}"),
        }
    }
}

/// The error member of a JetStream answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

impl ApiError {
    pub(crate) fn code(&self) -> Code {
        Code::of(self.err_code)
    }

    pub(crate) fn refused(self, what: &str) -> Error {
        Error::Refused { what: what.to_owned(), code: self.code(), description: self.description }
    }
}

impl Error {
    /// The broker's error code, where it refused.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// A stream could not be read.
    pub(crate) fn reading(stream: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Read { stream: stream.into(), source: source.into() }
    }

    /// A stream or consumer could not be brought to what is wanted.
    pub(crate) fn applying(stream: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Apply { stream: stream.into(), source: source.into() }
    }
}
