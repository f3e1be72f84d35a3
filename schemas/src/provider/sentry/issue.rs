//! Issues: created, resolved, assigned, ignored, archived, unresolved.

use serde_json::{Map, Value, json};

use super::{
    super::wording::{Lines, facts, label, plain, title},
    PROVIDER,
    normalise::{Parts, error_type, error_value, first_id, headline},
    type_of,
};
use crate::{
    instant, json,
    source_event::{Actor, Context, ReferenceKind, References},
};

pub(super) fn parts(context: Context<'_>, payload: &Value) -> Parts {
    let issue = json::at(payload, "data.issue");
    let label = label(&PROVIDER, &type_of(context.event, payload));
    Parts {
        source_id: source_id(context, payload, issue),
        title: title(&label, &[Some(headline(issue, "Error"))]),
        body: body(issue),
        actor: actor(payload),
        occurred_at: ["lastSeen", "firstSeen"].iter().find_map(|place| instant::of_json(json::at(issue, place))),
        references: references(issue),
        facts: issue_facts(issue),
    }
}

/// The payload has no version of the issue: what happens twice to an issue that was not seen in between is told
/// apart by the delivery, whose id is a hash of the content.
fn source_id(context: Context<'_>, payload: &Value, issue: &Value) -> String {
    let project = first_id(issue, &["project.slug", "project.id"]);
    let short = first_id(issue, &["shortId", "id"]);
    let action = json::text(payload, "action").unwrap_or("changed");
    let seen = instant::of_json(json::at(issue, "lastSeen")).map(|millis| millis.to_string());
    let seen = seen.unwrap_or_else(|| first_id(issue, &["lastSeen"]));
    format!("sentry-issue:{project}:{short}:{action}:{seen}:{}", context.delivery)
}

fn body(issue: &Value) -> Lines {
    let place = json::text(issue, "metadata.filename").or_else(|| json::text(issue, "culprit"));
    let mut body = Lines::default();
    body.text(json::text(issue, "title"));
    body.text(error_value(issue));
    body.field("Location", place.map(|place| format!("in {place}")));
    body.field("Function", json::text(issue, "metadata.function"));
    body.field("Level", json::text(issue, "level"));
    body.field("Platform", json::text(issue, "platform"));
    body.field("Occurrences", plain(issue, "count"));
    body.field("Users affected", plain(issue, "userCount"));
    body
}

fn actor(payload: &Value) -> Option<Actor> {
    let who = json::at(payload, "actor");
    let name = json::text(who, "name").or_else(|| json::text(who, "email"));
    Actor::new(json::id(who, "id"), name, json::text(who, "email"), None)
}

fn references(issue: &Value) -> References {
    let url = ["permalink", "web_url"].iter().find_map(|place| json::text(issue, place));
    let mut references = References::new();
    references.add(ReferenceKind::Issue, json::text(issue, "shortId"), url, None);
    let slug = json::text(issue, "project.slug");
    let project_url = slug.map(|slug| format!("https://sentry.io/organizations/_/projects/{slug}/"));
    let project_name = json::text(issue, "project.name").filter(|name| Some(*name) != slug);
    references.add(ReferenceKind::Project, slug, project_url.as_deref(), project_name);
    let assignee = ["assignedTo.email", "assignedTo.name"].iter().find_map(|place| json::text(issue, place));
    references.add(ReferenceKind::Assignee, assignee, None, None);
    resolved_by(json::at(issue, "statusDetails.inCommit"), &mut references);
    references
}

/// The commit that resolved the issue: named by its hash, or as an object of its own.
fn resolved_by(resolution: &Value, references: &mut References) {
    let sha = ["commit", "commit.id", "id"].iter().find_map(|place| json::text(resolution, place));
    let repository = ["repository", "repository.name", "commit.repository.name", "commit.repository"]
        .iter()
        .find_map(|place| json::text(resolution, place));
    let url = sha
        .zip(repository.filter(|name| is_full_name(name)))
        .map(|(sha, name)| format!("https://github.com/{name}/commit/{sha}"));
    references.add(ReferenceKind::Commit, sha, url.as_deref(), Some("resolved_by"));
}

/// Whether a repository is named as `owner/name`.
fn is_full_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

fn issue_facts(issue: &Value) -> Map<String, Value> {
    let mut facts = facts(issue, FACTS);
    for (name, path) in [("issueId", "id"), ("projectId", "project.id")] {
        facts.insert(name.into(), json!(json::id(issue, path)));
    }
    facts.insert("errorType".into(), json!(error_type(issue)));
    facts.insert("errorValue".into(), json!(error_value(issue)));
    facts
}

const FACTS: &[(&str, &str)] = &[
    ("shortId", "shortId"),
    ("projectSlug", "project.slug"),
    ("projectName", "project.name"),
    ("level", "level"),
    ("platform", "platform"),
    ("filename", "metadata.filename"),
    ("function", "metadata.function"),
    ("culprit", "culprit"),
    ("count", "count"),
    ("userCount", "userCount"),
    ("firstSeen", "firstSeen"),
    ("lastSeen", "lastSeen"),
    ("status", "status"),
    ("substatus", "substatus"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resolution: Value, expected: Option<(&str, Option<&str>)>) {
        let mut references = References::new();
        resolved_by(&resolution, &mut references);
        let draft = crate::source_event::Draft {
            source_type: String::new(),
            source_id: String::new(),
            title: String::new(),
            body: String::new(),
            actor: None,
            occurred_at: None,
            references,
            metadata: Value::Null,
        };
        let event = draft.finish(Context { provider: "sentry", delivery: "d", event: "issue", received_at: 0 });
        let found = event.references.first().map(|commit| (commit.id.as_str(), commit.url.as_deref()));
        assert_eq!(found, expected, "{resolution}");
    }

    #[test]
    fn a_resolving_commit_has_an_address_only_where_its_repository_is_known_in_full() {
        let url = Some("https://github.com/octo-org/hello/commit/ab12");
        check(json!({ "commit": "ab12", "repository": "octo-org/hello" }), Some(("ab12", url)));
        check(json!({ "id": "ab12", "repository": { "name": "octo-org/hello" } }), Some(("ab12", url)));
        check(json!({ "commit": { "id": "ab12", "repository": { "name": "octo-org/hello" } } }), Some(("ab12", url)));
        check(json!({ "commit": "ab12", "repository": "hello" }), Some(("ab12", None)));
        check(json!({ "commit": "ab12", "repository": "a/b/c" }), Some(("ab12", None)));
        check(json!({ "commit": null, "repository": "octo-org/hello" }), None);
        check(json!(null), None);
    }
}
