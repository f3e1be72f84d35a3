//! `/healthz`, `/readyz` and `/metrics`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use nats::{Broker, topology};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use schemas::ambient::Clock;
use serde::Serialize;
use sqlx::AnyPool;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

const PROBE: Duration = Duration::from_secs(2);

/// What health looks at.
pub(crate) struct Health {
    pub(crate) begun: Instant,
    pub(crate) instance: String,
    pub(crate) broker: Broker,
    pub(crate) router: Option<router::Router>,
    pub(crate) db: Option<AnyPool>,
    /// Wanted streams, where this process only checks them.
    pub(crate) check: Option<topology::Settings>,
    pub(crate) stop: CancellationToken,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

/// The registry of all metrics, and those of the broker's state.
pub(crate) struct Metrics {
    registry: Registry,
    lag: Family<Consumer, Gauge>,
    pending: Family<Consumer, Gauge>,
    age: Family<Consumer, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Consumer {
    consumer: &'static str,
}

impl Metrics {
    pub(crate) fn new(mut registry: Registry) -> Self {
        let (lag, pending, age) = (Family::default(), Family::default(), Family::default());
        registry.register("gw_build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("gw_consumer_lag", "Messages a consumer has not been handed yet", Family::clone(&lag));
        registry.register("gw_consumer_in_flight", "Messages handed out and not acknowledged", Family::clone(&pending));
        registry.register(
            "gw_oldest_pending_age_seconds",
            "Age of the oldest message that is not dealt with",
            Family::clone(&age),
        );
        Self { registry, lag, pending, age }
    }
}

pub(crate) fn routes(health: Health) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .with_state(Arc::new(health))
}

/// What `/healthz` says.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Alive {
    /// `ok`.
    status: &'static str,
    /// The version that runs.
    version: &'static str,
    /// This start of this process.
    instance: String,
    /// How long ago it was.
    instance_uptime_seconds: u64,
}

/// What `/readyz` says.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `unready`.
    status: &'static str,
    /// What is in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It lives", body = Alive)))]
async fn healthz(State(health): State<Arc<Health>>) -> Response {
    Json(Alive {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        instance: health.instance.clone(),
        instance_uptime_seconds: health.begun.elapsed().as_secs(),
    })
    .into_response()
}

/// Whether it can do its work, and what is in the way.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, description = "It can", body = Readiness), (status = 503, description = "It cannot", body = Readiness))
)]
async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let reasons = health.reasons().await;
    if reasons.is_empty() {
        return Json(Readiness { status: "ready", reasons }).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness { status: "unready", reasons })).into_response()
}

/// Prometheus metrics.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String))
)]
async fn metrics(State(health): State<Arc<Health>>) -> Response {
    health.read_consumers().await;
    let mut text = String::new();
    if encode(&mut text, &health.metrics.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

impl Health {
    async fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stop.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        if !self.broker.is_connected() {
            reasons.push("broker: not connected".to_owned());
            return reasons;
        }
        if let Some(reason) = self.router.as_ref().and_then(router::Router::unready) {
            reasons.push(format!("router: {reason}"));
        }
        if let Some(settings) = &self.check {
            match timeout(PROBE, topology::diff(&self.broker, settings)).await {
                Ok(Ok(plans)) => {
                    reasons.extend(plans.iter().filter(|plan| !plan.is_empty()).map(|plan| format!("topology: {plan}")))
                }
                Ok(Err(error)) => reasons.push(format!("topology: {error}")),
                Err(_elapsed) => reasons.push("topology: the broker does not answer".to_owned()),
            }
        } else {
            match timeout(PROBE, topology::stream_info(&self.broker, topology::GW_WEBHOOK)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => reasons.push(format!("broker: {error}")),
                Err(_elapsed) => reasons.push("broker: no answer".to_owned()),
            }
        }
        if let Some(db) = &self.db {
            match timeout(PROBE, sqlx::query("select 1").execute(db)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => reasons.push(format!("database: {error}")),
                Err(_elapsed) => reasons.push("database: no answer".to_owned()),
            }
        }
        reasons
    }

    /// Asked when metrics are read, so that nothing polls when nobody looks.
    async fn read_consumers(&self) {
        if self.router.is_none() || !self.broker.is_connected() {
            return;
        }
        for consumer in [topology::ROUTER, topology::ROUTER_HISTORY] {
            let asked = timeout(PROBE, topology::consumer_info(&self.broker, topology::GW_WEBHOOK, consumer)).await;
            let Ok(Ok(info)) = asked else { continue };
            let label = Consumer { consumer };
            let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.metrics.lag.get_or_create(&label).set(number(info.num_pending));
            self.metrics.pending.get_or_create(&label).set(number(info.num_ack_pending as u64));
            let waiting = info.num_pending > 0 || info.num_ack_pending > 0;
            let next = info.ack_floor.stream_sequence + 1;
            let oldest = if waiting { self.stored_at(next, &info.config.filter_subject).await } else { None };
            let age = oldest.map_or(0, |stored_at| (self.clock.now() - stored_at).max(0) / 1000);
            self.metrics.age.get_or_create(&label).set(age);
        }
    }

    async fn stored_at(&self, from: u64, filter: &str) -> Option<i64> {
        let next = timeout(PROBE, nats::next_from(&self.broker, topology::GW_WEBHOOK, from, filter)).await;
        next.ok()?.ok()?.map(|message| message.stored_at)
    }
}
