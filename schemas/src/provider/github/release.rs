//! Releases.

use serde_json::{Value, json};

use super::normalise::{Webhook, scalar};
use crate::{
    instant,
    json::{at, id, text},
    source_event::{Draft, ReferenceKind, References, first_line},
};

const WORDS: &[(&str, &str)] =
    &[("published", "Release Published"), ("created", "Release Created"), ("released", "Release Released")];

/// Reads a `release` webhook.
pub(super) fn read(webhook: &Webhook<'_>) -> Draft {
    let payload = webhook.payload;
    let release = at(payload, "release");
    let tag = text(release, "tag_name");
    let when = moment(release, webhook.action());
    let name = text(release, "name").or(tag).unwrap_or(webhook.repository());
    Draft {
        source_type: webhook.key.source_type(),
        source_id: webhook.source_id(&about(webhook, release), when),
        title: webhook.title("Release", WORDS, &Value::Null, &first_line(name, 100)),
        body: text(release, "body").unwrap_or_default().to_owned(),
        actor: webhook.actor((webhook.action() == Some("published")).then(|| at(release, "author"))),
        occurred_at: when,
        references: references(webhook, release),
        metadata: json!({
            "repoFullName": webhook.repository(),
            "repoId": scalar(payload, "repository.id"),
            "tagName": tag,
            "targetCommitish": scalar(release, "target_commitish"),
            "action": scalar(payload, "action"),
            "prerelease": scalar(release, "prerelease"),
            "draft": scalar(release, "draft"),
            "authorLogin": scalar(release, "author.login"),
            "authorId": scalar(release, "author.id"),
        }),
    }
}

fn moment(release: &Value, action: Option<&str>) -> Option<i64> {
    let times: &[&str] = match action {
        // The release's other times tell nothing of these.
        Some("edited" | "deleted" | "unpublished") => &["updated_at"],
        _ => &["published_at", "created_at", "updated_at"],
    };
    times.iter().find_map(|name| instant::of_json(at(release, name)))
}

/// The release itself: one can be made anew for the same tag, even with the same times.
fn about(webhook: &Webhook<'_>, release: &Value) -> String {
    let tag = text(release, "tag_name").unwrap_or("unknown");
    let id = id(release, "id").map(|id| format!(":{id}")).unwrap_or_default();
    format!("release:{}:{tag}{id}", webhook.repository())
}

/// What the tag is made from, a branch or a commit.
fn references(webhook: &Webhook<'_>, release: &Value) -> References {
    let mut references = References::new();
    let Some(target) = text(release, "target_commitish") else { return references };
    let is_commit = target.len() == 40 && target.bytes().all(|digit| digit.is_ascii_hexdigit());
    let (kind, folder) = if is_commit { (ReferenceKind::Commit, "commit") } else { (ReferenceKind::Branch, "tree") };
    references.add(kind, Some(target), webhook.url(folder, target).as_deref(), None);
    references
}
