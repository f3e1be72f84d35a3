//! What a Linear delivery says of itself, read from headers and raw body in one pass.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::super::{Identity, Received, raw};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    organization_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    issue_data: Option<&'a RawValue>,
}

/// Where an object names its teams; `issue` and `project` are those a comment or an update belongs to.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    team_id: Option<&'a RawValue>,
    #[serde(borrow)]
    team: Option<&'a RawValue>,
    #[serde(borrow)]
    teams: Option<&'a RawValue>,
    #[serde(borrow)]
    team_ids: Option<&'a RawValue>,
    #[serde(borrow)]
    issue: Option<&'a RawValue>,
    #[serde(borrow)]
    project: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Team<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sent<'a> {
    #[serde(borrow)]
    webhook_timestamp: Option<&'a RawValue>,
}

pub(super) fn identify(received: &Received<'_>) -> Identity {
    let header = |name: &str| (received.header)(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let envelope: Envelope<'_> = raw::body(received.body).unwrap_or_default();
    let event = match (raw::text(envelope.r#type), raw::text(envelope.action)) {
        (Some(kind), Some(action)) => Some(format!("{kind}:{action}")),
        (Some(kind), None) => Some(kind),
        (None, _) => header("linear-event"),
    };
    Identity {
        delivery: header("linear-delivery").unwrap_or_else(|| received.body_sha256.to_owned()),
        event,
        account: raw::id(envelope.organization_id),
        resources: teams(&envelope),
    }
}

/// When Linear sent it, milliseconds since the epoch: `webhookTimestamp`, inside what is signed.
pub(super) fn signed_at(body: &[u8]) -> Option<i64> {
    let sent: Sent<'_> = raw::body(body)?;
    match raw::scalar(sent.webhook_timestamp) {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|millis| millis as i64)),
        _ => None,
    }
}

fn teams(envelope: &Envelope<'_>) -> Vec<String> {
    let mut teams = Vec::new();
    for data in [envelope.data, envelope.issue_data] {
        let data: Data<'_> = raw::object(data).unwrap_or_default();
        teams_of(&data, &mut teams);
        for part in [data.issue, data.project] {
            teams_of(&raw::object(part).unwrap_or_default(), &mut teams);
        }
    }
    teams
}

fn teams_of(data: &Data<'_>, teams: &mut Vec<String>) {
    let mut add = |id: Option<String>| teams.extend(id.filter(|id| !teams.contains(id)));
    let id_of = |team| raw::object(team).and_then(|team: Team<'_>| raw::id(team.id));
    add(raw::id(data.team_id));
    add(id_of(data.team));
    for team in raw::items(data.teams) {
        add(id_of(Some(team)));
    }
    for id in raw::items(data.team_ids) {
        add(raw::id(Some(id)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &[u8], headers: &[(&str, &'static str)]) -> Identity {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        identify(&Received { header: &header, body, body_sha256: "5a" })
    }

    #[test]
    fn the_delivery_id_is_the_header_or_else_the_hash_of_the_body() {
        assert_eq!(of(b"{}", &[("linear-delivery", "d-1")]).delivery, "d-1");
        assert_eq!(of(b"{}", &[("linear-delivery", "")]).delivery, "5a");
        assert_eq!(of(b"{}", &[]).delivery, "5a");
    }

    #[test]
    fn the_event_type_is_of_the_payload_and_the_header_is_the_last_resort() {
        let header = [("linear-event", "Issue")];
        assert_eq!(of(br#"{"type":"Comment","action":"create"}"#, &header).event.as_deref(), Some("Comment:create"));
        assert_eq!(of(br#"{"type":"Comment","action":null}"#, &header).event.as_deref(), Some("Comment"));
        assert_eq!(of(br#"{"type":7,"action":"create"}"#, &header).event.as_deref(), Some("Issue"));
        assert_eq!(of(br#"{"action":"create"}"#, &[]).event, None);
    }

    #[test]
    fn every_place_that_names_a_team_counts_once() {
        let body = json!({ "data": {
            "teamId": "t1", "team": { "id": "t1" }, "teams": [{ "id": "t2" }, { "key": "X" }, 3, { "id": 0 }],
            "teamIds": ["t2", "t3", null, "", 9],
            "issue": { "teamId": "t4", "team": { "id": "t5" } },
            "project": { "teamIds": ["t3", "t6"] },
        }});
        let teams = ["t1", "t2", "0", "t3", "9", "t4", "t5", "t6"];
        assert_eq!(of(body.to_string().as_bytes(), &[]).resources, teams);
        assert_eq!(of(br#"{"type":"IssueSLA","issueData":{"teamId":"t1"}}"#, &[]).resources, ["t1"]);
    }

    #[test]
    fn what_is_of_another_type_is_absent_and_hides_nothing_else() {
        let body = json!({ "type": ["Issue"], "organizationId": 7, "data": { "teamId": {}, "team": "x", "teamIds": "y",
            "issue": [1], "project": { "team": { "id": "t1" } } } });
        let identity = of(body.to_string().as_bytes(), &[]);
        assert_eq!(identity.account.as_deref(), Some("7"));
        assert_eq!(identity.resources, ["t1"]);
        assert_eq!(identity.event, None);
    }

    #[test]
    fn a_body_that_is_no_object_leaves_what_the_headers_tell() {
        for body in [&b""[..], b"{", b"[1,2,3,4,5]", b"null", b"\xff\xfe", b"\"Issue\"", b"{\"type\":\"\xff\"}"] {
            let identity = of(body, &[("linear-delivery", "d"), ("linear-event", "Issue")]);
            let expected = Identity { delivery: "d".into(), event: Some("Issue".into()), ..Identity::default() };
            assert_eq!(identity, expected);
            assert_eq!(signed_at(body), None);
        }
    }

    #[test]
    fn the_signed_time_is_a_number_or_absent() {
        assert_eq!(signed_at(br#"{"data":{},"webhookTimestamp":1716141329394}"#), Some(1_716_141_329_394));
        assert_eq!(signed_at(br#"{"webhookTimestamp":1.716141329394e12}"#), Some(1_716_141_329_394));
        for body in [&br#"{"webhookTimestamp":"1716141329394"}"#[..], br#"{"webhookTimestamp":null}"#, b"{}"] {
            assert_eq!(signed_at(body), None);
        }
    }
}
