//! Discussions.

use serde_json::json;

use super::normalise::{Webhook, moment, scalar, title_and_body};
use crate::{
    json::{at, text},
    source_event::{Draft, ReferenceKind, References},
};

const WORDS: &[(&str, &str)] =
    &[("created", "Discussion Created"), ("answered", "Discussion Answered"), ("closed", "Discussion Closed")];

/// Reads a `discussion` webhook.
pub(super) fn read(webhook: &Webhook<'_>) -> Draft {
    let payload = webhook.payload;
    let discussion = at(payload, "discussion");
    let when = moment(discussion, webhook.action());
    let name = webhook.numbered(discussion);
    let mut references = References::new();
    references.add(ReferenceKind::Label, text(discussion, "category.name"), None, None);
    Draft {
        source_type: webhook.key.source_type(),
        source_id: webhook.source_id(&format!("discussion:{name}"), when),
        title: webhook.title("Discussion", WORDS, discussion, &name),
        body: title_and_body(discussion),
        actor: webhook.actor((webhook.action() == Some("created")).then(|| at(discussion, "user"))),
        occurred_at: when,
        references,
        metadata: json!({
            "repoFullName": webhook.repository(),
            "repoId": scalar(payload, "repository.id"),
            "discussionNumber": scalar(discussion, "number"),
            "action": scalar(payload, "action"),
            "category": scalar(discussion, "category.name"),
            "answered": text(discussion, "answer_html_url").is_some(),
            "authorLogin": scalar(discussion, "user.login"),
            "authorId": scalar(discussion, "user.id"),
        }),
    }
}
