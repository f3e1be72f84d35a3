//! GitHub's webhooks as events: which have one, and what all of those share.

use serde_json::Value;

use super::{discussion, issue, pull_request, push, release, type_of};
use crate::{
    event_type::TypeKey,
    instant,
    json::{at, id, items, text},
    source_event::{Actor, Context, ReferenceKind, References, SourceEvent, first_line},
};

/// The event of a push, a pull request, an issue, a release or a discussion, whatever its action.
pub(super) fn normalise(context: Context<'_>, payload: &Value) -> Option<SourceEvent> {
    let read = match context.event {
        "push" => push::read,
        "pull_request" => pull_request::read,
        "issues" => issue::read,
        "release" => release::read,
        "discussion" => discussion::read,
        _ => return None,
    };
    let key = type_of(context.event, payload);
    Some(read(&Webhook { context, payload, key }).finish(context))
}

/// A webhook that is being read.
pub(super) struct Webhook<'a> {
    pub(super) context: Context<'a>,
    pub(super) payload: &'a Value,
    pub(super) key: TypeKey,
}

impl<'a> Webhook<'a> {
    /// The full name of the repository.
    pub(super) fn repository(&self) -> &'a str {
        text(self.payload, "repository.full_name").unwrap_or("unknown")
    }

    /// The address of something in the repository.
    pub(super) fn url(&self, folder: &str, name: &str) -> Option<String> {
        url_in(at(self.payload, "repository"), folder, name)
    }

    /// The normalised action.
    pub(super) fn action(&self) -> Option<&str> {
        self.key.action.as_deref()
    }

    /// `[PR Opened] ` and the item's title, or its name where it has none.
    pub(super) fn title(&self, noun: &str, words: &[(&str, &str)], item: &Value, name: &str) -> String {
        let action = self.action().unwrap_or_default();
        let label = match words.iter().find(|(known, _)| *known == action) {
            Some((_, label)) => (*label).to_owned(),
            None => format!("{noun} {}", action.replace('-', " ")),
        };
        let title = text(item, "title").map(|title| first_line(title, 100)).filter(|title| !title.trim().is_empty());
        format!("[{}] {}", label.trim(), title.as_deref().unwrap_or(name))
    }

    /// Who did it: the sender, or `author` where history brings an item without one.
    pub(super) fn actor(&self, author: Option<&Value>) -> Option<Actor> {
        user(at(self.payload, "sender"), None).or_else(|| user(author?, None))
    }

    /// `owner/name#12`.
    pub(super) fn numbered(&self, item: &Value) -> String {
        let number = id(item, "number").or_else(|| id(self.payload, "number"));
        format!("{}#{}", self.repository(), number.or_else(|| id(item, "id")).unwrap_or_else(|| "unknown".to_owned()))
    }

    /// The source id: what it is about, the action, what the action was done with, and when. An item without a
    /// time is told apart by its delivery.
    pub(super) fn source_id(&self, about: &str, when: Option<i64>) -> String {
        let when = when.map_or_else(|| self.context.delivery.to_owned(), |millis| millis.to_string());
        // Two labels put on at once come with the same time.
        let object = ["label", "assignee", "requested_reviewer", "requested_team", "milestone"]
            .into_iter()
            .find_map(|object| id(at(self.payload, object), "id"))
            .or_else(|| id(self.payload, "after"));
        let parts = [Some(about), self.action(), object.as_deref(), Some(&when)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(":")
    }
}

/// The address of something in a repository.
pub(super) fn url_in(repository: &Value, folder: &str, name: &str) -> Option<String> {
    let name = name.replace('%', "%25").replace('#', "%23");
    Some(format!("{}/{folder}/{name}", text(repository, "html_url")?))
}

/// A user as an actor.
pub(super) fn user(user: &Value, email: Option<&str>) -> Option<Actor> {
    Actor::new(id(user, "id"), text(user, "login"), email, text(user, "avatar_url"))
}

/// The value at a path as it is, unless it is no scalar.
pub(super) fn scalar(value: &Value, path: &str) -> Value {
    match at(value, path) {
        Value::Object(_) | Value::Array(_) => Value::Null,
        scalar => scalar.clone(),
    }
}

/// When an action happened. Where the item keeps a time of just this action it is that: the time of the last
/// update moves on, and history shows an item as it is now.
pub(super) fn moment(item: &Value, action: Option<&str>) -> Option<i64> {
    let own = match action {
        Some("opened" | "created") => "created_at",
        Some("closed") => "closed_at",
        Some("merged") => "merged_at",
        Some("answered") => "answer_chosen_at",
        _ => "updated_at",
    };
    [own, "updated_at", "created_at"].into_iter().find_map(|name| instant::of_json(at(item, name)))
}

/// The title and the body of an item, as text.
pub(super) fn title_and_body(item: &Value) -> String {
    [text(item, "title"), text(item, "body")].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Refers to the users in a list of the item.
pub(super) fn add_users(references: &mut References, kind: ReferenceKind, item: &Value, list: &str) {
    for user in items(item, list) {
        references.add(kind, text(user, "login"), text(user, "html_url"), None);
    }
}

/// Refers to the labels of the item.
pub(super) fn add_labels(references: &mut References, item: &Value) {
    for label in items(item, "labels") {
        references.add(ReferenceKind::Label, text(label, "name"), None, None);
    }
}
