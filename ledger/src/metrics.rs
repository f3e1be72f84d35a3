//! What the ledger counts.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{position::Positions, source::Source};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStream {
    stream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEquation {
    equation: &'static str,
}

/// The ledger's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lag: Family<ByStream, Gauge>,
    last: Family<ByStream, Gauge>,
    missed: Family<ByStream, Gauge>,
    errors: Family<ByEquation, Gauge>,
    audited: Family<ByEquation, Gauge>,
    messages: Counter,
    unreadable: Counter,
    lost: Counter,
    pruned: Counter,
    writing: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let inner = Inner::default();
        registry.register("gw_ledger_lag", "Messages the ledger has not written yet", inner.lag.clone());
        registry.register("gw_ledger_missed", "Messages given up before the ledger read them", inner.missed.clone());
        registry.register("gw_ledger_messages", "Messages written to the ledger", inner.messages.clone());
        registry.register("gw_ledger_unreadable", "Messages that told the ledger nothing", inner.unreadable.clone());
        let help = "Messages that the ledger had read and the broker lost when it died";
        registry.register("gw_ledger_lost", help, inner.lost.clone());
        registry.register("gw_ledger_pruned", "Rows sealed into totals", inner.pruned.clone());
        registry.register("gw_ledger_writing", "1 while this process writes the ledger", inner.writing.clone());
        registry.register(
            "gw_conservation_error",
            "What does not add up, by equation; 0 unless something was lost",
            inner.errors.clone(),
        );
        registry.register(
            "gw_conservation_audited_timestamp_seconds",
            "When it was added up the last time, by equation: what gw_conservation_error says is as old as this",
            inner.audited.clone(),
        );
        Self(Arc::new(inner))
    }

    /// So many messages were lost by the broker.
    pub(crate) fn lost(&self, messages: u64) {
        self.0.lost.inc_by(messages);
    }

    /// A stream's last message is this one.
    pub(crate) fn last(&self, source: Source, last: i64) {
        self.0.last.get_or_create(&ByStream { stream: source.stream() }).set(last);
    }

    /// So many messages were written, up to these places.
    pub(crate) fn wrote(&self, messages: u64, unreadable: u64, positions: &Positions) {
        self.0.messages.inc_by(messages);
        self.0.unreadable.inc_by(unreadable);
        for (source, position) in positions {
            let label = ByStream { stream: source.stream() };
            let last = self.0.last.get_or_create(&label).get();
            self.0.lag.get_or_create(&label).set((last - position.sequence).max(0));
            self.0.missed.get_or_create(&label).set(position.missed);
        }
    }

    pub(crate) fn pruned(&self, rows: u64) {
        self.0.pruned.inc_by(rows);
    }

    /// Whether this process writes. Who does not, tells nothing of what adds up: another does.
    pub(crate) fn writing(&self, writing: bool) {
        self.0.writing.set(writing.into());
        if !writing {
            self.forget();
        }
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.0.writing.get() == 1
    }

    /// It was added up at this time, milliseconds since the epoch, and each equation is wrong by so much.
    pub(crate) fn audited(&self, at: i64, errors: [(&'static str, i64); 3]) {
        for (equation, error) in errors {
            self.0.errors.get_or_create(&ByEquation { equation }).set(error);
            self.0.audited.get_or_create(&ByEquation { equation }).set(at.div_euclid(1_000));
        }
        // It may have lost the lease meanwhile, and forgotten before this was told.
        if !self.is_writing() {
            self.forget();
        }
    }

    fn forget(&self) {
        self.0.errors.clear();
        self.0.audited.clear();
    }
}
