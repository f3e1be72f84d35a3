//! A replay as the API shows it.

use schemas::{
    instant,
    replay::{Counts, Mode, Rate, Replay, Request, Status, Target},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What was asked for, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
pub(super) struct Shown {
    #[serde(flatten)]
    asked: Asked,
    status: Status,
    /// 0 to 1.
    progress: f64,
    first_sequence: u64,
    last_sequence: u64,
    next_sequence: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Of a redelivery to a subject that has ended, where it is asked for by its id: the copies that GW_REPLAY holds
    /// still. It gives up its oldest where it is full, and all after a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<u64>,
    /// Messages read a second.
    rate: f64,
    eta_seconds: Option<u64>,
    waits_for: Option<String>,
    failure: Option<String>,
    started_at: String,
    updated_at: String,
    ended_at: Option<String>,
}

impl From<Replay> for Shown {
    fn from(replay: Replay) -> Self {
        Self {
            status: replay.status,
            progress: replay.progress(),
            rate: replay.rate(),
            eta_seconds: replay.eta(),
            first_sequence: replay.from,
            last_sequence: replay.to,
            next_sequence: replay.next,
            started_at: instant::rfc3339(replay.started_at),
            updated_at: instant::rfc3339(replay.updated_at),
            ended_at: replay.ended_at.map(instant::rfc3339),
            asked: replay.request.into(),
            counts: replay.counts,
            held: None,
            waits_for: replay.waits_for,
            failure: replay.failure,
        }
    }
}

impl Shown {
    /// The same with how many of its copies are held still.
    pub(super) fn with_held(self, held: Option<u64>) -> Self {
        Self { held, ..self }
    }
}

/// A request as it is stored, but for its times: they are RFC 3339 here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AskedReplay)]
struct Asked {
    /// `rpl_` and 26 characters, or as it was asked for.
    id: String,
    /// From what to what.
    mode: Mode,
    /// Where the events of a redelivery go.
    to: Target,
    /// One organisation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    /// One provider only.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// One type or pattern only.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// These endpoints only; absent where it is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoint_ids: Vec<String>,
    /// What was stored at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// What was stored before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// What has this sequence or a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_sequence: Option<u64>,
    /// What has this sequence or an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_sequence: Option<u64>,
    /// Only pushes whose last attempt failed.
    only_failed: bool,
    /// Only deliveries that were stored and never routed.
    only_undelivered: bool,
    /// Count, and publish nothing.
    dry_run: bool,
    /// How fast.
    rate_per_second: Rate,
    /// When it was asked for; absent where the command does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_at: Option<String>,
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        Self {
            id: request.id,
            mode: request.mode,
            to: request.to,
            org_id: request.org_id,
            provider: request.provider,
            kind: request.kind,
            endpoint_ids: request.endpoint_ids,
            since: request.since.map(instant::rfc3339),
            until: request.until.map(instant::rfc3339),
            from_sequence: request.from_sequence,
            to_sequence: request.to_sequence,
            only_failed: request.only_failed,
            only_undelivered: request.only_undelivered,
            dry_run: request.dry_run,
            rate_per_second: request.rate_per_second,
            requested_at: (request.requested_at > 0).then(|| instant::rfc3339(request.requested_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(command: Value) -> Value {
        let request: Request = serde_json::from_value(command).expect("a command");
        serde_json::to_value(Asked::from(request)).expect("JSON")
    }

    #[test]
    fn a_stored_request_is_shown_as_it_is_but_with_times_for_people() {
        let mut stored = json!({
            "id": "rpl_x", "mode": "redeliver", "to": "endpoints", "orgId": "one", "provider": "github",
            "type": "github:*", "endpointIds": ["ep_1"], "since": 1_700_000_000_000_i64, "until": 1_700_000_001_000_i64,
            "fromSequence": 1, "toSequence": 9, "onlyFailed": true, "onlyUndelivered": false, "dryRun": true,
            "ratePerSecond": "max", "requestedAt": 1_700_000_002_003_i64,
        });
        let shown = asked(stored.clone());
        stored["since"] = json!("2023-11-14T22:13:20.000Z");
        stored["until"] = json!("2023-11-14T22:13:21.000Z");
        stored["requestedAt"] = json!("2023-11-14T22:13:22.003Z");
        assert_eq!(shown, stored);
    }

    #[test]
    fn a_command_of_others_that_names_no_time_has_none() {
        assert_eq!(asked(json!({ "id": "rpl_x", "mode": "reroute" })).get("requestedAt"), None);
    }
}
