//! Custom headers: which may be sent, and how they are shown.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use schemas::fields::{Fault, Fields};
use serde_json::Value;

const FIELD: &str = "headers";
/// Headers an endpoint may have.
const HEADERS_MAX: usize = 20;
const NAME_MAX: usize = 100;
const VALUE_MAX: usize = 2_000;

/// Stands for a value that is not shown. Sent back, it keeps what is stored.
pub(crate) const HIDDEN: &str = "…";

/// Headers that are ours, or belong to the connection.
const TAKEN: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
const TAKEN_PREFIXES: [&str; 4] = ["webhook-", "ce-", "gw-", "nats-"];

/// Headers as they are shown: no value, for any may be a secret.
pub(crate) fn shown(headers: BTreeMap<String, String>) -> BTreeMap<String, String> {
    headers.into_keys().map(|name| (name, HIDDEN.to_owned())).collect()
}

/// Reads the headers of a body, names in lower case. `stored` are those there were: none on a new endpoint, and an
/// error where they cannot be opened.
pub(crate) fn read<E>(
    fields: &mut Fields<'_>,
    stored: impl FnOnce() -> Result<BTreeMap<String, String>, E>,
) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    let members = match fields.get(FIELD) {
        None => return read,
        Some(Value::Object(members)) if members.len() > HEADERS_MAX => {
            fields.faults.add(FIELD, Fault::TooMany(HEADERS_MAX));
            return read;
        }
        Some(Value::Object(members)) => members,
        Some(_) => {
            fields.faults.add(FIELD, Fault::MustBe("an object of texts"));
            return read;
        }
    };
    let hidden = members.values().any(|value| value == HIDDEN);
    let kept = if hidden { stored().unwrap_or_default() } else { BTreeMap::new() };
    for (name, value) in members {
        match header(name, value, &kept) {
            Ok((name, value)) => {
                if read.insert(name.clone(), value).is_some() {
                    fields.faults.add(FIELD, says(&name, "is there twice"));
                }
            }
            Err(what) => fields.faults.add(FIELD, says(name, what)),
        }
    }
    read
}

fn header(name: &str, value: &Value, kept: &BTreeMap<String, String>) -> Result<(String, String), &'static str> {
    let lower = name.to_ascii_lowercase();
    if lower.len() > NAME_MAX || HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("is no header name");
    }
    if TAKEN.contains(&lower.as_str()) || TAKEN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err("is set by the gateway");
    }
    let Value::String(value) = value else { return Err("must be a text") };
    if value == HIDDEN {
        let value = kept.get(&lower).ok_or("has no stored value to keep: give it anew")?;
        return Ok((lower, value.clone()));
    }
    let good = (1..=VALUE_MAX).contains(&value.len()) && value.trim() == value && HeaderValue::from_str(value).is_ok();
    if !value.is_ascii() || !good {
        return Err("must have a value of 1 to 2000 printable ASCII characters");
    }
    Ok((lower, value.clone()))
}

fn says(name: &str, what: &str) -> Fault {
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(60).collect();
    Fault::Says(format!("{name} {what}").into())
}

#[cfg(test)]
mod tests {
    use schemas::seal::Broken;
    use serde_json::json;

    use super::*;

    fn read_all(body: &Value, stored: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        let body = json!({ "headers": body });
        let mut fields = Fields::of(&body).expect("an object");
        let stored = stored.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let headers = read(&mut fields, || Ok::<_, Broken>(stored));
        if fields.faults.is_empty() { Ok(headers) } else { Err(fields.faults.to_string()) }
    }

    #[test]
    fn names_are_lower_case_and_ours_are_refused() {
        let read = read_all(&json!({ "X-Team": "a b", "Authorization": "Bearer x" }), &[]).expect("headers");
        assert_eq!(read.keys().collect::<Vec<_>>(), ["authorization", "x-team"]);
        for name in ["Host", "content-length", "Webhook-Id", "CE-type", "user-agent", "TE", "a b", "", "é", "Gw-Org"] {
            assert!(read_all(&json!({ name: "x" }), &[]).is_err(), "{name}");
        }
        for value in
            [json!(""), json!(" x"), json!("a\r\nb"), json!("é"), json!(7), json!(null), json!("x".repeat(2001))]
        {
            assert!(read_all(&json!({ "x-a": value }), &[]).is_err(), "{value}");
        }
        let twice = read_all(&json!({ "x-a": "1", "X-A": "2" }), &[]).expect_err("twice");
        assert!(twice.contains("x-a is there twice"), "{twice}");
        let many: serde_json::Map<String, Value> = (0..21).map(|at| (format!("x-{at}"), json!("v"))).collect();
        assert!(read_all(&Value::Object(many), &[]).is_err());
    }

    #[test]
    fn a_value_that_is_not_shown_is_kept_when_it_comes_back() {
        let stored = [("authorization", "Bearer x"), ("x-team", "a")];
        let read = read_all(&json!({ "Authorization": HIDDEN }), &stored).expect("headers");
        assert_eq!(read, BTreeMap::from([("authorization".to_owned(), "Bearer x".to_owned())]));
        assert!(read_all(&json!({ "x-api-key": HIDDEN }), &stored).is_err());
        let all = stored.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(shown(all).into_values().collect::<Vec<_>>(), [HIDDEN, HIDDEN]);
    }
}
