//! Replays: what is asked for, and how far it is. The command's body, the job's state, and the API's names.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type},
};

/// Messages a second unless the request says otherwise.
pub const DEFAULT_RATE: u32 = 1_000;
/// The most messages a second that can be asked for.
pub const RATE_MAX: u32 = 1_000_000;
/// Organisations, endpoints or reasons that are counted by name; the rest is counted together.
const NAMES: usize = 500;
/// The name of the rest.
const OTHERS: &str = "others";

/// A replay that somebody wants: the body of `gw.replay.requested`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayRequest)]
pub struct Request {
    /// `rpl_` and 26 characters; asked for twice it runs once.
    pub id: String,
    /// From what to what.
    pub mode: Mode,
    /// Where the events of a redelivery go.
    #[serde(default)]
    pub to: Target,
    /// One organisation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// One provider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// One type or pattern only, as endpoints have them: `github:pull-request.*`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// These endpoints only; none means all of the events' organisations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoint_ids: Vec<String>,
    /// What was stored at or after this time, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// What was stored before this time, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// What has this sequence or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_sequence: Option<u64>,
    /// What has this sequence or an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_sequence: Option<u64>,
    /// Only pushes whose last attempt failed.
    #[serde(default)]
    pub only_failed: bool,
    /// Only deliveries that were stored and never routed.
    #[serde(default)]
    pub only_undelivered: bool,
    /// Count, and publish nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// How fast.
    #[serde(default)]
    pub rate_per_second: Rate,
    /// When it was asked for, milliseconds since the epoch.
    #[serde(default)]
    pub requested_at: i64,
}

/// What a replay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReplayMode)]
pub enum Mode {
    /// The same events again.
    Redeliver,
    /// New events from the stored deliveries, through today's links and normalisers.
    Reroute,
}

impl Mode {
    /// As the API has it, and the worker whose tasks these are.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redeliver => REDELIVER,
            Self::Reroute => REROUTE,
        }
    }
}

/// The worker of redeliveries.
pub const REDELIVER: &str = "redeliver";
/// The worker of reroutes.
pub const REROUTE: &str = "reroute";
/// The worker of dead letters that go back to the router.
pub const REDRIVE: &str = "redrive";

/// Where redelivered events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReplayTarget)]
pub enum Target {
    /// To the endpoints of their organisations.
    #[default]
    Endpoints,
    /// To subjects of the replay's own, in `GW_REPLAY`.
    Subject,
}

/// How fast a replay may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rate {
    /// So many messages a second.
    PerSecond(u32),
    /// As fast as the broker and whoever goes first allow.
    Word(Max),
}

/// The word `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Max {
    /// Without a cap.
    Max,
}

impl Rate {
    /// Without a cap.
    pub const MAX: Self = Self::Word(Max::Max);

    /// The cap, where there is one.
    #[must_use]
    pub fn cap(self) -> Option<u32> {
        match self {
            Self::PerSecond(rate) => Some(rate.max(1)),
            Self::Word(Max::Max) => None,
        }
    }
}

impl PartialSchema for Rate {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(RATE_MAX));
        let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["max"]));
        OneOfBuilder::new().item(number).item(word).description(Some("Messages a second, or `max`.")).into()
    }
}

impl ToSchema for Rate {
    fn name() -> Cow<'static, str> {
        "ReplayRate".into()
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::PerSecond(DEFAULT_RATE)
    }
}

/// A replay as its job keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// What was asked for.
    pub request: Request,
    /// How it stands.
    pub status: Status,
    /// The first sequence it reads.
    pub from: u64,
    /// The last, fixed when it began.
    pub to: u64,
    /// The sequence it goes on with.
    pub next: u64,
    /// What it did so far.
    pub counts: Counts,
    /// The last of the copies that these counts tell of, in `GW_REPLAY`.
    #[serde(default)]
    pub landed: u64,
    /// Milliseconds since the epoch.
    pub started_at: i64,
    /// When this was written, milliseconds since the epoch.
    pub updated_at: i64,
    /// When it ended, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// What it waits for now: `live-traffic`, `endpoints`, `retries`, `routes`, `directory`, `replica`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReplayStatus)]
pub enum Status {
    /// It goes on, also after a restart.
    Running,
    /// Everything in its range was read.
    Done,
    /// Somebody ended it.
    Cancelled,
    /// It gave up.
    Failed,
}

