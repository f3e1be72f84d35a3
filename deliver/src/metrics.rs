//! What replays and dead letters count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Dead letters are told apart by these stages only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByStage {
    pub(crate) stage: &'static str,
}

/// The metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) redelivered: Counter,
    pub(crate) letters: Family<ByStage, Gauge>,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self { redelivered: Counter::default(), letters: Family::default() };
        registry.register("gw_replay_redelivered", "Events that replays sent again", metrics.redelivered.clone());
        registry.register("gw_dead_letters", "Dead letters that are kept", metrics.letters.clone());
        metrics
    }
}
