//! Pushes: to a branch or a tag, which they may also create or delete.

use serde_json::{Value, json};

use super::normalise::{Webhook, scalar, user};
use crate::{
    instant,
    json::{at, items, text, truth},
    source_event::{Actor, Draft, ReferenceKind, References, first_line},
};

/// Reads a `push` webhook.
pub(super) fn read(webhook: &Webhook<'_>) -> Draft {
    let payload = webhook.payload;
    let reference = text(payload, "ref").unwrap_or("unknown");
    let branch = reference.strip_prefix("refs/heads/");
    let tag = reference.strip_prefix("refs/tags/");
    let named = match (branch, tag) {
        (Some(branch), _) => ("branch", branch),
        (None, Some(tag)) => ("tag", tag),
        (None, None) => ("ref", reference),
    };
    let before = text(payload, "before");
    let after = text(payload, "after");
    let deleted = truth(payload, "deleted") || after.is_some_and(is_zero);
    let message = text(payload, "head_commit.message").unwrap_or_default();
    Draft {
        source_type: webhook.key.source_type(),
        source_id: source_id(webhook, reference, before, after),
        title: format!("[Push] {}", title(message, deleted, named)),
        body: message.to_owned(),
        actor: actor(payload),
        occurred_at: ["head_commit.timestamp", "repository.pushed_at"]
            .into_iter()
            .find_map(|path| instant::of_json(at(payload, path))),
        references: references(webhook, after.filter(|_| !deleted), branch, deleted),
        metadata: json!({
            "repoFullName": webhook.repository(),
            "repoId": scalar(payload, "repository.id"),
            "ref": reference,
            "branch": branch,
            "tag": tag,
            "beforeSha": before,
            "afterSha": after,
            "commitCount": items(payload, "commits").count(),
            "fileCount": file_count(payload),
            "forced": truth(payload, "forced"),
            "created": truth(payload, "created") || before.is_some_and(is_zero),
            "deleted": deleted,
        }),
    }
}

/// The move of one ref. Both ends count: a ref may come back to a commit, and all deletions end at zero.
fn source_id(webhook: &Webhook<'_>, reference: &str, before: Option<&str>, after: Option<&str>) -> String {
    let after = after.unwrap_or(webhook.context.delivery);
    let before = before.map(|before| format!(":{before}")).unwrap_or_default();
    format!("push:{}:{reference}:{after}{before}", webhook.repository())
}

fn title(message: &str, deleted: bool, (kind, name): (&str, &str)) -> String {
    let line = first_line(message, 100);
    if deleted {
        format!("Deleted {kind} {name}")
    } else if line.trim().is_empty() {
        format!("Push to {name}")
    } else {
        line
    }
}

fn actor(payload: &Value) -> Option<Actor> {
    let sender = at(payload, "sender");
    let is_pusher = text(payload, "pusher.name") == text(sender, "login");
    user(sender, text(payload, "pusher.email").filter(|_| is_pusher))
}

fn references(webhook: &Webhook<'_>, after: Option<&str>, branch: Option<&str>, deleted: bool) -> References {
    let mut references = References::new();
    let commit = after.and_then(|sha| webhook.url("commit", sha));
    references.add(ReferenceKind::Commit, after, commit.as_deref(), None);
    let tree = branch.filter(|_| !deleted).and_then(|branch| webhook.url("tree", branch));
    references.add(ReferenceKind::Branch, branch, tree.as_deref(), None);
    references
}

fn file_count(payload: &Value) -> usize {
    items(payload, "commits")
        .flat_map(|commit| ["added", "modified", "removed"].map(|list| items(commit, list).count()))
        .sum()
}

/// The commit that stands for none.
fn is_zero(sha: &str) -> bool {
    sha.bytes().all(|digit| digit == b'0')
}
