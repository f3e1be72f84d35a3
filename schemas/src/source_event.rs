//! The normalised form of a delivery: what every provider's events look like to a subscriber.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::instant;

const TITLE_MAX: usize = 200;
const BODY_MAX: usize = 10_000;

/// What happened at the provider, in the words every provider shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceEvent {
    /// The provider's id.
    pub source: String,
    /// `entity.action` in kebab case, `pull-request.opened`.
    pub source_type: String,
    /// Tells apart what really differs: the same happening has the same id however often it is delivered, and
    /// two happenings never share one.
    pub source_id: String,
    /// One line, 1 to 200 characters.
    pub title: String,
    /// Text, at most 10,000 characters; may be empty.
    pub body: String,
    /// Who did it, where the provider says so.
    pub actor: Option<Actor>,
    /// When it happened, RFC 3339 in UTC.
    pub occurred_at: String,
    /// What it refers to, in a fixed order.
    pub references: Vec<Reference>,
    /// The provider's facts worth keeping at hand; always holds `deliveryId`.
    pub metadata: Map<String, Value>,
}

/// A person, a bot or an application at the provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// The provider's id of the actor.
    pub id: String,
    /// A name to show.
    pub name: String,
    /// The e-mail address, where the provider tells it.
    pub email: Option<String>,
    /// An absolute URL of a picture.
    pub avatar_url: Option<String>,
}

impl Actor {
    /// An actor, if both an id and a name are known; a URL that is not absolute is left out.
    #[must_use]
    pub fn new(id: Option<String>, name: Option<&str>, email: Option<&str>, avatar_url: Option<&str>) -> Option<Self> {
        Some(Self {
            id: id?,
            name: name?.to_owned(),
            email: email.map(str::to_owned),
            avatar_url: avatar_url.and_then(absolute),
        })
    }
}

/// The kinds of thing an event can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ReferenceKind {
    Commit,
    Branch,
    Pr,
    Issue,
    Deployment,
    Project,
    Cycle,
    Assignee,
    Reviewer,
    Team,
    Label,
}

/// Something an event refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reference {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ReferenceKind,
    /// Its id or name at the provider, never empty.
    pub id: String,
    /// Where to see it.
    pub url: Option<String>,
    /// How it is related, or its name to show.
    pub label: Option<String>,
}

/// Collects references in order; those without an id are left out.
#[derive(Debug, Default)]
pub struct References(Vec<Reference>);

impl References {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, if it has an id; a URL that is not absolute is left out.
    pub fn add(&mut self, kind: ReferenceKind, id: Option<impl Into<String>>, url: Option<&str>, label: Option<&str>) {
        let Some(id) = id.map(Into::into).filter(|id| !id.is_empty()) else { return };
        let url = url.and_then(absolute);
        let label = label.filter(|label| !label.is_empty()).map(str::to_owned);
        self.0.push(Reference { kind, id, url, label });
    }
}

/// What a normaliser knows of a delivery beside its payload.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The provider's id.
    pub provider: &'a str,
    /// The delivery id.
    pub delivery: &'a str,
    /// The event type as the provider sent it, `Issue:create`.
    pub event: &'a str,
    /// When the gateway received it, milliseconds since the epoch: the time of an event whose payload has none.
    pub received_at: i64,
}

/// What a normaliser read, before limits are applied.
#[derive(Debug)]
pub struct Draft {
    /// See [`SourceEvent::source_type`].
    pub source_type: String,
    /// See [`SourceEvent::source_id`].
    pub source_id: String,
    /// Any length; cut when the event is made.
    pub title: String,
    /// Any length; cut when the event is made.
    pub body: String,
    /// See [`SourceEvent::actor`].
    pub actor: Option<Actor>,
    /// Milliseconds since the epoch; the time of receipt where the payload has none.
    pub occurred_at: Option<i64>,
    /// See [`SourceEvent::references`].
    pub references: References,
    /// The metadata as a JSON object, without `deliveryId`.
    pub metadata: Value,
}

impl Draft {
    /// Applies the limits of the contract and adds what the context knows.
    #[must_use]
    pub fn finish(self, context: Context<'_>) -> SourceEvent {
        let mut metadata = match self.metadata {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        metadata.insert("deliveryId".into(), context.delivery.into());
        let title = cut(self.title.trim(), TITLE_MAX);
        SourceEvent {
            source: context.provider.to_owned(),
            title: if title.is_empty() { self.source_type.clone() } else { title },
            source_type: self.source_type,
            source_id: self.source_id,
            body: cut(self.body.trim(), BODY_MAX),
            actor: self.actor,
            occurred_at: instant::rfc3339(self.occurred_at.unwrap_or(context.received_at)),
            references: self.references.0,
            metadata,
        }
    }
}

/// At most `max` characters; what is cut ends in `...`.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(3)).chain("...".chars()).collect()
}

/// At most `max` characters of the first line, without a mark where it was cut.
#[must_use]
pub fn first_line(text: &str, max: usize) -> String {
    text.lines().next().unwrap_or_default().chars().take(max).collect()
}

fn absolute(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#']).next()?;
    (!host.is_empty() && !url.contains(char::is_whitespace)).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_says_so() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("ééééééé", 5), "éé...");
    }

    #[test]
    fn a_reference_without_an_id_or_with_a_relative_url_is_mended() {
        let mut references = References::new();
        references.add(ReferenceKind::Label, None::<String>, None, None);
        references.add(ReferenceKind::Branch, Some("main"), Some("/tree/main"), Some(""));
        let expected = Reference { kind: ReferenceKind::Branch, id: "main".into(), url: None, label: None };
        assert_eq!(references.0, [expected]);
    }
}
