//! The way of one webhook: provider, form of the signature, body, signature, identity, broker, answer.

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use nats::{Outgoing, PublishError, Stored};
use schemas::{
    Delivery, Origin,
    caller::RequestIds,
    delivery::{bounded, kept_headers, named},
    header,
    provider::Received,
    subject,
};
use serde::Serialize;
use tokio::time::Instant;
use tracing::Span;
use utoipa::ToSchema;

use crate::{
    Configured, Ingest, Inner,
    body::{self, Held},
    error::Error,
    verify::{Claimed, Verified},
};

/// Larger bodies are verified off the runtime's threads.
const SMALL: usize = 256 * 1024;

/// The answer to a delivery that is stored.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum Answer<'a> {
    /// Stored now.
    #[serde(rename_all = "camelCase")]
    Accepted {
        /// The delivery.
        delivery_id: &'a str,
    },
    /// Stored before.
    #[serde(rename_all = "camelCase")]
    Duplicate {
        /// The delivery.
        delivery_id: &'a str,
        /// Its place in `GW_WEBHOOK`.
        sequence: u64,
    },
}

pub(crate) async fn webhook(
    State(ingest): State<Ingest>,
    name: Result<Path<String>, PathRejection>,
    request: Request<Body>,
) -> Response {
    let begun = Instant::now();
    let Some(configured) = name.ok().and_then(|Path(name)| ingest.0.configured.get(name.as_str())) else {
        return ingest.0.refuse(None, Error::UnknownProvider);
    };
    match ingest.0.receive(configured, request).await {
        Ok((delivery, stored)) => ingest.0.accept(configured.provider.id, &delivery, stored, begun),
        Err(error) => ingest.0.refuse(Some(configured.provider.id), error),
    }
}

impl Inner {
    async fn receive(&self, configured: &Configured, request: Request<Body>) -> Result<(String, Stored), Error> {
        let (head, body) = request.into_parts();
        let claimed = configured.keys.claim(|name| text(&head.headers, name)).ok_or(Error::BadSignature)?;
        let held = body::read(&self.budget, &head.headers, body, self.body_timeout).await?;
        // From here on the broker is waited for: what the sender took for its body is not the broker's.
        let deadline = Instant::now() + configured.provider.ack_budget;
        let verified = verify(configured, claimed, held.bytes.clone()).await?;
        // After the signature: nobody else can use up a provider's rate.
        configured.admit()?;
        self.check_age(configured, &verified)?;
        let ids = head.extensions.get::<RequestIds>();
        let delivery = self.identify(configured, &verified, &head.headers, ids);
        let id = delivery.id.clone();
        let traceparent = text(&head.headers, header::TRACEPARENT);
        let stored = self.store(delivery, verified.body().clone(), held, traceparent, deadline).await?;
        Ok((id, stored))
    }

    fn check_age(&self, configured: &Configured, verified: &Verified) -> Result<(), Error> {
        let signed_at = configured.provider.signed_at.and_then(|read| read(unmarked(verified.body())));
        let oldest = self.clock.now().saturating_sub(i64::try_from(self.freshness.as_millis()).unwrap_or(i64::MAX));
        if signed_at.is_some_and(|signed_at| signed_at < oldest) { Err(Error::Stale) } else { Ok(()) }
    }

    /// Reads what the delivery says of itself. What cannot be read is left to the router: a verified delivery is
    /// never refused for its shape.
    fn identify(
        &self,
        configured: &Configured,
        verified: &Verified,
        headers: &HeaderMap,
        ids: Option<&RequestIds>,
    ) -> Delivery {
        let provider = configured.provider;
        let json = provider.json(text(headers, "content-type"), verified.body());
        let identity = (provider.identify)(&Received {
            header: &|name| text(headers, name),
            body: unmarked(&json),
            body_sha256: verified.sha256(),
        });
        Delivery {
            provider: provider.id.to_owned(),
            event: identity.event.map(bounded),
            id: bounded(identity.delivery),
            account: identity.account.map(bounded),
            resources: named(identity.resources),
            received_at: self.clock.now(),
            origin: Origin::Live,
            bound: None,
            correlation: ids.map(|ids| ids.correlation.clone()),
            signature_key: Some(verified.key().as_str().to_owned()),
            body_sha256: verified.sha256().to_owned(),
            payload_ref: None,
            kept: kept_headers(provider.kept_headers, |name| text(headers, name)),
        }
    }

