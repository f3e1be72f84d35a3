//! What follows from how a request ended. Pure.

use schemas::{ambient::Random, endpoint::Endpoint};

use super::client::{Ending, Failure};

/// How often a push is tried that the receiver refuses for good, beside the first time.
const SHORT: usize = 3;
/// The pause of an ordered endpoint whose schedule has none.
const HOLD: u32 = 60;

/// What is to be done with a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The receiver took it.
    Delivered,
    /// Again at this time, milliseconds since the epoch.
    Again(i64),
    /// It is a dead letter.
    Dead(Reason),
}

/// Why a push is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The last attempt of the schedule failed.
    Exhausted,
    /// The receiver refuses it, or cannot be reached by rule.
    Permanent,
    /// The receiver is gone, and the endpoint disabled.
    Gone,
    /// The endpoint is disabled.
    Disabled,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Gone => "gone",
            Self::Disabled => "disabled",
        }
    }
}

/// What kind of ending it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Success,
    /// 410.
    Gone,
    /// Asking again will hardly help.
    Refused,
    /// Time may help.
    Failure,
}

impl Ending {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Answered { status: 200..=299, .. } => Kind::Success,
            Self::Answered { status: 410, .. } => Kind::Gone,
            Self::Answered { status: 400 | 401 | 403 | 404 | 422, .. } | Self::Failed(Failure::Blocked) => {
                Kind::Refused
            }
            Self::Answered { .. } | Self::Failed(_) => Kind::Failure,
        }
    }

    /// The error class of an attempt; none where it succeeded.
    pub(super) fn class(&self) -> Option<&'static str> {
        match self {
            Self::Answered { status: 200..=299, .. } => None,
            Self::Answered { status: 300..=399, .. } => Some("redirect"),
            Self::Answered { .. } => Some("status"),
            Self::Failed(failure) => Some(failure.as_str()),
        }
    }
}

/// What has been tried of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tries {
    /// Requests made, the last one included.
    pub(super) attempt: u32,
    /// How many of the last ones were refused for good, in a row.
    pub(super) refusals: u32,
}

impl Tries {
    /// Before the first request.
    pub(super) const NONE: Self = Self { attempt: 0, refusals: 0 };

    /// One more request ended.
    pub(super) fn and(self, kind: Kind) -> Self {
        let refusals = if kind == Kind::Refused { self.refusals + 1 } else { 0 };
        Self { attempt: self.attempt + 1, refusals }
    }
}

/// Decides. `holds`: the push keeps its place in the order, and is tried until it succeeds.
pub(super) fn next(endpoint: &Endpoint, tries: Tries, ending: &Ending, holds: bool, now: i64, random: &Random) -> Next {
    match (after(endpoint, tries, ending.kind(), holds, now, random), ending) {
        (Next::Again(scheduled), Ending::Answered { retry_at: Some(at), .. }) => Next::Again(scheduled.max(*at)),
        (next, _) => next,
    }
}

/// The same for a kind of ending, whatever the receiver wishes.
pub(super) fn after(endpoint: &Endpoint, tries: Tries, kind: Kind, holds: bool, now: i64, random: &Random) -> Next {
    let schedule = &endpoint.retry_schedule;
    let pause = |index: u32| schedule.get(index as usize).copied();
    let (pause, reason) = match kind {
        Kind::Success => return Next::Delivered,
        Kind::Gone => return Next::Dead(Reason::Gone),
        _ if holds => {
            let last = schedule.last().copied().unwrap_or(HOLD);
            (Some(pause(tries.attempt - 1).unwrap_or(last)), Reason::Exhausted)
        }
        Kind::Refused => (pause(tries.refusals - 1).filter(|_| tries.refusals as usize <= SHORT), Reason::Permanent),
        Kind::Failure => (pause(tries.attempt - 1), Reason::Exhausted),
    };
    let Some(pause) = pause else { return Next::Dead(reason) };
    Next::Again(now + jitter(i64::from(pause) * 1_000, random))
}

/// A time within a fifth of this many milliseconds.
pub(super) fn jitter(millis: i64, random: &Random) -> i64 {
    let [high, low, ..] = random.bytes();
    let share = i64::from(u16::from_be_bytes([high, low]));
    millis * 4 / 5 + millis * 2 / 5 * share / 65_536
}

#[cfg(test)]
mod tests {
    use schemas::endpoint::{EndpointStatus, Format};

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn endpoint(schedule: &[u32]) -> Endpoint {
        Endpoint {
            id: "ep_1".to_owned(),
            org_id: "org_1".to_owned(),
            url: "https://hooks.example/".to_owned(),
            events: vec!["*".to_owned()],
            format: Format::Envelope,
            headers: std::collections::BTreeMap::new(),
            timeout_seconds: 15,
            retry_schedule: schedule.to_vec(),
            concurrency: 4,
            rate_per_second: None,
            ordered: false,
            history: false,
            status: EndpointStatus::Active,
        }
    }

