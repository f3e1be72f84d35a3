//! Webhook in, verified, stored. No database.
//!
//! `http` is the way of one webhook; `verify` the only maker of a `Verified`; `internal` takes deliveries from
//! services of ours; `body` bounds memory.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{Router, routing::post};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use nats::{Broker, Bucket, Payloads, Publisher};
use prometheus_client::registry::Registry;
use schemas::{ambient::Clock, provider::Provider, route, secret::Secret};
use tokio::sync::Semaphore;
use utoipa_axum::{router::OpenApiRouter, routes};

mod body;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod http;
mod internal;
mod metrics;
mod verify;

pub use error::Error;
use metrics::Metrics;
use verify::Keys;

/// What an operator can choose.
#[derive(Clone, Debug)]
pub struct Config {
    /// The providers that may send.
    pub providers: Vec<ProviderConfig>,
    /// Bytes of all bodies that are held at once.
    pub max_inflight_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How old a signed time may be.
    pub freshness: Duration,
}

/// One provider that may send.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Which.
    pub provider: &'static Provider,
    /// The secret it signs with.
    pub secret: Secret,
    /// The secret it signed with before.
    pub previous: Option<Secret>,
    /// Webhooks a second; none is unlimited.
    pub rate_limit: Option<NonZeroU32>,
}

/// What ingest needs of the rest.
#[derive(Debug)]
pub struct Deps {
    /// Stores deliveries.
    pub publisher: Publisher,
    /// The broker, for large bodies and connections. Without one (in a bench) bodies must be small.
    pub broker: Option<Broker>,
    /// The time.
    pub clock: Clock,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    configured: HashMap<&'static str, Configured>,
    budget: Arc<Semaphore>,
    body_timeout: Duration,
    freshness: Duration,
    publisher: Publisher,
    payloads: Option<Payloads>,
    connections: Option<Bucket>,
    clock: Clock,
    metrics: Metrics,
}

/// A provider that may send, ready to verify.
#[derive(Debug)]
struct Configured {
    provider: &'static Provider,
    keys: Keys,
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Ingest {
    /// The service with its metrics registered.
    pub fn new(config: &Config, deps: Deps, registry: &mut Registry) -> Self {
        let configured = config.providers.iter().map(|config| (config.provider.id, Configured::new(config)));
        Self(Arc::new(Inner {
            configured: configured.collect(),
            budget: Arc::new(Semaphore::new(config.max_inflight_bytes.min(Semaphore::MAX_PERMITS))),
            body_timeout: config.body_timeout,
            freshness: config.freshness,
            publisher: deps.publisher,
            payloads: deps.broker.as_ref().map(Payloads::new),
            connections: deps.broker.as_ref().map(|broker| Bucket::new(broker, route::CONNECTIONS)),
            clock: deps.clock,
            metrics: Metrics::new(registry),
        }))
    }

    /// The routes of the public listener.
    pub fn public(&self) -> Router {
        Router::new()
            .route("/webhooks/{provider}", post(http::webhook))
            .route("/api/webhooks/{provider}", post(http::webhook))
            .with_state(self.clone())
    }

    /// The routes of the API listener.
    pub fn api(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(internal::delivery))
            .routes(routes!(internal::webhook))
            .with_state(self.clone())
    }
}

impl Configured {
    fn new(config: &ProviderConfig) -> Self {
        let limiter = config.rate_limit.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        let keys = Keys::new(config.provider.signature, &config.secret, config.previous.as_ref());
        Self { provider: config.provider, keys, limiter }
    }
}
