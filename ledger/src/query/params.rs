//! The parameters of `GET /deliveries`: all that is wrong is said at once.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use schemas::{
    fields::{Fault, Faults, check},
    instant, provider,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// The states a delivery may have.
const STATES: [&str; 7] = ["pending", "routed", "released", "filtered", "parked", "dead", "expired"];
/// A state, where the API's description says which there are.
#[derive(Debug)]
pub(crate) enum Status {}

impl PartialSchema for Status {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(STATES)).into()
    }
}

impl ToSchema for Status {
    fn name() -> Cow<'static, str> {
        "DeliveryStatus".into()
    }
}

/// Deliveries a page has unless the caller says otherwise.
const LIMIT: i64 = 50;
/// The most a page may have.
const LIMIT_MAX: i64 = 200;

/// Which deliveries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) org: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// Milliseconds since the epoch.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    pub(crate) limit: i64,
    pub(crate) cursor: Option<Cursor>,
}

/// The last delivery of a page; the next page has what is older.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) stored_at: i64,
    pub(crate) sequence: i64,
    pub(crate) provider: String,
    pub(crate) delivery: String,
}

impl Cursor {
    /// As callers see it.
    pub(crate) fn write(&self) -> String {
        let text = format!("{}:{}:{}:{}", self.stored_at, self.sequence, self.provider, self.delivery);
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?;
        let mut parts = text.splitn(4, ':');
        Some(Self {
            stored_at: parts.next()?.parse().ok()?,
            sequence: parts.next()?.parse().ok()?,
            provider: parts.next()?.to_owned(),
            delivery: parts.next()?.to_owned(),
        })
    }
}

impl Params {
    /// Reads the parameters of a query.
    pub(crate) fn read(pairs: &[(String, String)], now: i64) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut params = Self { limit: LIMIT, ..Self::default() };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in pairs {
            if seen.contains(&name.as_str()) {
                faults.add("query", Fault::Says(format!("{} stands there twice", shown(name)).into()));
            }
            seen.push(name);
            params.set(name, value, now, &mut faults);
        }
        if params.since.zip(params.until).is_some_and(|(since, until)| since > until) {
            faults.add("until", Fault::Says("must not be before since".into()));
        }
        if faults.is_empty() { Ok(params) } else { Err(faults) }
    }

    fn set(&mut self, name: &str, value: &str, now: i64, faults: &mut Faults) {
        match name {
            "orgId" => self.org = text("orgId", value, faults),
            "type" => self.kind = text("type", value, faults),
            "endpointId" => self.endpoint = text("endpointId", value, faults),
            "provider" => {
                let known: Vec<&str> = provider::ALL.iter().map(|known| known.id).collect();
                self.provider = one_of("provider", value, &known, faults);
            }
            "status" => self.status = one_of("status", value, &STATES, faults),
            "since" => self.since = moment("since", value, now, faults),
            "until" => self.until = moment("until", value, now, faults),
            "limit" => match value.parse() {
                Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => self.limit = limit,
                _ => faults.add("limit", Fault::Range(1, LIMIT_MAX)),
            },
            "cursor" => {
                self.cursor = Cursor::read(value);
                if self.cursor.is_none() {
                    faults.add("cursor", Fault::MustBe("the nextCursor of an answer"));
                }
            }
            unknown => faults.add("query", Fault::Says(format!("has no parameter {}", shown(unknown)).into())),
        }
    }
}

/// A name that others chose, as it may be repeated to them.
fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(60).collect()
}

fn text(field: &'static str, value: &str, faults: &mut Faults) -> Option<String> {
    match check(value) {
        Ok(()) => Some(value.to_owned()),
        Err(fault) => {
            faults.add(field, fault);
            None
        }
    }
}

fn one_of(field: &'static str, value: &str, known: &[&str], faults: &mut Faults) -> Option<String> {
    if known.contains(&value) {
        return Some(value.to_owned());
    }
    faults.add(field, Fault::OneOf(known.join(", ")));
    None
}

/// `15m` before now, or a point in time.
fn moment(field: &'static str, value: &str, now: i64, faults: &mut Faults) -> Option<i64> {
    let moment = ago(value).and_then(|ago| now.checked_sub(ago)).or_else(|| instant::parse(value));
    if moment.is_none() {
        faults.add(field, Fault::MustBe("a time, 2026-01-31T12:00:00Z, or how long ago, 15m"));
    }
    moment
}

/// Milliseconds of `30s`, `15m`, `2h`, `7d`.
fn ago(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let millis = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<i64>().ok().filter(|_| digits)?.checked_mul(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Params, Faults> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Params::read(&pairs, 1_700_000_000_000)
    }

    #[test]
    fn every_wrong_parameter_is_said_at_once() {
        let faults = read(&[
            ("orgId", ""),
            ("status", "lost"),
            ("since", "yesterday"),
            ("limit", "201"),
            ("cursor", "x"),
            ("color", "red"),
            ("color", "red"),
        ]);
        let said = faults.expect_err("all of it is wrong").to_string();
        for field in ["orgId", "status", "since", "limit", "cursor", "color", "twice"] {
            assert!(said.contains(field), "{field}: {said}");
        }
    }

    #[test]
    fn times_are_points_or_distances_and_in_order() {
        let params = read(&[("since", "2h"), ("until", "2023-11-14T22:13:20Z")]).expect("they are right");
        assert_eq!((params.since, params.until), (Some(1_699_992_800_000), Some(1_700_000_000_000)));
        assert!(read(&[("since", "1m"), ("until", "2m")]).is_err());
        for wrong in ["", "m", "-5m", "+5m", "5", "99999999999999999d", "é"] {
            assert!(read(&[("since", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_reads_back() {
        let cursor = Cursor { stored_at: 5, sequence: 7, provider: "p".into(), delivery: "a:b".into() };
        assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        assert_eq!(Cursor::read("AAAA"), None);
    }
}
