//! An endpoint as the API shows it.

use schemas::{
    endpoint::{Endpoint, EndpointStatus},
    instant,
    seal::{Broken, Sealer},
    secret::Secret,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{headers, row::Row};

/// The body of an answer. A secret is in it only when it was made a moment ago.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointShown)]
pub(crate) struct Shown {
    #[serde(flatten)]
    endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Until then the secret before signs as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<String>,
    /// It failed again and again: it is left alone until then, and then one push probes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker_open_until: Option<String>,
}

impl Shown {
    pub(crate) fn of(row: &Row, sealer: &Sealer, now: i64) -> Self {
        let opened = row.secret(sealer).and_then(|_secret| row.headers(sealer));
        let (headers, sealed) = match opened {
            Ok(headers) => (headers::shown(headers), None),
            Err(broken) => (row.endpoint.headers.clone(), Some(advice(&broken))),
        };
        Self {
            endpoint: Endpoint { headers, ..row.endpoint.clone() },
            status_reason: sealed.or_else(|| row.reason.clone()),
            created_at: instant::rfc3339(row.created_at),
            secret: None,
            previous_secret_until: row.previous_secret(sealer, now).and(row.grace(now)).map(instant::rfc3339),
            breaker_open_until: None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.endpoint.id
    }

    pub(crate) fn is_active(&self) -> bool {
        self.endpoint.status == EndpointStatus::Active
    }

    /// The same with the end of the time in which it is left alone.
    pub(crate) fn with_breaker(mut self, until: Option<i64>) -> Self {
        self.breaker_open_until = until.map(instant::rfc3339);
        self
    }

    /// The same with the secret that was made for it.
    pub(crate) fn with_secret(mut self, secret: &Secret) -> Self {
        self.secret = Some(secret.expose().to_owned());
        self
    }
}

/// What to do about secrets that cannot be opened.
pub(crate) fn advice(broken: &Broken) -> String {
    format!(
        "it gets no requests: its secrets are {broken}; add that key to GW_ENDPOINT_KEY, or set its headers anew and \
         rotate its secret"
    )
}
