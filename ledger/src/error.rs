//! What can go wrong, and the one place where it becomes an HTTP answer.

use axum::response::{IntoResponse, Response};
use schemas::{cause::Chain, problem::Problem};
use tracing::error;
use web::RequestError;

/// A request or a piece of background work that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It does not exist, or not for this caller.
    #[error("no such thing")]
    NotFound,
    /// Only a caller who sees every organisation may.
    #[error("the caller is narrowed to an organisation")]
    Narrowed,
    /// The request cannot be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The ledger did not read the streams in time.
    #[error("the ledger has not read {stream} up to {sequence} yet")]
    Behind {
        /// The stream.
        stream: &'static str,
        /// Up to where it was waited for.
        sequence: i64,
    },
    /// Its rows are taken away and made anew.
    #[error("the ledger is being rebuilt; `gw ledger status` says how far it is")]
    Rebuilding,
    /// The database failed, or holds what nothing may write.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The broker failed.
    #[error("the broker failed")]
    Broker(#[from] nats::Error),
}

impl Error {
    /// The answer to who asked. What is ours to mend stays inside.
    fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::new(404, "not_found", "Not found"),
            Self::Narrowed => Problem::new(403, "admin_only", "Only an admin's key may do this")
                .detail("This is about all organisations, and the caller is narrowed to one."),
            Self::Request(error) => error.problem(),
            Self::Behind { .. } | Self::Rebuilding => {
                Problem::new(503, "ledger_behind", "The ledger is behind").detail(self.to_string())
            }
            Self::Store(error) if error.is_passing() => {
                Problem::new(503, "store_unavailable", "The database does not answer")
            }
            Self::Broker(_) => Problem::new(503, "broker_unavailable", "The broker does not answer"),
            Self::Store(_) => Problem::new(500, "internal", "Internal error"),
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
        // Whoever asks too early is told, and nobody else.
        if problem.status >= 500 && !matches!(self, Self::Behind { .. } | Self::Rebuilding) {
            error!(code = problem.code, error = %Chain(&self), "ledger.failed");
        }
        web::answer(problem)
    }
}
