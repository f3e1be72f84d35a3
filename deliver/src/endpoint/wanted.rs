//! Which endpoints a list shows.

use schemas::{
    endpoint::EndpointStatus,
    fields::{Fault, Faults, Fields},
};
use serde_json::Value;
use web::Paging;

/// Which endpoints are asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) org: Option<String>,
    pub(crate) status: Option<EndpointStatus>,
    pub(crate) paging: Paging,
}

impl Wanted {
    /// Reads the parameters of a query.
    pub(crate) fn read(parameters: &Value) -> Result<Self, Faults> {
        let mut fields = Fields::of_query(parameters)?;
        fields.only(&[&["orgId", "status"], &Paging::PARAMETERS[..]].concat());
        let org = fields.optional("orgId").map(str::to_owned);
        let status = fields.optional("status").and_then(|text| {
            let fault = || Fault::OneOf("active, paused, disabled".to_owned());
            EndpointStatus::parse(text).or_else(|| fields.fault("status", fault()))
        });
        let paging = Paging::read(&mut fields);
        fields.faults.none_or(Some(Self { org, status, paging }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_wrong_with_a_query_is_said_at_once() {
        let wanted = Wanted::read(&json!({ "limit": "200", "status": "paused" })).expect("good parameters");
        assert_eq!((wanted.paging.limit, wanted.status), (200, Some(EndpointStatus::Paused)));
        let bad = json!({ "cursor": "!", "limit": "201", "status": "on", "orgId": "\u{0}", "page": "2" });
        let faults = Wanted::read(&bad).expect_err("faults").to_string();
        for field in ["cursor", "limit", "status", "orgId", "page"] {
            assert!(faults.contains(field), "{field}: {faults}");
        }
    }
}
