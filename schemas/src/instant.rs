//! Points in time on the wire: milliseconds since the epoch, and RFC 3339 in UTC with milliseconds.

use std::time::Duration;

use serde_json::Value;
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
    macros::format_description,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::AnyOfBuilder},
};

/// RFC 3339 in UTC with three decimals and `Z`, of milliseconds since the epoch.
#[must_use]
pub fn rfc3339(millis: i64) -> String {
    let nanos = i128::from(millis) * 1_000_000;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .unwrap_or_else(|_| "1970-01-01T00:00:00.000Z".to_owned())
}

/// Milliseconds since the epoch of an RFC 3339 text with any offset.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// A length of time as settings and queries have it: `250ms`, `10s`, `5m`, `8h`, `7d`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.find(|letter: char| !letter.is_ascii_digit())?)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// A point in time as people give it: so long before now, `15m`, or an RFC 3339 time.
#[must_use]
pub fn moment(text: &str, now: i64) -> Option<i64> {
    let ago = duration(text).and_then(|ago| i64::try_from(ago.as_millis()).ok());
    ago.and_then(|ago| now.checked_sub(ago)).or_else(|| parse(text))
}

/// What [`moment`] reads, for the description of the API.
#[derive(Debug)]
pub enum Moment {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        AnyOfBuilder::new()
            .item(text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
            .item(text().pattern(Some("^[0-9]{1,6}[smhd]$")))
            .description(Some("An RFC 3339 time, or how long ago: `30s`, `15m`, `2h`, `7d`."))
            .into()
    }
}

impl ToSchema for Moment {}

/// Milliseconds since the epoch of a date as HTTP headers have it: `Wed, 21 Oct 2015 07:28:00 GMT`.
#[must_use]
pub fn http_date(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp().checked_mul(1_000)
}

/// Milliseconds since the epoch of what providers send as a time: RFC 3339 text, or a number (or a number as
/// text) of seconds or milliseconds. Numbers below 10^12 are seconds.
#[must_use]
pub fn of_json(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_f64().and_then(of_number),
        Value::String(text) => parse(text).or_else(|| text.parse().ok().and_then(of_number)),
        _ => None,
    }
}

fn of_number(number: f64) -> Option<i64> {
    const YEAR_9999: f64 = 253_402_300_799_000.0;
    let millis = if number.abs() < 1e12 { number * 1000.0 } else { number };
    (millis.is_finite() && (0.0..=YEAR_9999).contains(&millis)).then(|| millis.round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_of_a_time_becomes_one() {
        let millis = 1_700_000_000_123;
        assert_eq!(rfc3339(millis), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse("2023-11-14T23:13:20.123+01:00"), Some(millis));
        assert_eq!(of_json(&json!(1_700_000_000)), Some(1_700_000_000_000));
        assert_eq!(of_json(&json!(1_700_000_000.123)), Some(millis));
        assert_eq!(of_json(&json!(millis)), Some(millis));
        assert_eq!(of_json(&json!("1700000000.123")), Some(millis));
        assert_eq!(http_date("Tue, 14 Nov 2023 22:13:20 GMT"), Some(1_700_000_000_000));
        assert_eq!(of_json(&json!("yesterday")), None);
        assert_eq!(of_json(&json!(null)), None);
        assert_eq!(of_json(&json!(-5)), None);
    }
}
