//! What a Vercel delivery says of itself: all of it in the body.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    json::{object, raw_id, raw_id_of, raw_object},
    provider::{Identity, Received},
};

#[derive(Default, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow)]
    team: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    project: Option<&'a RawValue>,
    #[serde(borrow)]
    project_id: Option<&'a RawValue>,
    #[serde(borrow)]
    deployment: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deployment<'a> {
    #[serde(borrow)]
    project_id: Option<&'a RawValue>,
}

/// Reads delivery id, event, team or user, and project from the body. The header `x-vercel-id` is of the request:
/// it changes with each retry.
pub(super) fn identify(received: &Received<'_>) -> Identity {
    let body: Envelope<'_> = object(received.body).unwrap_or_default();
    let payload: Payload<'_> = raw_object(body.payload).unwrap_or_default();
    let project = raw_id_of(payload.project).or_else(|| raw_id(payload.project_id)).or_else(|| {
        let deployment: Deployment<'_> = raw_object(payload.deployment)?;
        raw_id(deployment.project_id)
    });
    Identity {
        delivery: raw_id(body.id).unwrap_or_else(|| received.body_sha256.to_owned()),
        event: body.event.filter(|event| event.get().starts_with('"')).and_then(|event| raw_id(Some(event))),
        account: raw_id_of(payload.team).or_else(|| raw_id_of(payload.user)),
        resources: project.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, delivery: &str, event: Option<&str>, account: Option<&str>, resources: &[&str]) {
        let identity = identify(&Received { header: &|_| Some("x"), body: body.as_bytes(), body_sha256: "5ha" });
        let expected = Identity {
            delivery: delivery.to_owned(),
            event: event.map(str::to_owned),
            account: account.map(str::to_owned),
            resources: resources.iter().map(|&id| id.to_owned()).collect(),
        };
        assert_eq!(identity, expected, "{body}");
    }

    #[test]
    fn a_personal_account_is_its_user() {
        let team = r#"{"id": "uev_1", "type": "deployment.ready",
            "payload": {"team": {"id": "team_1"}, "user": {"id": "usr_1"}, "project": {"id": "prj_1"}}}"#;
        check(team, "uev_1", Some("deployment.ready"), Some("team_1"), &["prj_1"]);
        for none in ["null", r#"{"id": null}"#, r#"{"id": ""}"#, r#""team_1""#] {
            let body = format!(r#"{{"payload": {{"team": {none}, "user": {{"id": "usr_1"}}}}}}"#);
            check(&body, "5ha", None, Some("usr_1"), &[]);
        }
    }

    #[test]
    fn a_project_is_found_where_older_payloads_name_it() {
        check(r#"{"payload": {"project": {"id": 7}, "projectId": "prj_2"}}"#, "5ha", None, None, &["7"]);
        check(r#"{"payload": {"project": {}, "projectId": "prj_2"}}"#, "5ha", None, None, &["prj_2"]);
        check(r#"{"payload": {"deployment": {"projectId": "prj_3"}}}"#, "5ha", None, None, &["prj_3"]);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        for body in ["", "[]", "null", "{\"id\": ", r#"{"id": null, "type": 7, "payload": []}"#, r#"{"id": {}}"#] {
            check(body, "5ha", None, None, &[]);
        }
        check(r#"{"id": 0, "type": "", "payload": "x"}"#, "0", None, None, &[]);
    }
}
