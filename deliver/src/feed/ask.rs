//! What a reader asks for.

use axum::http::HeaderMap;
use schemas::{
    caller::Caller,
    endpoint,
    fields::{Fault, Faults, check},
    instant,
};
use web::RequestError;

use crate::Error;

/// Patterns a reader may give.
const PATTERNS: usize = 50;

/// Events of one organisation, from some point on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    org: String,
    patterns: Vec<String>,
    history: bool,
    pub(super) from: From,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// With what comes.
    Now,
    /// With the first event that is held.
    First,
    /// Behind this sequence.
    After(u64),
    /// With what was stored at or after this time, milliseconds since the epoch.
    Since(i64),
}

impl Ask {
    /// Reads the query `orgId, types, history, from, since` and the header `Last-Event-ID`, which wins: it is what a
    /// reader sends that comes back.
    pub(super) fn read(query: &str, headers: &HeaderMap, caller: &Caller, now: i64) -> Result<Self, Error> {
        let mut faults = Faults::default();
        let mut ask = Self { org: String::new(), patterns: Vec::new(), history: false, from: From::Now };
        let mut org = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "orgId" => match check(&value) {
                    Ok(()) => org = Some(value.into_owned()),
                    Err(fault) => faults.add("orgId", fault),
                },
                "types" => match patterns(&value) {
                    Ok(patterns) => ask.patterns.extend(patterns),
                    Err(fault) => faults.add("types", fault),
                },
                "history" => match &*value {
                    "true" => ask.history = true,
                    "false" => ask.history = false,
                    _ => faults.add("history", Fault::MustBe("true or false")),
                },
                "from" => match from(&value) {
                    Some(from) => ask.from = from,
                    None => faults.add("from", Fault::MustBe("first, now or a sequence")),
                },
                "since" => match instant::moment(&value, now) {
                    Some(time) => ask.from = From::Since(time),
                    None => faults.add("since", Fault::MustBe("a time as in 15m or 2026-01-31T12:00:00Z")),
                },
                "lastEventId" => match value.parse() {
                    Ok(place) => ask.from = From::After(place),
                    Err(_) => faults.add("lastEventId", Fault::MustBe("a sequence")),
                },
                _ => {
                    faults.add("query", Fault::Says("knows orgId, types, history, from, since and lastEventId".into()))
                }
            }
        }
        if ask.patterns.len() > PATTERNS {
            faults.add("types", Fault::TooMany(PATTERNS));
        }
        if let Some(place) = headers.get("last-event-id") {
            match place.to_str().ok().and_then(|place| place.trim().parse().ok()) {
                Some(place) => ask.from = From::After(place),
                None => faults.add("Last-Event-ID", Fault::MustBe("a sequence")),
            }
        }
        match (org, &caller.org) {
            (Some(org), _) if !caller.sees(&org) => return Err(Error::NotFound),
            (Some(org), _) => ask.org = org,
            (None, Some(own)) => ask.org.clone_from(own),
            (None, None) => faults.add("orgId", Fault::Missing),
        }
        if ask.patterns.is_empty() {
            ask.patterns.push("*".to_owned());
        }
        if faults.is_empty() { Ok(ask) } else { Err(RequestError::Query(faults).into()) }
    }

    /// The subjects that hold what is asked for.
    pub(super) fn filters(&self) -> Vec<String> {
        endpoint::subject_filters(&self.org, &self.patterns, self.history)
    }

    /// Whether a type is asked for.
    pub(super) fn admits(&self, kind: &str) -> bool {
        endpoint::admits(&self.patterns, kind)
    }
}

fn patterns(list: &str) -> Result<Vec<String>, Fault> {
    let patterns = list.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
    let read = patterns.map(|pattern| match endpoint::is_pattern(pattern) {
        true => Ok(pattern.to_owned()),
        false => Err(Fault::MustBe("types, or patterns that end in :* or .*, or *")),
    });
    read.collect()
}

fn from(text: &str) -> Option<From> {
    match text {
        "now" => Some(From::Now),
        "first" => Some(From::First),
        sequence => sequence.parse().ok().map(|sequence: u64| From::After(sequence.saturating_sub(1))),
    }
}
