//! What ingest answers when it does not take a delivery.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nats::PublishError;
use schemas::{cause::Chain, problem::Problem};

/// Why a delivery was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such provider, or none with a secret.
    #[error("unknown provider")]
    UnknownProvider,
    /// The signature is missing or wrong.
    #[error("signature missing or wrong")]
    BadSignature,
    /// The signed time is too old.
    #[error("signed too long ago")]
    Stale,
    /// There is no body.
    #[error("empty body")]
    EmptyBody,
    /// The body is over the limit.
    #[error("body too large")]
    TooLarge,
    /// The body took too long.
    #[error("body too slow")]
    SlowBody,
    /// The connection broke while the body came.
    #[error("body broke off")]
    BrokenBody,
    /// Too many bytes are held already.
    #[error("too many bytes in flight")]
    Overloaded,
    /// The provider's rate limit is used up.
    #[error("rate limited")]
    RateLimited {
        /// When to come again.
        after: Duration,
    },
    /// The broker did not confirm within the provider's budget.
    #[error("not stored")]
    NotStored(#[source] PublishError),
    /// The broker could not be asked.
    #[error("broker request failed")]
    Broker(#[source] nats::Error),
    /// An internal delivery is not JSON.
    #[error("body is not JSON")]
    InvalidJson,
    /// Fields of an internal delivery are wrong.
    #[error("invalid fields")]
    InvalidBody(Vec<(&'static str, String)>),
}

impl Error {
    /// The stable code, which is also the label of the metric.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownProvider => "unknown_provider",
            Self::BadSignature => "invalid_signature",
            Self::Stale => "stale_signature",
            Self::EmptyBody => "missing_body",
            Self::TooLarge => "body_too_large",
            Self::SlowBody => "body_timeout",
            Self::BrokenBody => "body_incomplete",
            Self::Overloaded => "overloaded",
            Self::RateLimited { .. } => "rate_limited",
            Self::NotStored(_) | Self::Broker(_) => "not_stored",
            Self::InvalidJson => "invalid_json",
            Self::InvalidBody(_) => "invalid_body",
        }
    }

    /// Whether the body may not have been read to its end. Then the connection ends with the answer, and a sender that
    /// is not told would use it for its next webhook.
    fn leaves_body(&self) -> bool {
        matches!(
            self,
            Self::UnknownProvider
                | Self::BadSignature
                | Self::TooLarge
                | Self::SlowBody
                | Self::BrokenBody
                | Self::Overloaded
                | Self::RateLimited { .. }
        )
    }

    fn answer(&self) -> (Problem, Option<Duration>) {
        let problem = |status: StatusCode, title: &str| Problem::new(status.as_u16(), self.code(), title);
        let soon = Some(Duration::from_secs(5));
        match self {
            Self::UnknownProvider => (problem(StatusCode::NOT_FOUND, "Unknown or unconfigured provider"), None),
            Self::BadSignature => (problem(StatusCode::UNAUTHORIZED, "Signature missing or wrong"), None),
            Self::Stale => (problem(StatusCode::UNAUTHORIZED, "Signed too long ago"), None),
            Self::EmptyBody => (problem(StatusCode::BAD_REQUEST, "The body is empty"), None),
            Self::BrokenBody => (problem(StatusCode::BAD_REQUEST, "The body broke off"), None),
            Self::TooLarge => (problem(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 25 MiB"), None),
            Self::SlowBody => (problem(StatusCode::REQUEST_TIMEOUT, "The body took too long"), None),
            Self::Overloaded => {
                (problem(StatusCode::SERVICE_UNAVAILABLE, "Too many bytes in flight"), Some(Duration::from_secs(1)))
            }
            Self::RateLimited { after } => (problem(StatusCode::TOO_MANY_REQUESTS, "Rate limit used up"), Some(*after)),
            Self::NotStored(_) | Self::Broker(_) => {
                (problem(StatusCode::SERVICE_UNAVAILABLE, "Not stored; send it again"), soon)
            }
            Self::InvalidJson => (problem(StatusCode::BAD_REQUEST, "The body is not JSON"), None),
            Self::InvalidBody(errors) => {
                (problem(StatusCode::BAD_REQUEST, "Fields are wrong").errors(errors.clone()), None)
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if matches!(self, Self::NotStored(_) | Self::Broker(_)) {
            tracing::error!(error = %Chain(&self), "ingest.not_stored");
        }
        let (problem, retry) = self.answer();
        let mut response = web::answer(problem);
        if self.leaves_body() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(after) = retry {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
