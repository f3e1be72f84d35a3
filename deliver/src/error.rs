//! What can go wrong, and the one place where it becomes an HTTP answer.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::{
    cause::Chain,
    fields::Faults,
    problem::{MEDIA_TYPE, Problem},
};
use tracing::error;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It does not exist, or not for this caller.
    #[error("no such thing")]
    NotFound,
    /// Parameters of the query are wrong.
    #[error("parameters are wrong: {0}")]
    InvalidQuery(Faults),
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
    /// A key has as many streams open as it may.
    #[error("{most} streams are open")]
    TooManyStreams {
        /// How many it may have.
        most: usize,
    },
    /// As many streams are open as this process serves.
    #[error("all streams are taken")]
    Crowded,
    /// The broker failed.
    #[error("the broker failed")]
    Broker(#[from] nats::Error),
}

impl Error {
    /// The answer to who asked. What is ours to mend stays inside.
    #[must_use]
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::new(404, "not_found", "Not found"),
            Self::InvalidQuery(faults) => {
                faults.errors_of(Problem::new(400, "invalid_query", "Parameters of the query are wrong"))
            }
            Self::Expired { first } => Problem::new(410, "events_expired", "What comes next has expired")
                .detail("Begin anew with from=first, or with from=now, and read what was missed by another way.")
                .with("firstSequence", *first),
            Self::Unknown { last } => Problem::new(410, "place_unknown", "The stream has no such place")
                .detail("It was made anew. Begin with from=first.")
                .with("lastSequence", *last),
            Self::TooManyStreams { most } => {
                Problem::new(429, "too_many_streams", "The key has too many streams open").with("most", *most)
            }
            Self::Crowded => Problem::new(503, "no_room", "Too many streams are open"),
            Self::Broker(_) => Problem::new(503, "broker_unavailable", "The broker does not answer"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        if problem.status >= 500 {
            error!(code = problem.code, error = %Chain(&self), "deliver.failed");
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], axum::Json(problem)).into_response()
    }
}