    /// Stores a delivery: the body in the message, or in the object store where it is too large. What takes longer
    /// there than the sender waits is finished all the same, so that the sender's next try finds it.
    pub(crate) async fn store(
        &self,
        mut delivery: Delivery,
        body: Bytes,
        held: Held,
        traceparent: Option<&str>,
        deadline: Instant,
    ) -> Result<Stored, Error> {
        let span = Span::current();
        span.record("provider", &delivery.provider);
        span.record("delivery_id", &delivery.id);
        let mut payload = body;
        let mut held = Some(held);
        if let Some(payloads) = self.payloads.as_ref().filter(|payloads| payload.len() > payloads.inline_limit()) {
            let (payloads, held, body) = (payloads.clone(), held.take(), std::mem::take(&mut payload));
            let (provider, id, sha256) = (delivery.provider.clone(), delivery.id.clone(), delivery.body_sha256.clone());
            let put = tokio::spawn(async move {
                let name = payloads.put(&provider, &id, &sha256, &body).await;
                drop(held);
                name
            });
            let unconfirmed = || Error::NotStored(PublishError::Unconfirmed);
            let put = tokio::time::timeout_at(deadline, put).await.map_err(|_elapsed| unconfirmed())?;
            delivery.payload_ref = Some(put.map_err(|_panicked| unconfirmed())?.map_err(Error::Broker)?);
        }
        let mut headers = delivery.headers();
        if let Some(traceparent) = traceparent.filter(|traceparent| nats::trace::is_valid(traceparent)) {
            headers.push((header::TRACEPARENT.to_owned(), traceparent.to_owned()));
        }
        let message = Outgoing {
            subject: subject::webhook(&delivery),
            id: delivery.message_id(),
            headers,
            payload,
            once: true,
            ..Outgoing::default()
        };
        let stored = self.publisher.publish(message, deadline).await.map_err(Error::NotStored);
        drop(held);
        stored
    }

    /// The answer to a delivery that is stored.
    pub(crate) fn accept(&self, provider: &'static str, delivery: &str, stored: Stored, begun: Instant) -> Response {
        match stored {
            Stored::New { .. } => {
                Span::current().record("outcome", "accepted");
                self.metrics.accepted(provider, begun.elapsed().as_secs_f64());
                Json(Answer::Accepted { delivery_id: delivery }).into_response()
            }
            Stored::Duplicate { sequence } => {
                Span::current().record("outcome", "duplicate");
                self.metrics.duplicate(provider);
                Json(Answer::Duplicate { delivery_id: delivery, sequence }).into_response()
            }
        }
    }

    pub(crate) fn refuse(&self, provider: Option<&'static str>, error: Error) -> Response {
        Span::current().record("outcome", error.code());
        self.metrics.rejected(provider, error.code());
        error.into_response()
    }
}

impl Configured {
    fn admit(&self) -> Result<(), Error> {
        use governor::clock::{Clock, DefaultClock};
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter
            .check()
            .map_err(|until| Error::RateLimited { after: until.wait_time_from(DefaultClock::default().now()) })
    }
}

async fn verify(configured: &Configured, claimed: Claimed, body: Bytes) -> Result<Verified, Error> {
    if body.len() <= SMALL {
        return configured.keys.verify(&claimed, body).ok_or(Error::BadSignature);
    }
    let keys = configured.keys.clone();
    let verified = tokio::task::spawn_blocking(move || keys.verify(&claimed, body)).await;
    verified.ok().flatten().ok_or(Error::BadSignature)
}

/// A body without the byte order mark that may stand before its JSON.
fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
