//! The life of a delivery, for people: a line a step, in order.

use serde_json::Value;

use crate::output::plain;

/// The lines of what `GET /deliveries/{provider}/{delivery}` answered.
pub(super) fn show(trace: &Value) -> Vec<String> {
    let mut lines =
        vec![format!("{} {}: {}", text(trace, "provider"), text(trace, "deliveryId"), text(trace, "status"))];
    let received = &trace["received"];
    if received["at"].is_string() {
        let what = optional(received, "event", " ");
        let account = optional(received, "account", " of account ");
        let key = optional(received, "signatureKey", ", signed with the ");
        let key = if key.is_empty() { key } else { format!("{key} secret") };
        let origin = optional(received, "origin", ", ");
        let correlation = optional(received, "correlationId", ", correlation ");
        lines.push(format!("{}  received{what}{account}{key}{origin}{correlation}", text(received, "at")));
    }
    let stored = &trace["stored"];
    if stored.is_object() {
        let (at, stream, body) =
            (text(stored, "at"), text(stored, "stream"), optional(stored, "payloadRef", ", its body as "));
        lines.push(format!("{at}  stored in {stream} at {}{body}", stored["sequence"]));
    }
    for filtered in each(trace, "filtered") {
        let (at, org) = (text(filtered, "decidedAt"), text(filtered, "orgId"));
        lines.push(format!("{at}  filtered for {org}{}", links(filtered, " by ")));
    }
    for outcome in each(trace, "outcomes").filter(|outcome| !told_apart(outcome)) {
        let reason = optional(outcome, "reason", ": ");
        lines.push(format!("{}  {}{reason}", text(outcome, "decidedAt"), text(outcome, "outcome")));
    }
    for event in each(trace, "events") {
        let replay = optional(event, "replay", ", of replay ");
        let (at, org, kind, id) =
            (text(event, "storedAt"), text(event, "orgId"), text(event, "type"), text(event, "eventId"));
        lines.push(format!(
            "{at}  {kind} for {org}: event {id} at {}{}{replay}",
            event["sequence"],
            links(event, ", by ")
        ));
        for push in each(event, "pushes") {
            pushed(push, &mut lines);
        }
    }
    for letter in each(trace, "letters") {
        let detail = optional(letter, "detail", ", ");
        let (at, stage, reason) = (text(letter, "at"), text(letter, "stage"), text(letter, "reason"));
        lines.push(format!("{at}  dead letter {} of {stage}: {reason}{detail}", letter["id"]));
    }
    let next = &trace["next"];
    if next.is_object() {
        lines.push(format!("{}  next attempt to {}", text(next, "at"), text(next, "endpointId")));
    }
    match trace["ledger"]["behind"].as_i64() {
        Some(behind) if behind > 0 => lines.push(format!("the ledger is {behind} messages behind; there may be more")),
        _ => {}
    }
    lines
}

fn pushed(push: &Value, lines: &mut Vec<String>) {
    let reason = optional(push, "reason", ", ");
    let why = match push["waitsFor"].as_str() {
        Some("breaker") => "; the endpoint fails and is left alone for a while".to_owned(),
        Some(status) => format!("; the endpoint is {}", plain(status)),
        None => String::new(),
    };
    lines.push(format!("{:24}    to {}: {}{reason}{why}", "", text(push, "endpointId"), text(push, "status")));
    for attempt in each(push, "attempts") {
        let number = attempt["attempt"].as_i64().filter(|number| *number > 0);
        let replay = optional(attempt, "replay", " of replay ");
        let number = number.map(|number| format!("attempt {number}{replay}: ")).unwrap_or_default();
        let code = attempt["statusCode"].as_i64().map(|code| format!(", {code}")).unwrap_or_default();
        let error = optional(attempt, "errorClass", ", ");
        let took = attempt["latencyMs"].as_i64().map(|took| format!(" in {took} ms")).unwrap_or_default();
        let reason = optional(attempt, "reason", ", ");
        let next = optional(attempt, "nextAt", ", next at ");
        let (at, outcome) = (text(attempt, "at"), text(attempt, "outcome"));
        lines.push(format!("{at}      {number}{outcome}{code}{error}{took}{reason}{next}"));
    }
    for repeat in each(push, "repeats") {
        lines.push(format!("{}      again for replay {}", text(repeat, "at"), text(repeat, "replay")));
    }
}

/// Whether it is told with the organisations it is of.
fn told_apart(outcome: &Value) -> bool {
    matches!(outcome["outcome"].as_str(), Some("filtered" | "routed"))
}

/// The links that decided, with what stands before them.
fn links(of: &Value, before: &str) -> String {
    let links: Vec<&str> = each(of, "linkIds").filter_map(Value::as_str).collect();
    if links.is_empty() { String::new() } else { format!("{before}{}", plain(&links.join(", "))) }
}

fn each<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value[member].as_array().into_iter().flatten()
}

fn text(value: &Value, member: &str) -> String {
    plain(value[member].as_str().unwrap_or("-"))
}

/// What is there, with what stands before it.
fn optional(value: &Value, member: &str, before: &str) -> String {
    value[member].as_str().map(|text| format!("{before}{}", plain(text))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_is_a_line_and_nothing_steers_the_terminal() {
        let trace = json!({
            "provider": "p", "deliveryId": "d\u{1b}[2J", "status": "routed",
            "received": { "at": "T1", "event": "push", "signatureKey": "previous" },
            "stored": { "stream": "S", "sequence": 7, "at": "T2", "payloadRef": "p/d/5" },
            "events": [{ "eventId": "e", "orgId": "o", "linkIds": ["l", "m"], "type": "p:push", "sequence": 3, "storedAt": "T3", "pushes": [
                { "endpointId": "ep", "status": "scheduled", "waitsFor": "breaker", "repeats": [{ "replay": "rpl", "at": "T6" }], "attempts": [
                    { "attempt": 1, "outcome": "scheduled", "at": "T4", "statusCode": 500, "latencyMs": 12, "nextAt": "T5" },
                    { "attempt": 1, "outcome": "scheduled", "at": "T5", "errorClass": "connect", "replay": "rpl" },
                ] }
            ] }],
            "next": { "endpointId": "ep", "at": "T5" }, "ledger": { "behind": 2 },
        });
        assert_eq!(
            show(&trace),
            [
                "p d [2J: routed",
                "T1  received push, signed with the previous secret",
                "T2  stored in S at 7, its body as p/d/5",
                "T3  p:push for o: event e at 3, by l, m",
                "                            to ep: scheduled; the endpoint fails and is left alone for a while",
                "T4      attempt 1: scheduled, 500 in 12 ms, next at T5",
                "T5      attempt 1 of replay rpl: scheduled, connect",
                "T6      again for replay rpl",
                "T5  next attempt to ep",
                "the ledger is 2 messages behind; there may be more",
            ]
        );
    }
}
