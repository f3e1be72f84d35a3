//! What ingest counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByProvider {
    provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByReason {
    provider: &'static str,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct AckBuckets;

impl MetricConstructor<Histogram> for AckBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    accepted: Family<ByProvider, Counter>,
    duplicate: Family<ByProvider, Counter>,
    rejected: Family<ByReason, Counter>,
    ack: Family<ByProvider, Histogram, AckBuckets>,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Family::default(),
            duplicate: Family::default(),
            rejected: Family::default(),
            ack: Family::new_with_constructor(AckBuckets),
        };
        registry.register("gw_ingest_accepted", "Deliveries stored", metrics.accepted.clone());
        registry.register("gw_ingest_duplicate", "Deliveries that were stored before", metrics.duplicate.clone());
        registry.register("gw_ingest_rejected", "Requests refused, by reason", metrics.rejected.clone());
        registry.register(
            "gw_ingest_ack_seconds",
            "From the request to the broker's confirmation",
            metrics.ack.clone(),
        );
        metrics
    }

    pub(crate) fn accepted(&self, provider: &'static str, seconds: f64) {
        self.accepted.get_or_create(&ByProvider { provider }).inc();
        self.ack.get_or_create(&ByProvider { provider }).observe(seconds);
    }

    pub(crate) fn duplicate(&self, provider: &'static str) {
        self.duplicate.get_or_create(&ByProvider { provider }).inc();
    }

    /// An unknown provider's name is the client's to choose, so it is no label.
    pub(crate) fn rejected(&self, provider: Option<&'static str>, reason: &'static str) {
        self.rejected.get_or_create(&ByReason { provider: provider.unwrap_or("unknown"), reason }).inc();
    }
}
