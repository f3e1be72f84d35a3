//! Issues and comments.

use serde_json::{Value, json};

use super::{
    super::wording::{Lines, excerpt, facts, plain, title},
    normalise::{Parts, first_id},
};
use crate::{
    json,
    source_event::{ReferenceKind, References, first_line},
};

const TITLE_PART: usize = 80;
const EXCERPT: usize = 60;

pub(super) fn issue(data: &Value, label: &str) -> Parts {
    let heading = json::text(data, "title").map(|text| first_line(text, TITLE_PART));
    let mut facts = facts(data, ISSUE_FACTS);
    facts.insert("labels".into(), json!(label_names(data)));
    Parts {
        place: format!("{}:{}", first_id(data, &["team.key", "teamId"]), first_id(data, &["identifier", "id"])),
        title: title(label, &[json::text(data, "identifier").map(str::to_owned), heading]),
        body: issue_body(data),
        references: issue_references(data),
        facts,
    }
}

const ISSUE_FACTS: &[(&str, &str)] = &[
    ("issueId", "id"),
    ("identifier", "identifier"),
    ("number", "number"),
    ("teamId", "teamId"),
    ("teamId", "team.id"),
    ("teamKey", "team.key"),
    ("teamName", "team.name"),
    ("stateId", "stateId"),
    ("stateId", "state.id"),
    ("stateName", "state.name"),
    ("stateType", "state.type"),
    ("priority", "priority"),
    ("priorityLabel", "priorityLabel"),
    ("estimate", "estimate"),
    ("projectId", "projectId"),
    ("projectId", "project.id"),
    ("projectName", "project.name"),
    ("cycleId", "cycleId"),
    ("cycleId", "cycle.id"),
    ("cycleName", "cycle.name"),
    ("assigneeId", "assigneeId"),
    ("assigneeId", "assignee.id"),
    ("assigneeName", "assignee.name"),
    ("branchName", "branchName"),
    ("dueDate", "dueDate"),
    ("startedAt", "startedAt"),
    ("completedAt", "completedAt"),
    ("canceledAt", "canceledAt"),
];

fn issue_body(data: &Value) -> Lines {
    let labels = label_names(data).join(", ");
    let mut body = Lines::default();
    body.text(json::text(data, "title"));
    body.text(json::text(data, "description"));
    body.field("Team", json::text(data, "team.name"));
    body.field("State", json::text(data, "state.name"));
    body.field("Priority", json::text(data, "priorityLabel"));
    body.field("Project", json::text(data, "project.name"));
    body.field("Cycle", cycle_name(json::at(data, "cycle")));
    body.field("Assignee", assignee_name(data));
    body.field("Labels", Some(labels).filter(|labels| !labels.is_empty()));
    body.field("Estimate", plain(data, "estimate").map(|points| format!("{points} points")));
    body.field("Due", json::text(data, "dueDate"));
    body
}

fn issue_references(data: &Value) -> References {
    let mut references = References::new();
    references.add(ReferenceKind::Issue, json::text(data, "identifier"), json::text(data, "url"), None);
    let team = json::id(data, "team.key").or_else(|| json::id(data, "teamId"));
    references.add(ReferenceKind::Team, team, None, json::text(data, "team.name"));
    references.add(ReferenceKind::Project, json::text(data, "project.name"), json::text(data, "project.url"), None);
    references.add(ReferenceKind::Cycle, cycle_name(json::at(data, "cycle")), None, None);
    let assignee = json::text(data, "assignee.email").or_else(|| assignee_name(data));
    references.add(ReferenceKind::Assignee, assignee, None, None);
    for label in label_names(data) {
        references.add(ReferenceKind::Label, Some(label), None, None);
    }
    references.add(ReferenceKind::Branch, json::text(data, "branchName"), None, None);
    for attachment in json::items(data, "attachments.nodes").chain(json::items(data, "attachments")) {
        attached(attachment, &mut references);
    }
    references
}

/// A pull request or a Sentry issue that is attached to the issue.
fn attached(attachment: &Value, references: &mut References) {
    let url = json::text(attachment, "url");
    match json::text(attachment, "sourceType") {
        Some("githubPr") => {
            let number = plain(attachment, "metadata.number").map(|number| format!("#{number}"));
            references.add(ReferenceKind::Pr, number, url, Some("tracked_in"));
        }
        Some("sentryIssue") => {
            let short = json::text(attachment, "metadata.shortId");
            references.add(ReferenceKind::Issue, short, url, Some("linked"));
        }
        _ => {}
    }
}

fn label_names(data: &Value) -> Vec<&str> {
    json::items(data, "labels").filter_map(|label| json::text(label, "name")).collect()
}

fn assignee_name(data: &Value) -> Option<&str> {
    ["assignee.name", "assignee.displayName", "assignee.email"].iter().find_map(|place| json::text(data, place))
}

/// The name of a cycle; most have only a number.
pub(super) fn cycle_name(cycle: &Value) -> Option<String> {
    let name = json::text(cycle, "name").map(str::to_owned);
    name.or_else(|| plain(cycle, "number").map(|number| format!("Cycle {number}")))
}

pub(super) fn comment(data: &Value, label: &str) -> Parts {
    let said = json::text(data, "body").map(|text| excerpt(text, EXCERPT));
    let mut references = References::new();
    references.add(ReferenceKind::Issue, json::text(data, "issue.identifier"), json::text(data, "issue.url"), None);
    let on = ["issue.identifier", "issueId", "projectUpdateId", "projectId", "initiativeUpdateId"];
    Parts {
        place: format!("{}:{}", first_id(data, &on), first_id(data, &["id"])),
        title: title(label, &[subject(data), said]),
        body: comment_body(data),
        references,
        facts: facts(data, COMMENT_FACTS),
    }
}

const COMMENT_FACTS: &[(&str, &str)] = &[
    ("commentId", "id"),
    ("issueId", "issueId"),
    ("issueId", "issue.id"),
    ("issueIdentifier", "issue.identifier"),
    ("issueTitle", "issue.title"),
    ("parentCommentId", "parentId"),
    ("parentCommentId", "parent.id"),
    ("editedAt", "editedAt"),
];

/// What a comment is on: an issue, or the project of a project update.
fn subject(data: &Value) -> Option<String> {
    json::text(data, "issue.identifier").or_else(|| project_name(data)).map(str::to_owned)
}

fn project_name(data: &Value) -> Option<&str> {
    json::text(data, "projectUpdate.project.name").or_else(|| json::text(data, "project.name"))
}

fn comment_body(data: &Value) -> Lines {
    let issue = [json::text(data, "issue.identifier"), json::text(data, "issue.title")];
    let issue = issue.into_iter().flatten().collect::<Vec<_>>().join(" - ");
    let mut body = Lines::default();
    body.text(json::text(data, "body"));
    body.field("On issue", Some(issue).filter(|issue| !issue.is_empty()));
    body.field("On project", project_name(data));
    body
}
