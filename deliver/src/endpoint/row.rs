//! A row of `endpoints`: what the organisation wants in clear, its secrets sealed.

use std::collections::BTreeMap;

use schemas::{
    endpoint::{Endpoint, EndpointStatus},
    seal::{Broken, Sealer},
    secret::Secret,
};

use super::{Live, StartAt};

/// What a sealed text belongs to, beside its endpoint. Both secrets share one, so that the newest becomes the
/// previous one as it is.
const SECRET: &str = "secret";
const HEADERS: &str = "headers";

/// A row that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// What is wanted; its headers are empty, see [`Self::headers`].
    pub(crate) endpoint: Endpoint,
    /// The custom headers, sealed; none where there are none.
    pub(crate) headers: Option<String>,
    /// The signing secret, sealed.
    pub(crate) secret: String,
    /// The secret before it.
    pub(crate) previous: Option<Previous>,
    /// Why it has its status, where somebody else than its owner chose it.
    pub(crate) reason: Option<String>,
    pub(crate) start: StartAt,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
}

/// A secret that was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    /// The secret, sealed.
    pub(crate) secret: String,
    /// Until when it signs, milliseconds since the epoch.
    pub(crate) until: i64,
}

impl Row {
    /// Seals a signing secret.
    pub(crate) fn seal_secret(id: &str, secret: &Secret, sealer: &Sealer) -> Result<String, Broken> {
        sealer.0.seal(id, SECRET, secret)
    }

    /// Seals custom headers.
    pub(crate) fn seal_headers(
        id: &str,
        headers: &BTreeMap<String, String>,
        sealer: &Sealer,
    ) -> Result<Option<String>, Broken> {
        if headers.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_string(headers).map_err(|_| Broken::Damaged)?;
        sealer.0.seal(id, HEADERS, &Secret::new(text)).map(Some)
    }

    /// The custom headers in clear.
    pub(crate) fn headers(&self, sealer: &Sealer) -> Result<BTreeMap<String, String>, Broken> {
        let Some(sealed) = &self.headers else { return Ok(BTreeMap::new()) };
        let text = sealer.0.open(&self.endpoint.id, HEADERS, sealed)?;
        serde_json::from_str(text.expose()).map_err(|_| Broken::Damaged)
    }

    /// The signing secret in clear.
    pub(crate) fn secret(&self, sealer: &Sealer) -> Result<Secret, Broken> {
        sealer.0.open(&self.endpoint.id, SECRET, &self.secret)
    }

    /// Until when two secrets sign, if they do now.
    pub(crate) fn grace(&self, now: i64) -> Option<i64> {
        self.previous.as_ref().map(|previous| previous.until).filter(|until| *until > now)
    }

    /// The secret before, if it signs as well now. One that cannot be opened was given up when it was rotated.
    pub(crate) fn previous_secret(&self, sealer: &Sealer, now: i64) -> Option<Secret> {
        let previous = self.previous.as_ref().filter(|previous| previous.until > now)?;
        sealer.0.open(&self.endpoint.id, SECRET, &previous.secret).ok()
    }

    /// What the pushes need of it.
    pub(crate) fn live(&self, sealer: &Sealer, now: i64) -> Result<Live, Broken> {
        let mut secrets = vec![self.secret(sealer)?];
        secrets.extend(self.previous_secret(sealer, now));
        let endpoint = Endpoint { headers: self.headers(sealer)?, ..self.endpoint.clone() };
        Ok(Live { endpoint, version: self.version, secrets, start: self.start, history_start: self.start })
    }

    /// The same for one whose secrets cannot be opened: it waits.
    pub(crate) fn sealed(&self) -> Live {
        let status = match self.endpoint.status {
            EndpointStatus::Active => EndpointStatus::Paused,
            other => other,
        };
        let endpoint = Endpoint { status, ..self.endpoint.clone() };
        Live { endpoint, version: self.version, secrets: Vec::new(), start: self.start, history_start: self.start }
    }
}