impl Status {
    /// As the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Cancelled, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// What a replay did, or in a dry run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayCounts)]
pub struct Counts {
    /// Messages of its range that were looked at.
    pub read: u64,
    /// Pushes asked for, or events stored.
    pub published: u64,
    /// What was not, by reason.
    #[serde(default)]
    pub skipped: BTreeMap<String, u64>,
    /// What was published, by organisation.
    #[serde(default)]
    pub organisations: BTreeMap<String, u64>,
    /// What was published, by endpoint.
    #[serde(default)]
    pub endpoints: BTreeMap<String, u64>,
}

impl Counts {
    /// One more was published for an organisation, and perhaps an endpoint.
    pub fn publish(&mut self, org: &str, endpoint: Option<&str>) {
        self.published += 1;
        add(&mut self.organisations, org, 1);
        if let Some(endpoint) = endpoint {
            add(&mut self.endpoints, endpoint, 1);
        }
    }

    /// One more was not, for this reason.
    pub fn skip(&mut self, why: &str) {
        add(&mut self.skipped, why, 1);
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, more: &Self) {
        self.read += more.read;
        self.published += more.published;
        for (mine, theirs) in [
            (&mut self.skipped, &more.skipped),
            (&mut self.organisations, &more.organisations),
            (&mut self.endpoints, &more.endpoints),
        ] {
            for (name, count) in theirs {
                add(mine, name, *count);
            }
        }
    }
}

/// A state stays small however many names there are.
fn add(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    let name = if counts.len() < NAMES || counts.contains_key(name) { name } else { OTHERS };
    *counts.entry(name.to_owned()).or_default() += count;
}

impl Replay {
    /// Whether nothing is left to do.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.status != Status::Running
    }

    /// How much of its range it has read, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.status == Status::Done || self.to < self.from {
            return 1.0;
        }
        let all = self.to - self.from + 1;
        (self.next.saturating_sub(self.from).min(all)) as f64 / all as f64
    }

    /// Messages read a second so far.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let millis = (self.ended_at.unwrap_or(self.updated_at) - self.started_at).max(1);
        self.counts.read as f64 * 1_000.0 / millis as f64
    }

    /// How long the rest takes at the pace so far, seconds.
    #[must_use]
    pub fn eta(&self) -> Option<u64> {
        let done = self.progress();
        (!self.ended() && done > 0.0).then(|| {
            let elapsed = (self.updated_at - self.started_at).max(0) as f64 / 1_000.0;
            (elapsed * (1.0 - done) / done).ceil() as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replay(from: u64, to: u64, next: u64) -> Replay {
        let request = serde_json::from_value(json!({ "id": "rpl_1", "mode": "reroute" })).expect("a request");
        Replay {
            request,
            status: Status::Running,
            from,
            to,
            next,
            counts: Counts { read: 50, ..Counts::default() },
            landed: 0,
            started_at: 1_000,
            updated_at: 6_000,
            ended_at: None,
            waits_for: None,
            failure: None,
        }
    }

    #[test]
    fn a_rate_is_a_number_or_the_word_max() {
        let read = |value| serde_json::from_value::<Rate>(value).ok().map(Rate::cap);
        assert_eq!(read(json!(5)), Some(Some(5)));
        assert_eq!(read(json!("max")), Some(None));
        assert_eq!(read(json!("fast")), None);
        assert_eq!(serde_json::to_value(Rate::MAX).ok(), Some(json!("max")));
        assert_eq!(replay(1, 1, 1).request.rate_per_second.cap(), Some(DEFAULT_RATE));
    }

    #[test]
    fn progress_is_the_part_of_the_range_that_was_read() {
        let half = replay(101, 200, 151);
        assert!((half.progress() - 0.5).abs() < 1e-9);
        assert_eq!((half.rate() as u64, half.eta()), (10, Some(5)));
        assert!((replay(5, 4, 5).progress() - 1.0).abs() < 1e-9, "an empty range");
        assert_eq!(Replay { status: Status::Cancelled, ..half }.eta(), None);
    }

    #[test]
    fn counts_by_name_stay_few() {
        let mut counts = Counts::default();
        for number in 0..2_000 {
            counts.publish(&format!("org_{number}"), None);
        }
        assert_eq!(counts.published, 2_000);
        assert!(counts.organisations.len() <= NAMES + 1);
        assert_eq!(counts.organisations.values().sum::<u64>(), 2_000);
    }
}
