//! The streams the ledger reads.

use nats::topology;

/// A stream that tells what became of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    Webhooks,
    Events,
    Outcomes,
    Attempts,
    Letters,
}

impl Source {
    pub(crate) const ALL: [Self; 5] = [Self::Webhooks, Self::Events, Self::Outcomes, Self::Attempts, Self::Letters];

    /// The stream's name.
    pub(crate) fn stream(self) -> &'static str {
        match self {
            Self::Webhooks => topology::GW_WEBHOOK,
            Self::Events => topology::GW_EVENT,
            Self::Outcomes => topology::GW_OUTCOME,
            Self::Attempts => topology::GW_ATTEMPT,
            Self::Letters => topology::GW_DLQ,
        }
    }

    /// Whether its headers tell everything.
    pub(crate) fn headers_only(self) -> bool {
        match self {
            Self::Webhooks | Self::Events | Self::Letters => true,
            Self::Outcomes | Self::Attempts => false,
        }
    }

    /// Reads what [`Self::stream`] writes.
    pub(crate) fn parse(stream: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.stream() == stream)
    }
}
