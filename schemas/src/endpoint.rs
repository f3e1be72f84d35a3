//! Endpoints: HTTP addresses that an organisation wants its events pushed to.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{event_type::TypeKey, provider, subject, token::SubjectToken};

/// How long a receiver may take unless the endpoint says otherwise, seconds.
pub const DEFAULT_TIMEOUT: u16 = 15;
/// Pauses between attempts unless the endpoint says otherwise, seconds. Close to the schedule that Standard Webhooks
/// gives as an example, <https://github.com/standard-webhooks/standard-webhooks>.
pub const DEFAULT_RETRY_SCHEDULE: [u32; 9] = [5, 30, 120, 900, 3_600, 10_800, 21_600, 43_200, 86_400];
/// Requests at once unless the endpoint says otherwise.
pub const DEFAULT_CONCURRENCY: u16 = 4;
/// How soon every process reads by a changed filter, milliseconds: what is stored later is owed by it.
pub const CHANGE_APPLIES: i64 = 5_000;
/// Under this name an endpoint's breaker stands in the metadata of its consumer.
pub const BREAKER: &str = "gw-breaker";
/// The most subject filters a consumer gets: the broker slows down with many.
const FILTERS: usize = 8;

/// Until when an endpoint that failed again and again is left alone, milliseconds since the epoch, as its breaker says.
/// None while it is not.
#[must_use]
pub fn left_alone_until(breaker: &str) -> Option<i64> {
    breaker.strip_prefix("open ")?.split_once(" until ")?.1.parse().ok()
}

/// What an organisation wants of an endpoint: the rules of its pushes, and the API's names for them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `ep_` and 26 characters.
    pub id: String,
    /// The organisation whose events it gets.
    pub org_id: String,
    /// Where requests go.
    pub url: String,
    /// Which events, see [`admits`].
    pub events: Vec<String>,
    /// How an event is written into a request.
    pub format: Format,
    /// Sent with each request, beside our own.
    pub headers: BTreeMap<String, String>,
    /// How long a receiver may take, seconds.
    pub timeout_seconds: u16,
    /// Pauses between attempts, seconds; one attempt more than there are pauses.
    pub retry_schedule: Vec<u32>,
    /// Requests at once.
    pub concurrency: u16,
    /// Requests a second at most.
    pub rate_per_second: Option<u32>,
    /// One event at a time, in their order; a failing one holds up those behind it.
    pub ordered: bool,
    /// Whether it also gets backfilled and replayed events.
    pub history: bool,
    /// Whether it gets requests now.
    pub status: EndpointStatus,
}

impl fmt::Debug for Endpoint {
    /// The values of its headers may be secret: their names are enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("org_id", &self.org_id)
            .field("url", &self.url)
            .field("events", &self.events)
            .field("format", &self.format)
            .field("headers", &self.headers.keys())
            .field("timeout_seconds", &self.timeout_seconds)
            .field("retry_schedule", &self.retry_schedule)
            .field("concurrency", &self.concurrency)
            .field("rate_per_second", &self.rate_per_second)
            .field("ordered", &self.ordered)
            .field("history", &self.history)
            .field("status", &self.status)
            .finish()
    }
}

/// How an event is written into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The event's JSON as it is stored.
    #[default]
    Envelope,
    /// CloudEvents in binary mode: attributes as `ce-` headers, the same JSON as data.
    Cloudevents,
}

impl Format {
    /// As the API and the database have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Cloudevents => "cloudevents",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Envelope, Self::Cloudevents].into_iter().find(|format| format.as_str() == text)
    }
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointStatus {
    /// It does.
    #[default]
    Active,
    /// Not now; everything waits for it.
    Paused,
    /// Not any more, until somebody activates it: its place is kept, and what was scheduled is dead.
    Disabled,
}

impl EndpointStatus {
    /// As the API and the database have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Disabled].into_iter().find(|status| status.as_str() == text)
    }
}

/// Whether patterns admit a normalised type: `github:pull-request.opened`, `github:pull-request.*`, `github:*`, `*`.
#[must_use]
pub fn admits(patterns: &[String], kind: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(stem) => kind.starts_with(stem) || stem.strip_suffix('.') == Some(kind),
        None => pattern == kind,
    })
}

/// Whether a pattern has a form that [`admits`] can match.
#[must_use]
pub fn is_pattern(pattern: &str) -> bool {
    let stem = pattern.strip_suffix('*').unwrap_or(pattern);
    let form = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    let whole = stem.len() == pattern.len();
    let known = |stem: &str| stem.split_once(':').is_some_and(|(id, _)| provider::find(id).is_some());
    pattern == "*"
        || pattern.len() <= 200
            && stem.bytes().all(form)
            && known(stem)
            && if whole { !stem.ends_with([':', '.']) } else { stem.ends_with([':', '.']) }
}

/// What [`is_pattern`] takes, for the description of the API.
#[derive(Debug)]
pub enum Pattern {}

