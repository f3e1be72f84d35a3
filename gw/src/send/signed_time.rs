//! Renews the signed time of a recorded payload: one number changes, every other byte stays.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use serde_json::value::RawValue;

/// The body with its signed time set to `now`, or none where the time could not be found.
pub(super) fn renew(body: &Bytes, read: fn(&[u8]) -> Option<i64>, now: i64) -> Option<Bytes> {
    let old = read(body)?;
    let fields: HashMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    let times = fields.values().filter(|value| is(value.get(), old));
    let mut renewed = times.map(|value| replace(body, &place(body, value.get()), &now.to_string()));
    renewed.find(|renewed| read(renewed) == Some(now))
}

fn is(number: &str, old: i64) -> bool {
    number.parse::<i64>().is_ok_and(|value| value == old)
        || number.parse::<f64>().is_ok_and(|value| value as i64 == old)
}

/// Where in the body a part of it stands.
fn place(body: &Bytes, part: &str) -> Range<usize> {
    let at = part.as_ptr().addr() - body.as_ptr().addr();
    at..at + part.len()
}

fn replace(body: &Bytes, place: &Range<usize>, number: &str) -> Bytes {
    [&body[..place.start], number.as_bytes(), &body[place.end..]].concat().into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(body: &[u8]) -> Option<i64> {
        let value: Value = serde_json::from_slice(body).ok()?;
        value["sentAt"].as_i64().or_else(|| value["sentAt"].as_f64().map(|millis| millis as i64))
    }

    #[track_caller]
    fn check(body: &'static str, expected: Option<&str>) {
        let renewed = renew(&Bytes::from_static(body.as_bytes()), read, 99);
        assert_eq!(renewed.as_deref(), expected.map(str::as_bytes));
    }

    #[test]
    fn only_the_number_of_the_signed_time_changes() {
        check("{ \"a\":5.0, \"sentAt\" : 5,\n \"b\": [5] }", Some("{ \"a\":5.0, \"sentAt\" : 99,\n \"b\": [5] }"));
        check(r#"{"é":1e2,"sentAt":5e0}"#, Some(r#"{"é":1e2,"sentAt":99}"#));
        check(r#"{"sentAt":5,"z":5}"#, Some(r#"{"sentAt":99,"z":5}"#));
    }

    #[test]
    fn a_body_without_a_time_stays_as_it_is() {
        for body in ["", "[5]", "{}", r#"{"sentAt":"5"}"#, r#"{"sentAt":5"#] {
            check(body, None);
        }
    }
}
