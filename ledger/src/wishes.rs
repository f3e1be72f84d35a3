//! What endpoints admitted when. The rows are the endpoints' own; the ledger only reads them.

use std::collections::{BTreeMap, HashMap};

use schemas::endpoint::{self, CHANGE_APPLIES};
use store::{Columns, Db, Error};

use crate::facts::{EventRow, PushRow};

/// What an endpoint admitted from some time on.
#[derive(Clone, Debug)]
struct Version {
    version: i64,
    events: Vec<String>,
    history: bool,
    from_at: i64,
}

impl Version {
    fn admits(&self, kind: &str, history: bool) -> bool {
        (self.history || !history) && endpoint::admits(&self.events, kind)
    }
}

/// Where an endpoint begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Sequence(i64),
    Time(i64),
}

/// What the rule looks at of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) kind: &'a str,
    pub(crate) history: bool,
    pub(crate) sequence: i64,
    pub(crate) stored_at: i64,
}

impl<'a> From<&'a EventRow> for Asked<'a> {
    fn from(event: &'a EventRow) -> Self {
        Self { kind: &event.kind, history: event.history, sequence: event.sequence, stored_at: event.stored_at }
    }
}

/// What the rule says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The endpoint never wanted it.
    No,
    /// It wants it.
    Wanted,
    /// It wanted it, and wants it no more.
    Gone(&'static str),
}

/// An endpoint and all its versions, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    pub(crate) endpoint: String,
    pub(crate) org: String,
    pub(crate) start: Start,
    deleted: bool,
    versions: Vec<Version>,
}

impl Wishes {
    /// The newest version's number.
    pub(crate) fn newest(&self) -> i64 {
        self.versions.last().map_or(0, |version| version.version)
    }

    /// When the first version after this one began.
    pub(crate) fn changed_after(&self, version: i64) -> Option<i64> {
        self.versions.iter().find(|later| later.version > version).map(|later| later.from_at)
    }

    /// When each version began, and was read by: between two of these times the rule is one.
    pub(crate) fn boundaries(&self) -> Vec<i64> {
        let mut times: Vec<i64> =
            self.versions.iter().flat_map(|version| [version.from_at, version.from_at + CHANGE_APPLIES]).collect();
        times.sort_unstable();
        times
    }

    /// The versions that somebody may read by at a time: the newest there was, and each that it replaced a moment before.
    /// The first for what is older.
    fn read_at(&self, time: i64) -> impl Iterator<Item = &Version> {
        let replaced = self.versions.iter().skip(1).map(|next| Some(next.from_at)).chain([None]);
        let long_ago = time.saturating_sub(CHANGE_APPLIES);
        let all = self.versions.iter().enumerate().zip(replaced);
        all.filter(move |((number, version), replaced)| {
            (version.from_at <= time || *number == 0) && replaced.is_none_or(|at| at > long_ago)
        })
        .map(|((_, version), _)| version)
    }

    /// An event is owed where all versions admit it that somebody may read by when it is stored.
    pub(crate) fn fate(&self, event: Asked<'_>) -> Fate {
        let begun = match self.start {
            Start::Sequence(sequence) => event.sequence >= sequence,
            Start::Time(at) => event.stored_at >= at,
        };
        let (Some(now), true) = (self.versions.last(), begun) else { return Fate::No };
        let admits = |version: &Version| version.admits(event.kind, event.history);
        match (self.read_at(event.stored_at).all(admits), admits(now)) {
            (false, _) => Fate::No,
            (true, true) => Fate::Wanted,
            (true, false) => Fate::Gone(if self.deleted { "deleted" } else { "filter-changed" }),
        }
    }

    /// The push of an event, if the endpoint wants it or did.
    pub(crate) fn push(&self, event: &EventRow) -> Option<PushRow> {
        let row = PushRow::pending(event);
        match self.fate(event.into()) {
            Fate::No => None,
            Fate::Wanted => Some(row),
            Fate::Gone(reason) => Some(PushRow { state: "dropped", reason: Some(reason.to_owned()), ..row }),
        }
    }
}

/// All endpoints, deleted ones too, by organisation.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllWishes {
    by_org: HashMap<String, Vec<Wishes>>,
    mark: (i64, i64, i64),
}