    fn answered(status: u16) -> Ending {
        Ending::Answered { status, retry_at: None }
    }

    /// What follows the nth attempt that ended like this, each like the one before.
    fn outcome(schedule: &[u32], attempt: u32, ending: &Ending, holds: bool) -> Next {
        let middle = Random::new(|| 0x80 << 120);
        let tries = (0..attempt).fold(Tries::NONE, |tries, _| tries.and(ending.kind()));
        next(&endpoint(schedule), tries, ending, holds, NOW, &middle)
    }

    fn seconds(next: Next) -> Option<i64> {
        match next {
            Next::Again(at) => Some((at - NOW + 500) / 1_000),
            _ => None,
        }
    }

    #[test]
    fn only_2xx_is_success_and_410_is_the_end() {
        for status in [200, 202, 204, 299] {
            assert_eq!(outcome(&[5], 1, &answered(status), false), Next::Delivered);
        }
        for status in [301, 302, 304, 402, 408, 429, 500, 503] {
            assert_eq!(seconds(outcome(&[5], 1, &answered(status), false)), Some(5), "{status}");
        }
        assert_eq!(outcome(&[5], 1, &answered(410), false), Next::Dead(Reason::Gone));
    }

    #[test]
    fn failures_follow_the_schedule_to_its_end() {
        let schedule = [5, 30, 120, 900];
        for failure in [answered(500), Ending::Failed(Failure::Timeout)] {
            let pauses: Vec<_> = (1..=4).map(|attempt| seconds(outcome(&schedule, attempt, &failure, false))).collect();
            assert_eq!(pauses, [Some(5), Some(30), Some(120), Some(900)]);
            assert_eq!(outcome(&schedule, 5, &failure, false), Next::Dead(Reason::Exhausted));
        }
        assert_eq!(outcome(&[], 1, &answered(500), false), Next::Dead(Reason::Exhausted));
    }

    #[test]
    fn what_is_refused_for_good_is_tried_three_times_more() {
        let schedule = [5, 30, 120, 900];
        for refusal in [answered(404), Ending::Failed(Failure::Blocked)] {
            let pauses: Vec<_> = (1..=3).map(|attempt| seconds(outcome(&schedule, attempt, &refusal, false))).collect();
            assert_eq!(pauses, [Some(5), Some(30), Some(120)]);
            assert_eq!(outcome(&schedule, 4, &refusal, false), Next::Dead(Reason::Permanent));
        }
        assert_eq!(outcome(&[5], 2, &answered(400), false), Next::Dead(Reason::Permanent));
    }

    #[test]
    fn a_refusal_after_an_outage_begins_the_short_schedule() {
        let outage = (0..9).fold(Tries::NONE, |tries, _| tries.and(Kind::Failure));
        let tries = outage.and(Kind::Refused);
        let decided = next(&endpoint(&[5, 30]), tries, &answered(404), false, NOW, &Random::new(|| 0));
        assert_eq!(decided, Next::Again(NOW + 4_000));
    }

    #[test]
    fn what_keeps_its_place_is_tried_at_the_last_pause_for_ever() {
        assert_eq!(seconds(outcome(&[5, 30], 2, &answered(500), true)), Some(30));
        assert_eq!(seconds(outcome(&[5, 30], 99, &answered(404), true)), Some(30));
        assert_eq!(seconds(outcome(&[], 1, &answered(500), true)), Some(60));
        assert_eq!(outcome(&[5], 9, &answered(410), true), Next::Dead(Reason::Gone));
    }

    #[test]
    fn the_receiver_may_put_it_off_and_never_hasten_it() {
        let later = Ending::Answered { status: 429, retry_at: Some(NOW + 60_000) };
        assert_eq!(outcome(&[5], 1, &later, false), Next::Again(NOW + 60_000));
        let sooner = Ending::Answered { status: 503, retry_at: Some(NOW + 1_000) };
        assert_eq!(seconds(outcome(&[5], 1, &sooner, false)), Some(5));
    }

    #[test]
    fn jitter_is_a_fifth_at_most() {
        assert_eq!(jitter(1_000, &Random::new(|| 0)), 800);
        assert_eq!(jitter(1_000, &Random::new(|| 0x80 << 120)), 1_000);
        assert_eq!(jitter(1_000, &Random::new(|| u128::MAX)), 1_199);
    }
}
