//! Issues.

use serde_json::json;

use super::normalise::{Webhook, add_labels, add_users, moment, scalar, title_and_body};
use crate::{
    json::{at, id, text},
    source_event::{Draft, ReferenceKind, References},
};

const WORDS: &[(&str, &str)] = &[
    ("opened", "Issue Opened"),
    ("closed", "Issue Closed"),
    ("reopened", "Issue Reopened"),
    ("assigned", "Issue Assigned"),
    ("labeled", "Issue Labeled"),
];

/// Reads an `issues` webhook.
pub(super) fn read(webhook: &Webhook<'_>) -> Draft {
    let payload = webhook.payload;
    let issue = at(payload, "issue");
    let when = moment(issue, webhook.action());
    let name = webhook.numbered(issue);
    let mut references = References::new();
    let number = id(issue, "number").map(|number| format!("#{number}"));
    references.add(ReferenceKind::Issue, number, text(issue, "html_url"), None);
    add_users(&mut references, ReferenceKind::Assignee, issue, "assignees");
    add_labels(&mut references, issue);
    Draft {
        source_type: webhook.key.source_type(),
        source_id: webhook.source_id(&format!("issue:{name}"), when),
        title: webhook.title("Issue", WORDS, issue, &name),
        body: title_and_body(issue),
        actor: webhook.actor((webhook.action() == Some("opened")).then(|| at(issue, "user"))),
        occurred_at: when,
        references,
        metadata: json!({
            "repoFullName": webhook.repository(),
            "repoId": scalar(payload, "repository.id"),
            "issueNumber": scalar(issue, "number"),
            "action": scalar(payload, "action"),
            "state": scalar(issue, "state"),
            "authorLogin": scalar(issue, "user.login"),
            "authorId": scalar(issue, "user.id"),
        }),
    }
}
