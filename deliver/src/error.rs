//! What can go wrong, and the one place where it becomes an HTTP answer.

use axum::response::{IntoResponse, Response};
use schemas::{cause::Chain, fields::Faults, problem::Problem, seal::Broken};
use tracing::error;
use web::RequestError;

/// A request or a piece of background work that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not exist, or not for this caller.
    #[error("no such thing")]
    NotFound,
    /// A body names what does not exist, or not for this caller.
    #[error("no such thing: {0}")]
    NoSuch(Faults),
    /// The caller is narrowed to one organisation and asked for another.
    #[error("the caller is narrowed to another organisation")]
    OtherOrganisation,
    /// The organisation has as many endpoints as it may.
    #[error("the organisation has {0} endpoints, as many as it may")]
    TooManyEndpoints(i64),
    /// Others kept changing it.
    #[error("others kept changing it")]
    Busy,
    /// The request cannot be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Fields of the body are wrong.
    #[error("fields are wrong: {0}")]
    Invalid(Faults),
    /// What a reader should read next is not held any more.
    #[error("events before {first} have expired")]
    Expired {
        /// The first sequence that is held.
        first: u64,
    },
    /// A reader comes back from a place that the stream never had.
    #[error("the stream ends at {last}")]
    Unknown {
        /// The last sequence that is held.
        last: u64,
    },
    /// A key reads as much at once as it may.
    #[error("{most} are read")]
    TooManyReads {
        /// How many it may have.
        most: usize,
    },
    /// As much is read as this process serves.
    #[error("all seats are taken")]
    Crowded,
    /// The database failed, or holds what nothing may write.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The broker failed.
    #[error("the broker failed")]
    Broker(#[from] nats::Error),
    /// A message could not be stored.
    #[error("a message could not be stored")]
    Publish(#[from] nats::PublishError),
    /// A secret could not be sealed or opened.
    #[error("a secret could not be sealed or opened")]
    Seal(#[from] Broken),
    /// A value could not be written as JSON.
    #[error("a value cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl Error {
    /// The answer to who asked. What is ours to mend stays inside.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::new(404, "not_found", "Not found"),
            Self::NoSuch(faults) => faults.errors_of(Problem::new(404, "not_found", "Not found")),
            Self::OtherOrganisation => Problem::new(404, "other_organisation", "Not this organisation's")
                .detail("The organisation header narrows the caller to another organisation."),
            Self::TooManyEndpoints(most) => {
                Problem::new(409, "too_many_endpoints", "The organisation has as many endpoints as it may")
                    .detail(format!("{most} endpoints an organisation; delete one first."))
            }
            Self::Busy => Problem::new(503, "busy", "Others are changing it; try again"),
            Self::Request(error) => error.problem(),
            Self::Invalid(faults) => faults.problem(),
            Self::Expired { first } => Problem::new(410, "events_expired", "What comes next has expired")
                .detail("Begin anew with from=first, or with from=now, and read what was missed by another way.")
                .with("firstSequence", *first),
            Self::Unknown { last } => Problem::new(410, "place_unknown", "The stream has no such place")
                .detail("It was made anew. Begin with from=first.")
                .with("lastSequence", *last),
            Self::TooManyReads { most } => {
                Problem::new(429, "too_many_reads", "The key reads too many of these at once").with("most", *most)
            }
            Self::Crowded => Problem::new(503, "no_room", "Too many of these are read"),
            Self::Store(error) if error.is_passing() => {
                Problem::new(503, "store_unavailable", "The database does not answer")
            }
            Self::Broker(_) | Self::Publish(_) => Problem::new(503, "broker_unavailable", "The broker does not answer"),
            Self::Store(_) | Self::Seal(_) | Self::Encode(_) => Problem::new(500, "internal", "Internal error"),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        if problem.status >= 500 {
            error!(code = problem.code, error = %Chain(&self), "deliver.failed");
        }
        web::answer(problem)
    }
}