impl PartialSchema for Pattern {
    fn schema() -> RefOr<Schema> {
        let ids: Vec<&str> = provider::ALL.iter().map(|provider| provider.id).collect();
        let ids = ids.join("|");
        let form = format!(r"^(\*|({ids}):([A-Za-z0-9_.:-]*[A-Za-z0-9_-]|([A-Za-z0-9_.:-]*[.:])?\*))$");
        ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(200))
            .pattern(Some(form))
            .description(Some("A type, `<provider>:<entity>.*`, `<provider>:*`, or `*`."))
            .into()
    }
}

impl ToSchema for Pattern {
    fn name() -> Cow<'static, str> {
        "EventPattern".into()
    }
}

/// The subjects of `GW_EVENT` that hold everything the patterns admit: a few, and none within another. Finer
/// patterns are applied to what arrives.
#[must_use]
pub fn subject_filters(org: &str, patterns: &[String], history: bool) -> Vec<String> {
    filters(org, patterns, if history { &[false, true] } else { &[false] })
}

/// The same for history alone: live traffic and history are read by a consumer each.
#[must_use]
pub fn history_filters(org: &str, patterns: &[String]) -> Vec<String> {
    filters(org, patterns, &[true])
}

fn filters(org: &str, patterns: &[String], lanes: &[bool]) -> Vec<String> {
    let mut tails: Vec<String> = patterns.iter().map(|pattern| tail(pattern)).collect();
    tails.sort();
    tails.dedup();
    let within = |tail: &str| {
        tails.iter().any(|wider| wider != tail && wider.strip_suffix('>').is_some_and(|stem| tail.starts_with(stem)))
    };
    let mut widest: Vec<&str> = tails.iter().filter(|tail| !within(tail)).map(String::as_str).collect();
    if widest.len() * lanes.len() > FILTERS || widest.is_empty() {
        widest = vec![">"];
    }
    let all = lanes.iter().flat_map(|history| widest.iter().map(|tail| subject::events_within(*history, org, tail)));
    all.collect()
}

/// What stands behind the organisation in the subjects of a pattern's events: `<provider>.<entity>.<action>.<id>`.
fn tail(pattern: &str) -> String {
    let Some((provider, own)) = pattern.split_once(':') else { return ">".to_owned() };
    let provider = SubjectToken::new(provider);
    match own.strip_suffix('*') {
        Some("") => format!("{provider}.>"),
        Some(stem) => match stem.strip_suffix('.') {
            Some(entity) if !entity.contains('.') => format!("{provider}.{}.>", SubjectToken::new(entity)),
            _ => format!("{provider}.>"),
        },
        None => {
            // An entity may hold a dot of its own; only the registry knows where the action begins.
            let dots = own.matches('.').count();
            let key = match own.split_once('.') {
                _ if dots > 1 => return format!("{provider}.>"),
                Some((entity, action)) => TypeKey { entity: entity.to_owned(), action: Some(action.to_owned()) },
                None => TypeKey { entity: own.to_owned(), action: None },
            };
            let action = SubjectToken::optional(key.action.as_deref());
            format!("{provider}.{}.{action}.*", SubjectToken::new(&key.entity))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<String> {
        list.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    #[test]
    fn a_pattern_is_a_key_or_ends_in_a_star() {
        for good in ["*", "github:*", "github:push", "github:pull-request.*", "sentry:event-alert"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "push", "github", "github:", "nobody:*", "github:pu*", "github:push.", "*:push", "github:a b"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn patterns_admit_what_they_spell() {
        assert!(admits(&patterns(&["*"]), "github:push"));
        assert!(admits(&patterns(&["linear:*", "github:pull-request.*"]), "github:pull-request.opened"));
        assert!(!admits(&patterns(&["github:pull-request.*"]), "github:pull-request-review.submitted"));
        assert!(!admits(&patterns(&["github:push"]), "github:push.tag"));
        assert!(!admits(&[], "github:push"));
    }

    #[test]
    fn subject_filters_are_few_and_never_one_within_another() {
        let filters = |list: &[&str], history| subject_filters("org_1", &patterns(list), history);
        assert_eq!(filters(&["*", "github:push"], false), ["gw.event.org_1.>"]);
        assert_eq!(
            filters(&["github:push", "linear:*", "linear:issue.created", "github:issue.*"], false),
            ["gw.event.org_1.github.issue.>", "gw.event.org_1.github.push.~.*", "gw.event.org_1.linear.>"]
        );
        assert_eq!(
            filters(&["github:push"], true),
            ["gw.event.org_1.github.push.~.*", "gw.history.event.org_1.github.push.~.*"]
        );
        assert_eq!(history_filters("org_1", &patterns(&["github:push"])), ["gw.history.event.org_1.github.push.~.*"]);
        let five: Vec<String> = (0..5).map(|index| format!("github:e{index}")).collect();
        assert!(history_filters("org_1", &five).iter().all(|filter| filter.starts_with("gw.history.event.org_1.")));
        let many: Vec<String> = (0..9).map(|index| format!("github:e{index}")).collect();
        assert_eq!(subject_filters("org_1", &many, false), ["gw.event.org_1.>"]);
        assert_eq!(history_filters("org_1", &many), ["gw.history.event.org_1.>"]);
    }
}
