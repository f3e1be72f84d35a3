//! Which endpoints a list shows, and where its next page begins.

use data_encoding::BASE64URL_NOPAD;
use schemas::{
    endpoint::EndpointStatus,
    fields::{Fault, Faults, Fields},
};
use serde_json::Value;

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 200;

/// Which endpoints are asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) org: Option<String>,
    pub(crate) status: Option<EndpointStatus>,
    pub(crate) limit: i64,
    pub(crate) after: Option<Cursor>,
}

/// The last endpoint of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) created_at: i64,
    pub(crate) id: String,
}

impl Wanted {
    /// Reads the parameters of a query.
    pub(crate) fn read(parameters: &Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(parameters)?;
        fields.only(&["orgId", "status", "limit", "cursor"]);
        let org = fields.optional("orgId").map(str::to_owned);
        let status = fields.optional("status").and_then(|text| {
            let fault = || Fault::OneOf("active, paused, disabled".to_owned());
            EndpointStatus::parse(text).or_else(|| fields.fault("status", fault()))
        });
        let limit = fields.optional("limit").and_then(|text| match text.parse() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Some(limit),
            _ => fields.fault("limit", Fault::Range(1, LIMIT_MAX)),
        });
        let after = fields.optional("cursor").and_then(|text| {
            Cursor::parse(text).or_else(|| fields.fault("cursor", Fault::Says("is none that a list gave".into())))
        });
        fields.faults.none_or(Some(Self { org, status, limit: limit.unwrap_or(LIMIT), after }))
    }
}

impl Cursor {
    /// As it goes over the wire.
    pub(crate) fn text(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{}.{}", self.created_at, self.id).as_bytes())
    }

    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?;
        let (created_at, id) = text.split_once('.')?;
        let good = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        good.then_some(Self { created_at: created_at.parse().ok()?, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_reads_back_and_everything_wrong_is_said_at_once() {
        let cursor = Cursor { created_at: 7, id: "ep_a".to_owned() };
        let wanted = Wanted::read(&json!({ "cursor": cursor.text(), "limit": "200", "status": "paused" }));
        let wanted = wanted.expect("good parameters");
        assert_eq!((wanted.after, wanted.limit, wanted.status), (Some(cursor), 200, Some(EndpointStatus::Paused)));
        let bad = json!({ "cursor": "!", "limit": "201", "status": "on", "orgId": "\u{0}", "page": "2" });
        let faults = Wanted::read(&bad).expect_err("faults").to_string();
        for field in ["cursor", "limit", "status", "orgId", "page"] {
            assert!(faults.contains(field), "{field}: {faults}");
        }
    }
}
