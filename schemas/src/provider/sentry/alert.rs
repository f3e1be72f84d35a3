//! Issue alerts (`event_alert`) and metric alerts.

use serde_json::{Value, json};

use super::{
    super::wording::{Lines, facts, plain, title, words},
    error,
    normalise::{Parts, error_type, error_value, first_id},
};
use crate::{
    instant, json,
    source_event::{Context, References},
};

pub(super) fn event(context: Context<'_>, payload: &Value) -> Parts {
    let event = error::subject(payload, ["data.event", "data.error", "data.issue_alert"]);
    let rule = ["data.triggered_rule", "data.issue_alert.title"].iter().find_map(|place| json::text(payload, place));
    let id = json::id(event, "event_id").unwrap_or_else(|| context.delivery.to_owned());
    let dashed = rule.unwrap_or("unknown").replace(char::is_whitespace, "-");
    let mut body = Lines::default();
    body.field("Alert Rule", rule);
    body.text(json::text(event, "title"));
    body.text(json::text(event, "message"));
    body.text(error_value(event));
    body.field("Platform", json::text(event, "platform"));
    let mut facts = error::event_facts(event);
    facts.insert("triggeredRule".into(), json!(rule));
    facts.insert("errorValue".into(), json!(error_value(event).or_else(|| json::text(event, "title"))));
    Parts {
        source_id: format!("sentry-alert:{}:{id}:{dashed}", first_id(event, &["project", "project.id"])),
        title: title(
            "Alert Triggered",
            &[rule.map(str::to_owned), Some(error_type(event).unwrap_or("Alert").to_owned())],
        ),
        body,
        actor: None,
        occurred_at: error::occurred_at(event),
        references: error::references(event),
        facts,
    }
}

pub(super) fn metric(context: Context<'_>, payload: &Value) -> Parts {
    let alert = json::at(payload, "data.metric_alert");
    let action = json::text(payload, "action").unwrap_or_default();
    let name = ["alert_rule.name", "title"].iter().find_map(|place| json::text(alert, place));
    let organization = first_id(alert, &["organization_id", "alert_rule.organization_id"]);
    let state = if action.is_empty() { "changed" } else { action };
    Parts {
        // An incident may become critical twice: the delivery tells the two apart.
        source_id: format!(
            "sentry-metric-alert:{organization}:{}:{state}:{}",
            first_id(alert, &["id"]),
            context.delivery
        ),
        title: title(words(&format!("metric-alert-{action}")).as_str(), &[name.map(str::to_owned)]),
        body: metric_body(alert, action, name),
        actor: None,
        occurred_at: metric_time(alert, action),
        references: References::new(),
        facts: facts(alert, METRIC_FACTS),
    }
}

const METRIC_FACTS: &[(&str, &str)] = &[
    ("alertId", "id"),
    ("alertRuleId", "alert_rule.id"),
    ("alertRuleName", "alert_rule.name"),
    ("organizationId", "alert_rule.organization_id"),
    ("organizationId", "organization_id"),
    ("query", "alert_rule.query"),
    ("aggregate", "alert_rule.aggregate"),
    ("timeWindow", "alert_rule.time_window"),
    ("thresholdType", "alert_rule.threshold_type"),
    ("resolveThreshold", "alert_rule.resolve_threshold"),
    ("dateStarted", "date_started"),
    ("dateDetected", "date_detected"),
    ("dateClosed", "date_closed"),
];

fn metric_body(alert: &Value, action: &str, name: Option<&str>) -> Lines {
    let mut body = Lines::default();
    body.field("Alert", name);
    body.field("Query", json::text(alert, "alert_rule.query"));
    body.field("Aggregate", json::text(alert, "alert_rule.aggregate"));
    body.field("Time Window", plain(alert, "alert_rule.time_window").map(|minutes| format!("{minutes} minutes")));
    body.field("Threshold", threshold(json::at(alert, "alert_rule"), action));
    body.field("Started", date(alert, "date_started"));
    body.field("Detected", date(alert, "date_detected"));
    body.field("Closed", date(alert, "date_closed"));
    body
}

/// `above 100`: the threshold of the trigger that fired, or where none did, the one that resolves.
fn threshold(rule: &Value, action: &str) -> Option<String> {
    let fired = json::items(rule, "triggers").find(|trigger| json::text(trigger, "label") == Some(action));
    let fired =
        fired.and_then(|trigger| plain(trigger, "alert_threshold").or_else(|| plain(trigger, "alertThreshold")));
    let (limit, resolves) = match fired {
        Some(limit) => (limit, false),
        None => (plain(rule, "resolve_threshold")?, true),
    };
    // A rule that fires above its threshold (0) resolves below one, and the other way round (1).
    match (json::at(rule, "threshold_type").as_i64(), resolves) {
        (Some(0), false) | (Some(1), true) => Some(format!("above {limit}")),
        (Some(1), false) | (Some(0), true) => Some(format!("below {limit}")),
        _ => Some(limit),
    }
}

/// A time in the one spelling of ours, or else as Sentry wrote it.
fn date(alert: &Value, place: &str) -> Option<String> {
    instant::of_json(json::at(alert, place)).map(instant::rfc3339).or_else(|| plain(alert, place))
}

/// When the alert came to be in its state.
fn metric_time(alert: &Value, action: &str) -> Option<i64> {
    let closed = (action == "resolved").then_some("date_closed");
    let places = closed.into_iter().chain(["date_detected", "date_started"]);
    places.into_iter().find_map(|place| instant::of_json(json::at(alert, place)))
}
