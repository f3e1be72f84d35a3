//! The registry's words: normalised type keys, their labels, weights and categories.

use std::fmt;

/// Weight of a type that the registry does not know.
pub const DEFAULT_WEIGHT: u8 = 35;

/// Letters that an entity or an action keeps: a payload may hold any text where its action is expected.
const NAME_MAX: usize = 100;

/// One registered event type.
#[derive(Debug)]
pub struct EventType {
    /// Kebab case, `pull-request`.
    pub entity: &'static str,
    /// Kebab case, `opened`; none where the type has no action.
    pub action: Option<&'static str>,
    /// For people, `PR Opened`.
    pub label: &'static str,
    /// Base significance, 0 to 100.
    pub weight: u8,
    /// The coarse name a link's filter may use: the provider's own event name.
    pub category: &'static str,
}

/// The normalised type of an event within its provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypeKey {
    /// Kebab case, `pull-request`.
    pub entity: String,
    /// Kebab case, `opened`; none where the type has no action.
    pub action: Option<String>,
}

impl TypeKey {
    /// A key of an entity and maybe an action, both in any spelling.
    #[must_use]
    pub fn new(entity: &str, action: Option<&str>) -> Self {
        Self { entity: kebab(entity), action: action.filter(|action| !action.is_empty()).map(kebab) }
    }

    /// `entity.action`, or `entity` alone.
    #[must_use]
    pub fn source_type(&self) -> String {
        match &self.action {
            Some(action) => format!("{}.{action}", self.entity),
            None => self.entity.clone(),
        }
    }

    /// `provider:entity.action`.
    #[must_use]
    pub fn of(&self, provider: &str) -> String {
        format!("{provider}:{self}")
    }
}

impl fmt::Display for TypeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source_type())
    }
}

/// Kebab case of `snake_case`, `CamelCase` and `camelCase`; anything else stays, but no more than a name's length.
#[must_use]
pub fn kebab(text: &str) -> String {
    let mut kebab = String::with_capacity(text.len().min(NAME_MAX) + 4);
    let mut after_lower = false;
    for letter in text.chars().take(NAME_MAX) {
        if letter == '_' || letter == ' ' {
            kebab.push('-');
            after_lower = false;
        } else {
            if letter.is_uppercase() && after_lower {
                kebab.push('-');
            }
            kebab.extend(letter.to_lowercase());
            after_lower = letter.is_lowercase() || letter.is_ascii_digit();
        }
    }
    kebab
}

/// The provider's own event name, without an action behind a colon: `Issue` of `Issue:create`.
#[must_use]
pub fn event_name(event: &str) -> &str {
    event.split(':').next().unwrap_or(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_becomes_kebab_case() {
        for (raw, expected) in [
            ("pull_request", "pull-request"),
            ("ProjectUpdate", "project-update"),
            ("check-rerequested", "check-rerequested"),
            ("integration.action.start", "integration.action.start"),
            ("push", "push"),
        ] {
            assert_eq!(kebab(raw), expected);
        }
    }

    #[test]
    fn a_key_reads_as_the_registry_spells_it() {
        assert_eq!(
            TypeKey::new("pull_request", Some("ready_for_review")).of("github"),
            "github:pull-request.ready-for-review"
        );
        assert_eq!(TypeKey::new("push", None).of("github"), "github:push");
        assert_eq!(event_name("Issue:create"), "Issue");
    }
}