impl AllWishes {
    pub(crate) fn of(&self, org: &str) -> &[Wishes] {
        self.by_org.get(org).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Wishes> {
        self.by_org.values().flatten()
    }

    /// What the rows say, or none where nothing changed since.
    pub(crate) async fn newer(&self, db: &Db) -> Result<Option<Self>, Error> {
        let row = sqlx::query(
            "select count(*), coalesce(max(from_at), 0), cast(coalesce(sum(version), 0) as bigint) from endpoint_versions",
        )
        .fetch_one(&db.pool)
        .await?;
        let number = |at: usize| sqlx::Row::try_get::<i64, _>(&row, at);
        let mark = (number(0)?, number(1)?, number(2)?);
        if mark == self.mark { Ok(None) } else { Self::load(db, mark).await.map(Some) }
    }

    async fn load(db: &Db, mark: (i64, i64, i64)) -> Result<Self, Error> {
        let mut versions: HashMap<String, BTreeMap<i64, Version>> = HashMap::new();
        let rows = sqlx::query("select endpoint_id, version, events, history, from_at from endpoint_versions");
        for row in &rows.fetch_all(&db.pool).await? {
            let columns = Columns { row, table: "endpoint_versions", prefix: "" };
            let version = Version {
                version: columns.number("version")?,
                events: columns.known("events", |text| serde_json::from_str(text).ok())?,
                history: columns.number("history")? == 1,
                from_at: columns.number("from_at")?,
            };
            versions.entry(columns.text("endpoint_id")?).or_default().insert(version.version, version);
        }
        let mut by_org: HashMap<String, Vec<Wishes>> = HashMap::new();
        let rows = sqlx::query("select id, org_id, start_sequence, start_time, deleted_at from endpoints");
        for row in &rows.fetch_all(&db.pool).await? {
            let columns = Columns { row, table: "endpoints", prefix: "" };
            let (endpoint, org) = (columns.text("id")?, columns.text("org_id")?);
            let start = match columns.optional_number("start_sequence")? {
                Some(sequence) => Start::Sequence(sequence),
                None => Start::Time(columns.optional_number("start_time")?.unwrap_or_default()),
            };
            let deleted = columns.optional_number("deleted_at")?.is_some();
            let versions = versions.remove(&endpoint).unwrap_or_default().into_values().collect();
            by_org.entry(org.clone()).or_default().push(Wishes { endpoint, org, start, deleted, versions });
        }
        Ok(Self { by_org, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(start: Start, versions: &[(i64, &[&str])]) -> Wishes {
        let versions = versions.iter().zip(1..).map(|((from_at, events), version)| Version {
            version,
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            history: false,
            from_at: *from_at,
        });
        Wishes { endpoint: "ep".into(), org: "org".into(), start, deleted: false, versions: versions.collect() }
    }

    fn asked(kind: &str, sequence: i64, stored_at: i64) -> Asked<'_> {
        Asked { kind, history: false, sequence, stored_at }
    }

    #[test]
    fn the_version_that_was_there_when_an_event_was_stored_decides() {
        let wishes = wishes(Start::Sequence(5), &[(100, &["a:*"]), (200, &["b:*"])]);
        let read_by = 200 + CHANGE_APPLIES;
        assert_eq!(wishes.fate(asked("a:x", 4, 100)), Fate::No);
        assert_eq!(wishes.fate(asked("a:x", 5, 150)), Fate::Gone("filter-changed"));
        assert_eq!(wishes.fate(asked("b:x", 6, 150)), Fate::No);
        assert_eq!(wishes.fate(asked("b:x", 7, 200)), Fate::No, "it may be pushed, and is not owed yet");
        assert_eq!(wishes.fate(asked("a:x", 7, 200)), Fate::No);
        assert_eq!(wishes.fate(asked("b:x", 7, read_by)), Fate::Wanted);
        assert_eq!(wishes.fate(asked("a:x", 7, 199)), Fate::Gone("filter-changed"));
        assert_eq!(wishes.fate(asked("a:x", 8, 50)), Fate::Gone("filter-changed"));
    }

    #[test]
    fn what_a_version_of_a_moment_did_not_admit_is_not_owed() {
        let wishes = wishes(Start::Sequence(1), &[(0, &["a:*"]), (100_000, &["b:*"]), (102_000, &["a:*"])]);
        for (stored_at, fate) in [
            (99_999, Fate::Wanted),
            (101_000, Fate::No),
            (103_000, Fate::No),
            (102_000 + CHANGE_APPLIES - 1, Fate::No),
            (102_000 + CHANGE_APPLIES, Fate::Wanted),
        ] {
            assert_eq!(wishes.fate(asked("a:x", 1, stored_at)), fate, "{stored_at}");
        }
    }

    #[test]
    fn an_endpoint_that_begins_at_a_time_takes_what_was_stored_since_and_no_history() {
        let wishes = wishes(Start::Time(120), &[(100, &["*"])]);
        assert_eq!(wishes.fate(asked("a:x", 1, 119)), Fate::No);
        assert_eq!(wishes.fate(asked("a:x", 1, 120)), Fate::Wanted);
        assert_eq!(wishes.fate(Asked { history: true, ..asked("a:x", 1, 120) }), Fate::No);
    }
}
