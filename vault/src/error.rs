//! What can go wrong, and the one place where it becomes an HTTP answer.

use axum::response::{IntoResponse, Response};
use schemas::{cause::Chain, problem::Problem, route::Status};
use tracing::error;
use web::RequestError;

use crate::fields::Faults;

/// A request or a piece of background work that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It does not exist, or not for this caller.
    #[error("no such thing")]
    NotFound,
    /// The caller is narrowed to one organisation and asked for more.
    #[error("the caller is narrowed to another organisation")]
    OtherOrganisation,
    /// Only an admin's key may do it.
    #[error("only an admin's key may do it")]
    AdminOnly,
    /// The connection is not in use.
    #[error("the connection is {}", .0.as_str())]
    NotActive(Status),
    /// The request cannot be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Fields of the body are wrong.
    #[error("fields are wrong: {0}")]
    Invalid(Faults),
    /// An active link for the same thing exists.
    #[error("the resource is linked already, by {link}")]
    AlreadyLinked {
        /// That link.
        link: String,
    },
    /// The link was removed before.
    #[error("the link was removed before")]
    AlreadyRemoved,
    /// The database failed, or holds what nothing may write.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The broker failed.
    #[error("the broker failed")]
    Broker(#[from] nats::Error),
    /// What happened to a connection could not be published.
    #[error("a connection's message could not be published")]
    Publish(#[from] nats::PublishError),
    /// A value could not be written as JSON.
    #[error("a value cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl Error {
    /// The answer to who asked. What is ours to mend stays inside.
    #[must_use]
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::new(404, "not_found", "Not found"),
            Self::OtherOrganisation => Problem::new(404, "other_organisation", "Not this organisation's")
                .detail("The organisation header narrows the caller to another organisation."),
            Self::AdminOnly => Problem::new(403, "admin_only", "Only an admin's key may do this"),
            Self::NotActive(status) => Problem::new(400, "installation_not_active", "The connection is not active")
                .with("status", status.as_str()),
            Self::Request(error) => error.problem(),
            Self::Invalid(faults) => crate::fields::problem(faults),
            Self::AlreadyLinked { link } => {
                Problem::new(409, "resource_already_linked", "The resource is linked already")
                    .with("resourceId", link.as_str())
            }
            Self::AlreadyRemoved => Problem::new(400, "already_removed", "The link was removed before"),
            Self::Store(error) if error.is_passing() => {
                Problem::new(503, "store_unavailable", "The database does not answer")
            }
            Self::Broker(_) | Self::Publish(_) => Problem::new(503, "broker_unavailable", "The broker does not answer"),
            Self::Store(_) | Self::Encode(_) => Problem::new(500, "internal", "Internal error"),
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
            error!(code = problem.code, error = %Chain(&self), "vault.failed");
        }
        web::answer(problem)
    }
}
