//! What a GitHub delivery says of itself.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DELIVERY_HEADER, EVENT_HEADER};
use crate::{
    json::{object, raw_id_of},
    provider::{Identity, Received},
};

/// Top-level fields that name an account or resources. `repositories…` belong to `installation` and
/// `installation_repositories`, which have no `repository`.
#[derive(Default, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    installation: Option<&'a RawValue>,
    #[serde(borrow)]
    repository: Option<&'a RawValue>,
    #[serde(borrow)]
    repositories: Option<&'a RawValue>,
    #[serde(borrow)]
    repositories_added: Option<&'a RawValue>,
    #[serde(borrow)]
    repositories_removed: Option<&'a RawValue>,
}

/// Reads event and delivery id from the headers, installation and repositories from the body.
pub(super) fn identify(received: &Received<'_>) -> Identity {
    let header = |name| (received.header)(name).filter(|value| !value.is_empty());
    let body: Envelope<'_> = object(received.body).unwrap_or_default();
    Identity {
        delivery: header(DELIVERY_HEADER).unwrap_or(received.body_sha256).to_owned(),
        event: header(EVENT_HEADER).map(str::to_owned),
        account: raw_id_of(body.installation),
        resources: resources(&body),
    }
}

fn resources(body: &Envelope<'_>) -> Vec<String> {
    let lists = [body.repositories_added, body.repositories_removed, body.repositories];
    let repositories = std::iter::once(body.repository).chain(lists.into_iter().flat_map(elements).map(Some));
    let mut seen = HashSet::new();
    repositories.filter_map(raw_id_of).filter(|id| seen.insert(id.clone())).collect()
}

fn elements(list: Option<&RawValue>) -> Vec<&RawValue> {
    list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify_with(event: Option<&'static str>, delivery: Option<&'static str>, body: &[u8]) -> Identity {
        let header = |name: &str| match name {
            EVENT_HEADER => event,
            DELIVERY_HEADER => delivery,
            _ => None,
        };
        identify(&Received { header: &header, body, body_sha256: "5ha" })
    }

    #[track_caller]
    fn check(account: Option<&str>, resources: &[&str], body: &str) {
        let identity = identify_with(Some("push"), Some("d-1"), body.as_bytes());
        assert_eq!((identity.account.as_deref(), identity.resources.as_slice()), (account, &to_strings(resources)[..]));
        assert_eq!((identity.delivery.as_str(), identity.event.as_deref()), ("d-1", Some("push")));
    }

    fn to_strings(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn numbers_and_texts_are_ids_and_zero_is_one() {
        check(Some("42"), &["7"], r#"{"repository": {"name": "x", "id": 7}, "installation": {"id": 42}}"#);
        check(Some("a"), &["b"], r#"{"repository": {"id": "b"}, "installation": {"id": "a"}}"#);
        check(Some("0"), &["0"], r#" {"repository": {"id": 0}, "installation": {"id": 0}}"#);
        check(None, &[], r#"{"repository": {"id": ""}, "installation": {"id": null}}"#);
    }

    #[test]
    fn a_field_of_another_shape_only_loses_itself() {
        check(Some("42"), &[], r#"{"repository": null, "installation": {"id": 42}}"#);
        check(Some("42"), &[], r#"{"repository": "octo-org/x", "installation": {"id": 42}}"#);
        check(None, &["7"], r#"{"repository": {"id": 7}, "installation": [42]}"#);
        check(None, &["7"], r#"{"repository": {"id": 7}, "installation": {"id": {"id": 1}}, "repositories": {}}"#);
        check(None, &["7"], r#"{"repository": {"id": 7}, "installation": {"id": 1.5}, "repositories": [1, null]}"#);
    }

    #[test]
    fn every_repository_of_an_installation_is_named_once_and_in_order() {
        check(
            Some("42"),
            &["3", "1", "2", "9"],
            r#"{"installation": {"id": 42}, "repositories_removed": [{"id": 2}, {"id": 3}],
                "repositories_added": [{"id": 3}, {"id": 1}], "repositories": [{"id": 9}, {"id": 2}]}"#,
        );
    }

    #[test]
    fn what_is_no_json_object_is_identified_by_its_headers() {
        for body in ["", "{", "[{\"id\": 1}]", "null", "\u{feff}{}", "payload=%7B%7D"] {
            check(None, &[], body);
        }
        assert_eq!(identify_with(None, None, b"\xff\xfe"), Identity { delivery: "5ha".into(), ..Identity::default() });
        assert_eq!(
            identify_with(Some(""), Some(""), b"{}"),
            Identity { delivery: "5ha".into(), ..Identity::default() }
        );
    }
}
