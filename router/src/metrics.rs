//! What the router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use schemas::provider;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: &'static str,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    events: Family<ByProvider, Counter>,
    filtered: Family<ByProvider, Counter>,
    unresolved: Family<ByProvider, Counter>,
    unreadable: Family<ByProvider, Counter>,
    released: Counter,
    rerouted: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) routes: Gauge,
    pub(crate) fresh: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            filtered: Family::default(),
            unresolved: Family::default(),
            unreadable: Family::default(),
            released: Counter::default(),
            rerouted: Counter::default(),
            redelivered: Counter::default(),
            routes: Gauge::default(),
            fresh: Gauge::default(),
        };
        registry.register("gw_route_events", "Events published", metrics.events.clone());
        registry.register(
            "gw_route_filtered",
            "Organisations whose filters admitted nothing",
            metrics.filtered.clone(),
        );
        registry.register(
            "gw_route_unresolved",
            "Deliveries parked because no link claims them",
            metrics.unresolved.clone(),
        );
        registry.register("gw_route_unreadable", "Deliveries that cannot be read", metrics.unreadable.clone());
        registry.register("gw_route_released", "Parked deliveries released", metrics.released.clone());
        registry.register("gw_replay_rerouted", "Events that replays made anew", metrics.rerouted.clone());
        registry.register("gw_route_redelivered", "Deliveries handed out again", metrics.redelivered.clone());
        registry.register("gw_routes", "Active links known", metrics.routes.clone());
        registry.register("gw_routes_fresh", "1 while the links are known to be up to date", metrics.fresh.clone());
        metrics
    }

    pub(crate) fn routed(&self, provider: &'static str, events: usize) {
        self.events.get_or_create(&ByProvider { provider }).inc_by(events as u64);
    }

    pub(crate) fn filtered(&self, provider: &'static str, organisations: usize) {
        self.filtered.get_or_create(&ByProvider { provider }).inc_by(organisations as u64);
    }

    pub(crate) fn unresolved(&self, provider: &'static str) {
        self.unresolved.get_or_create(&ByProvider { provider }).inc();
    }

    /// The name stands in a stored message, so it is looked up: a label is never somebody's text.
    pub(crate) fn unreadable(&self, provider: &str) {
        let provider = provider::find(provider).map_or("unknown", |known| known.id);
        self.unreadable.get_or_create(&ByProvider { provider }).inc();
    }

    pub(crate) fn rerouted(&self, events: u64) {
        self.rerouted.inc_by(events);
    }

    pub(crate) fn released(&self, released: usize) {
        self.released.inc_by(released as u64);
    }
}
