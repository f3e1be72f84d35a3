//! The parameters of `GET /deliveries`: all that is wrong is said at once.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use schemas::{
    fields::{Fault, Fields},
    provider,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};
use web::limit;

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
    /// Reads the parameters of a query; what is wrong with them is left in the fields.
    pub(crate) fn read(fields: &mut Fields<'_>, now: i64) -> Self {
        fields.only(&["orgId", "provider", "type", "status", "endpointId", "since", "until", "limit", "cursor"]);
        let providers: Vec<&str> = provider::ALL.iter().map(|known| known.id).collect();
        let text = |fields: &mut Fields<'_>, name| fields.optional(name).map(str::to_owned);
        let params = Self {
            org: text(fields, "orgId"),
            provider: fields.one_of("provider", &providers).map(str::to_owned),
            kind: text(fields, "type"),
            status: fields.one_of("status", &STATES).map(str::to_owned),
            endpoint: text(fields, "endpointId"),
            since: fields.moment("since", now),
            until: fields.moment("until", now),
            limit: limit(fields, LIMIT, LIMIT_MAX),
            cursor: cursor(fields),
        };
        if params.since.zip(params.until).is_some_and(|(since, until)| since > until) {
            fields.faults.add("until", Fault::Says("must not be before since".into()));
        }
        params
    }
}

/// It holds a delivery's id, and may be longer than other texts.
fn cursor(fields: &mut Fields<'_>) -> Option<Cursor> {
    let text = fields.get("cursor")?.as_str().unwrap_or_default();
    Cursor::read(text).or_else(|| fields.fault("cursor", Fault::MustBe("the nextCursor of an answer")))
}

#[cfg(test)]
mod tests {
    use schemas::fields::Faults;
    use serde_json::{Value, json};

    use super::*;

    fn read(parameters: &Value) -> Result<Params, Faults> {
        let mut fields = Fields::of_query(parameters).expect("an object");
        let params = Params::read(&mut fields, 1_700_000_000_000);
        fields.faults.none_or(Some(params))
    }

    #[test]
    fn every_wrong_parameter_is_said_at_once() {
        let wrong = json!({
            "orgId": "", "status": "lost", "since": "yesterday", "limit": "201", "cursor": "x", "color": "red",
        });
        let said = read(&wrong).expect_err("all of it is wrong").to_string();
        for field in ["orgId", "status", "since", "limit", "cursor", "color"] {
            assert!(said.contains(field), "{field}: {said}");
        }
    }

    #[test]
    fn times_are_points_or_distances_and_in_order() {
        let params = read(&json!({ "since": "2h", "until": "2023-11-14T22:13:20Z" })).expect("they are right");
        assert_eq!((params.since, params.until), (Some(1_699_992_800_000), Some(1_700_000_000_000)));
        assert!(read(&json!({ "since": "1m", "until": "2m" })).is_err());
        for wrong in ["", "m", "-5m", "+5m", "5", "99999999999999999d", "é"] {
            assert!(read(&json!({ "since": wrong })).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_reads_back() {
        let cursor = Cursor { stored_at: 5, sequence: 7, provider: "p".into(), delivery: "a:b".into() };
        assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        assert_eq!(Cursor::read("AAAA"), None);
    }
}
