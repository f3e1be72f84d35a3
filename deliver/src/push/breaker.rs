//! The circuit breaker of an endpoint: when it fails again and again, its consumer is paused, and after each pause one
//! push probes it. Kept in the consumer's metadata, so that all processes share it. Pure.

use std::fmt;

use schemas::ambient::Random;

use super::decide;

/// Failures in a row that open it.
const FAILURES: u32 = 10;
/// The first pause, and the longest, milliseconds.
const PAUSE: (i64, i64) = (5_000, 300_000);

/// Whether an endpoint is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    /// It is.
    Closed {
        /// How many of the last requests failed, in a row.
        failures: u32,
    },
    /// It is left alone until a time, milliseconds since the epoch; then one push probes it.
    Open {
        /// How often in a row it was opened.
        openings: u32,
        until: i64,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// After the consumer said what all processes go by, asked when it was so. Where it has opened or closed meanwhile,
    /// that is old.
    pub(super) fn adopting(self, asked: Self, stored: Option<Self>) -> Self {
        match (self, stored) {
            _ if asked.turns(self) => self,
            (_, Some(open)) => open,
            (Self::Open { .. }, None) => Self::default(),
            (Self::Closed { .. }, None) => self,
        }
    }

    /// Whether it opens, closes, or opens anew by becoming this: what all processes are told.
    pub(super) fn turns(self, after: Self) -> bool {
        self.until() != after.until()
    }

    fn until(self) -> Option<i64> {
        match self {
            Self::Open { until, .. } => Some(until),
            Self::Closed { .. } => None,
        }
    }

    /// After a success.
    pub(super) fn succeeded(self) -> Self {
        Self::default()
    }

    /// After a failure. While it is open only the probe's counts: others were under way when it opened.
    pub(super) fn failed(self, probe: bool, now: i64, random: &Random) -> Self {
        match self {
            Self::Closed { failures } if failures + 1 < FAILURES => Self::Closed { failures: failures + 1 },
            Self::Closed { .. } => Self::opened(1, now, random),
            Self::Open { openings, .. } if probe => Self::opened(openings.saturating_add(1), now, random),
            open @ Self::Open { .. } => open,
        }
    }

    /// After a probe that made no request: another may be claimed at once, for a claim is made for each opening's time.
    pub(super) fn unprobed(self, now: i64) -> Self {
        match self {
            Self::Open { openings, until } => Self::Open { openings, until: now.max(until + 1) },
            closed @ Self::Closed { .. } => closed,
        }
    }

    fn opened(openings: u32, now: i64, random: &Random) -> Self {
        let (first, longest) = PAUSE;
        let pause = first.saturating_mul(1 << (openings - 1).min(16)).min(longest);
        Self::Open { openings, until: now + decide::jitter(pause, random) }
    }

    /// Reads what its display writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (openings, until) = text.strip_prefix("open ")?.split_once(" until ")?;
        Some(Self::Open {
            openings: openings.parse().ok().filter(|openings| *openings > 0)?,
            until: until.parse().ok()?,
        })
    }
}

impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { .. } => f.write_str("closed"),
            Self::Open { openings, until } => write!(f, "open {openings} until {until}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn middle() -> Random {
        Random::new(|| u128::MAX / 2)
    }

    #[test]
    fn the_tenth_failure_in_a_row_opens_it() {
        let mut breaker = Breaker::default();
        for _ in 0..9 {
            breaker = breaker.failed(false, 0, &middle());
        }
        assert_eq!(breaker, Breaker::Closed { failures: 9 });
        assert_eq!(breaker.succeeded(), Breaker::default());
        assert!(breaker.failed(false, 0, &middle()).is_open());
    }

    #[test]
    fn each_failing_probe_doubles_the_pause_up_to_five_minutes() {
        let flat = Random::new(|| 0x80 << 120);
        let pause = |openings| match Breaker::opened(openings, 0, &flat) {
            Breaker::Open { until, .. } => (until + 500) / 1_000,
            Breaker::Closed { .. } => 0,
        };
        assert_eq!([1, 2, 3, 7, 40].map(pause), [5, 10, 20, 300, 300]);
        let open = Breaker::opened(3, 0, &flat);
        assert_eq!(open.failed(false, 9, &flat), open, "what was under way changes nothing");
        assert!(matches!(open.failed(true, 9, &flat), Breaker::Open { openings: 4, .. }));
    }

    #[test]
    fn a_probe_without_a_request_leaves_room_for_another() {
        let open = Breaker::Open { openings: 3, until: 1_000 };
        assert_eq!(open.unprobed(1_500), Breaker::Open { openings: 3, until: 1_500 });
        assert_eq!(open.unprobed(1_000), Breaker::Open { openings: 3, until: 1_001 });
        assert_eq!(Breaker::default().unprobed(5), Breaker::default());
    }

    #[test]
    fn what_the_consumer_said_before_it_opened_or_closed_here_is_old() {
        let (one, other) = (Breaker::Open { openings: 1, until: 1_000 }, Breaker::Open { openings: 2, until: 9_000 });
        let failing = |failures| Breaker::Closed { failures };
        assert_eq!(failing(0).adopting(one, Some(one)), failing(0), "a probe has come through");
        assert_eq!(one.adopting(failing(9), None), one, "it has just opened");
        assert_eq!(other.adopting(one, Some(one)), other, "its probe has failed");
        assert_eq!(failing(4).adopting(failing(3), Some(one)), one, "another process opened it");
        assert_eq!(one.adopting(one, Some(other)), other, "another process probed it");
        assert_eq!(one.adopting(one, None), failing(0), "another process closed it");
        assert_eq!(failing(4).adopting(failing(3), None), failing(4));
    }

    #[test]
    fn it_reads_back_from_the_metadata() {
        let open = Breaker::Open { openings: 3, until: 1_700_000_000_000 };
        assert_eq!(Breaker::parse(&open.to_string()), Some(open));
        for closed in ["closed", "", "open", "open 0 until 5", "open x until y"] {
            assert_eq!(Breaker::parse(closed), None, "{closed}");
        }
    }
}
