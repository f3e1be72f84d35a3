//! Pull requests.

use serde_json::{Value, json};

use super::{
    is_merged,
    links::closed_by,
    normalise::{Webhook, add_labels, add_users, moment, scalar, title_and_body, url_in},
};
use crate::{
    json::{at, id, text},
    source_event::{Draft, ReferenceKind, References},
};

const WORDS: &[(&str, &str)] = &[
    ("opened", "PR Opened"),
    ("closed", "PR Closed"),
    ("merged", "PR Merged"),
    ("reopened", "PR Reopened"),
    ("review-requested", "Review Requested"),
    ("ready-for-review", "Ready for Review"),
];

/// Reads a `pull_request` webhook.
pub(super) fn read(webhook: &Webhook<'_>) -> Draft {
    let pull_request = at(webhook.payload, "pull_request");
    let when = moment(pull_request, webhook.action());
    let name = webhook.numbered(pull_request);
    let author = match webhook.action() {
        Some("opened") => Some("user"),
        Some("merged") => Some("merged_by"),
        _ => None,
    };
    Draft {
        source_type: webhook.key.source_type(),
        source_id: webhook.source_id(&format!("pr:{name}"), when),
        title: webhook.title("PR", WORDS, pull_request, &name),
        body: title_and_body(pull_request),
        actor: webhook.actor(author.map(|author| at(pull_request, author))),
        occurred_at: when,
        references: references(webhook, pull_request),
        metadata: metadata(webhook, pull_request),
    }
}

fn references(webhook: &Webhook<'_>, pull_request: &Value) -> References {
    let mut references = References::new();
    let number = id(pull_request, "number").map(|number| format!("#{number}"));
    references.add(ReferenceKind::Pr, number, text(pull_request, "html_url"), None);
    if let Some(branch) = text(pull_request, "head.ref") {
        // The repository of the head is null once a fork is deleted.
        let url = url_in(at(pull_request, "head.repo"), "tree", branch);
        references.add(ReferenceKind::Branch, Some(branch), url.as_deref(), None);
    }
    let mut add_commit = |sha: Option<&str>, label| {
        let url = sha.and_then(|sha| webhook.url("commit", sha));
        references.add(ReferenceKind::Commit, sha, url.as_deref(), label);
    };
    add_commit(text(pull_request, "head.sha"), None);
    // Before the merge, this is a trial merge that nobody can see.
    if is_merged(pull_request) {
        add_commit(text(pull_request, "merge_commit_sha"), Some("merge"));
    }
    for link in closed_by(text(pull_request, "body").unwrap_or_default()) {
        references.add(ReferenceKind::Issue, Some(link.id), issue_url(webhook, link.id).as_deref(), Some(link.verb));
    }
    add_users(&mut references, ReferenceKind::Reviewer, pull_request, "requested_reviewers");
    add_users(&mut references, ReferenceKind::Assignee, pull_request, "assignees");
    add_labels(&mut references, pull_request);
    references
}

/// The address of `#12` or `owner/name#12`.
fn issue_url(webhook: &Webhook<'_>, issue: &str) -> Option<String> {
    let (repository, number) = issue.split_once('#')?;
    if repository.is_empty() {
        return webhook.url("issues", number);
    }
    let own = text(webhook.payload, "repository.html_url")?;
    let host = own.strip_suffix(webhook.repository())?;
    Some(format!("{host}{repository}/issues/{number}"))
}

fn metadata(webhook: &Webhook<'_>, pull_request: &Value) -> Value {
    json!({
        "repoFullName": webhook.repository(),
        "repoId": scalar(webhook.payload, "repository.id"),
        "prNumber": scalar(pull_request, "number"),
        "action": scalar(webhook.payload, "action"),
        "merged": is_merged(pull_request),
        "draft": scalar(pull_request, "draft"),
        "additions": scalar(pull_request, "additions"),
        "deletions": scalar(pull_request, "deletions"),
        "changedFiles": scalar(pull_request, "changed_files"),
        "headRef": scalar(pull_request, "head.ref"),
        "baseRef": scalar(pull_request, "base.ref"),
        "headSha": scalar(pull_request, "head.sha"),
        "authorLogin": scalar(pull_request, "user.login"),
        "authorId": scalar(pull_request, "user.id"),
    })
}
