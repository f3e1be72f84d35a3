//! Reads what a body wants of an endpoint, with everything that is wrong of it.

use std::collections::BTreeMap;

use schemas::{
    endpoint::{
        DEFAULT_CONCURRENCY, DEFAULT_RETRY_SCHEDULE, DEFAULT_TIMEOUT, Endpoint, EndpointStatus, Format, is_pattern,
    },
    fields::{Fault, Faults, Fields},
    instant,
    seal::Broken,
    secret::Secret,
};
use serde_json::Value;

use super::{StartAt, headers, signing, url};
use crate::push::Reach;

const EVENTS_MAX: usize = 50;
const RETRIES_MAX: usize = 20;
const PAUSE_MAX: i64 = 7 * 86_400;
const TIMEOUT_MAX: i64 = 60;
const CONCURRENCY_MAX: i64 = 100;
const RATE_MAX: i64 = 10_000;
/// The largest whole number that every reader of JSON takes as it is.
pub(super) const SEQUENCE_MAX: i64 = (1 << 53) - 1;
/// For how long two secrets sign after a rotation, seconds: a day unless the body says otherwise, at most a month.
const GRACE: i64 = 86_400;
const GRACE_MAX: i64 = 30 * 86_400;

/// What can be set at any time.
const SETTABLE: [&str; 11] = [
    "url",
    "events",
    "format",
    "headers",
    "timeoutSeconds",
    "retrySchedule",
    "concurrency",
    "ratePerSecond",
    "ordered",
    "history",
    "status",
];
/// What is chosen once.
const ONCE: [&str; 3] = ["orgId", "start", "secret"];
/// What an answer shows and a change may send back as it is.
const SHOWN: [&str; 4] = ["id", "orgId", "createdAt", "statusReason"];
/// Shown too, and other a moment later: whatever a body says of it is passed over.
pub(super) const PASSING: [&str; 2] = ["previousSecretUntil", "breakerOpenUntil"];

/// What a body wants: the endpoint, and its headers where it names them.
pub(crate) struct Wishes {
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: Option<BTreeMap<String, String>>,
}

/// An endpoint to be made.
pub(crate) struct New {
    pub(crate) wishes: Wishes,
    pub(crate) secret: Option<Secret>,
    /// Where to start; none is now.
    pub(crate) start: Option<StartAt>,
}

impl New {
    /// Reads a body. The organisation is the caller's where the body names none.
    pub(crate) fn read(
        body: &Value,
        id: String,
        own_org: Option<&str>,
        reach: &Reach,
        now: i64,
    ) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        fields.only(&[&SETTABLE[..], &ONCE].concat());
        let org = match own_org {
            Some(own) if fields.get("orgId").is_none() => own,
            _ => fields.required("orgId").unwrap_or_default(),
        };
        let mut endpoint = defaults(id, org.to_owned());
        if !fields.names("url") {
            fields.faults.add("url", Fault::Missing);
        }
        settings(&mut fields, &mut endpoint, reach);
        let headers = Some(headers::read(&mut fields, || Ok::<_, Broken>(BTreeMap::new())));
        let secret = signing::read(&mut fields);
        let start = start(&mut fields, now);
        fields.faults.none_or(Some(Self { wishes: Wishes { endpoint, headers }, secret, start }))
    }
}

impl Wishes {
    /// Reads a change of an endpoint. `shown` is how it is shown now; `stored` gives the headers it has.
    pub(crate) fn change(
        body: &Value,
        mut endpoint: Endpoint,
        shown: &Value,
        stored: impl FnOnce() -> Result<BTreeMap<String, String>, Broken>,
        reach: &Reach,
    ) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        fields.only(&[&SETTABLE[..], &SHOWN, &PASSING, &["start", "secret"]].concat());
        for name in SHOWN {
            if fields.get(name).is_some_and(|value| *value != shown[name]) {
                fields.faults.add(name, Fault::Says("cannot be changed".into()));
            }
        }
        if fields.names("start") {
            fields.faults.add("start", Fault::Says("cannot be changed: it is chosen when the endpoint is made".into()));
        }
        if fields.names("secret") {
            fields.faults.add("secret", Fault::Says("is changed by a rotation: POST to secret/rotate".into()));
        }
        settings(&mut fields, &mut endpoint, reach);
        let headers = fields.names("headers").then(|| headers::read(&mut fields, stored));
        fields.faults.none_or(Some(Self { endpoint, headers }))
    }
}

/// A rotation: for how many seconds the secret before goes on signing, and perhaps the new secret.
#[derive(Debug)]
pub(crate) struct Rotation {
    pub(crate) grace: i64,
    pub(crate) secret: Option<Secret>,
}

impl Rotation {
    pub(crate) fn read(body: &Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        fields.only(&["graceSeconds", "secret"]);
        let grace = fields.number("graceSeconds", 0, GRACE_MAX).unwrap_or(GRACE);
        let secret = signing::read(&mut fields);
        fields.faults.none_or(Some(Self { grace, secret }))
    }
}

fn defaults(id: String, org_id: String) -> Endpoint {
    Endpoint {
        id,
        org_id,
        url: String::new(),
        events: vec!["*".to_owned()],
        format: Format::default(),
        headers: BTreeMap::new(),
        timeout_seconds: DEFAULT_TIMEOUT,
        retry_schedule: DEFAULT_RETRY_SCHEDULE.to_vec(),
        concurrency: DEFAULT_CONCURRENCY,
        rate_per_second: None,
        ordered: false,
        history: false,
        status: EndpointStatus::default(),
    }
}

