//! What the pushes count. No label names an endpoint: there may be thousands.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use schemas::{attempt::PushOutcome, endpoint::EndpointStatus};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    outcome: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Died {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// The counters. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    attempts: Family<Attempted, Counter>,
    pub(super) latency: Histogram,
    dead: Family<Died, Counter>,
    pub(super) in_flight: Gauge,
    endpoints: Family<InState, Gauge>,
    pub(super) breakers_open: Gauge,
    pub(super) redelivered: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            attempts: Family::default(),
            // 1 ms to 33 s.
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            dead: Family::default(),
            in_flight: Gauge::default(),
            endpoints: Family::default(),
            breakers_open: Gauge::default(),
            redelivered: Counter::default(),
        };
        registry.register(
            "gw_delivery_attempts",
            "Requests to endpoints, by what became of them and why they failed",
            metrics.attempts.clone(),
        );
        registry.register("gw_delivery_latency_seconds", "How long requests took", metrics.latency.clone());
        registry.register("gw_delivery_dead", "Pushes that became dead letters", metrics.dead.clone());
        registry.register("gw_delivery_in_flight", "Requests under way", metrics.in_flight.clone());
        registry.register("gw_endpoints", "Endpoints", metrics.endpoints.clone());
        registry.register(
            "gw_endpoint_breaker_open",
            "Endpoints that are left alone because they fail",
            metrics.breakers_open.clone(),
        );
        registry.register("gw_delivery_redelivered", "Timers handed out again", metrics.redelivered.clone());
        metrics
    }

    pub(super) fn attempted(&self, outcome: PushOutcome, class: Option<&'static str>) {
        let labels = Attempted { outcome: outcome.as_str(), class: class.unwrap_or("none") };
        self.attempts.get_or_create(&labels).inc();
    }

    pub(super) fn died(&self, reason: &'static str) {
        self.dead.get_or_create(&Died { reason }).inc();
    }

    pub(super) fn endpoints(&self, statuses: impl Iterator<Item = EndpointStatus> + Clone) {
        for state in [EndpointStatus::Active, EndpointStatus::Paused, EndpointStatus::Disabled] {
            let count = statuses.clone().filter(|status| *status == state).count();
            let gauge = self.endpoints.get_or_create(&InState { state: state.as_str() }).clone();
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