/// Everything that can be set at any time, but the headers. What is not named stays; null is the default again.
fn settings(fields: &mut Fields<'_>, endpoint: &mut Endpoint, reach: &Reach) {
    let fresh = defaults(String::new(), String::new());
    set(fields, "url", &mut endpoint.url, fresh.url, |fields| address(fields, reach));
    set(fields, "events", &mut endpoint.events, fresh.events, events);
    set(fields, "format", &mut endpoint.format, fresh.format, |fields| {
        known(fields, "format", Format::parse, "envelope, cloudevents")
    });
    set(fields, "timeoutSeconds", &mut endpoint.timeout_seconds, fresh.timeout_seconds, |fields| {
        fields.number("timeoutSeconds", 1, TIMEOUT_MAX).and_then(|seconds| u16::try_from(seconds).ok())
    });
    set(fields, "retrySchedule", &mut endpoint.retry_schedule, fresh.retry_schedule, retries);
    set(fields, "concurrency", &mut endpoint.concurrency, fresh.concurrency, |fields| {
        fields.number("concurrency", 1, CONCURRENCY_MAX).and_then(|most| u16::try_from(most).ok())
    });
    set(fields, "ratePerSecond", &mut endpoint.rate_per_second, None, |fields| {
        fields.number("ratePerSecond", 1, RATE_MAX).map(|rate| u32::try_from(rate).ok())
    });
    set(fields, "ordered", &mut endpoint.ordered, false, |fields| fields.flag("ordered"));
    set(fields, "history", &mut endpoint.history, false, |fields| fields.flag("history"));
    set(fields, "status", &mut endpoint.status, fresh.status, |fields| {
        known(fields, "status", EndpointStatus::parse, "active, paused, disabled")
    });
    if endpoint.ordered {
        if endpoint.concurrency != 1 && fields.get("concurrency").is_some() {
            fields.faults.add("concurrency", Fault::Says("must be 1 while ordered is true".into()));
        }
        endpoint.concurrency = 1;
    }
}

fn set<'a, T>(
    fields: &mut Fields<'a>,
    name: &str,
    slot: &mut T,
    default: T,
    read: impl FnOnce(&mut Fields<'a>) -> Option<T>,
) {
    if fields.names(name) {
        *slot = read(fields).unwrap_or(default);
    }
}

fn address(fields: &mut Fields<'_>, reach: &Reach) -> Option<String> {
    let fault = match fields.get("url") {
        None => Fault::Missing,
        Some(Value::String(text)) => match url::check(text, reach) {
            Ok(()) => return Some(text.clone()),
            Err(fault) => fault,
        },
        Some(_) => Fault::MustBe("a text"),
    };
    fields.fault("url", fault)
}

fn known<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    all: &'static str,
) -> Option<T> {
    let text = fields.optional(name)?;
    parse(text).or_else(|| fields.fault(name, Fault::OneOf(all.to_owned())))
}

/// The entries of a list, each read by itself; those that cannot be are said by their place.
fn list<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    most: usize,
    read: impl Fn(&Value) -> Option<T>,
    wanted: &str,
) -> Option<Vec<T>> {
    let entries = match fields.get(name)? {
        Value::Array(entries) if entries.len() > most => return fields.fault(name, Fault::TooMany(most)),
        Value::Array(entries) => entries,
        _ => return fields.fault(name, Fault::MustBe("a list")),
    };
    let mut list = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        match read(entry) {
            Some(read) => list.push(read),
            None => fields.faults.add(name, Fault::Says(format!("entry {at} is not {wanted}").into())),
        }
    }
    Some(list)
}

fn events(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let pattern = |entry: &Value| entry.as_str().filter(|text| is_pattern(text)).map(str::to_owned);
    let patterns =
        list(fields, "events", EVENTS_MAX, pattern, "a type, a type or provider that ends in *, or * itself")?;
    if patterns.is_empty() && fields.get("events").is_some_and(|value| value.as_array().is_some_and(Vec::is_empty)) {
        return fields.fault("events", Fault::Says("must have at least one entry; [\"*\"] is all".into()));
    }
    Some(patterns)
}

fn retries(fields: &mut Fields<'_>) -> Option<Vec<u32>> {
    let pause = |entry: &Value| {
        let seconds = entry.as_i64().filter(|seconds| (1..=PAUSE_MAX).contains(seconds))?;
        u32::try_from(seconds).ok()
    };
    list(fields, "retrySchedule", RETRIES_MAX, pause, "a whole number of seconds, 1 to 604800")
}

/// `"now"`, a time, or a sequence.
fn start(fields: &mut Fields<'_>, now: i64) -> Option<StartAt> {
    const FORM: Fault =
        Fault::Says(std::borrow::Cow::Borrowed("must be \"now\", an RFC 3339 time or a sequence in GW_EVENT"));
    match fields.get("start")? {
        Value::String(text) if text == "now" => None,
        Value::String(text) => match instant::parse(text) {
            Some(time) if time > now => fields.fault("start", Fault::Says("must not be in the future".into())),
            Some(time) => Some(StartAt::Time(time)),
            None => fields.fault("start", FORM),
        },
        Value::Number(_) => {
            let sequence = fields.number("start", 1, SEQUENCE_MAX)?;
            u64::try_from(sequence).ok().map(StartAt::Sequence)
        }
        _ => fields.fault("start", FORM),
    }
}
