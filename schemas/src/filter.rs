//! Which events a link wants: its `sync.events`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    event_type::{TypeKey, event_name},
    provider::Provider,
};

/// Longest entry a filter takes.
const ENTRY_MAX: usize = 100;

/// What a link wants of its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sync {
    /// Normalised keys (`github:pull-request.opened`, `github:pull-request.*`), coarse categories
    /// (`pull_request`), or `*`. Absent: the provider's defaults. Empty: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// Whether history is fetched when the link is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_sync: Option<bool>,
}

/// Whether a link with these `sync.events` wants an event.
#[must_use]
pub fn admits(events: Option<&[Box<str>]>, provider: &Provider, event: &str, key: &TypeKey) -> bool {
    let name = event_name(event);
    match events {
        None => provider.default_events().any(|category| category == name),
        Some(events) => events.iter().any(|entry| matches(entry, provider.id, name, key)),
    }
}

/// Whether an entry has a form that can match anything.
#[must_use]
pub fn is_valid(entry: &str) -> bool {
    let form = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    let stem = entry.strip_suffix('*').unwrap_or(entry);
    entry.len() <= ENTRY_MAX
        && !entry.is_empty()
        && stem.bytes().all(form)
        && (entry == "*" || stem.len() == entry.len() || stem.ends_with([':', '.']))
}

fn matches(entry: &str, provider: &str, name: &str, key: &TypeKey) -> bool {
    if entry == "*" || entry == name {
        return true;
    }
    let Some(own) = entry.strip_prefix(provider).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let full = key.source_type();
    match own.strip_suffix('*') {
        Some(stem) => full.starts_with(stem) || stem.strip_suffix('.') == Some(full.as_str()),
        None => own == full,
    }
}

impl Provider {
    /// The categories a link without a filter wants: all that the registry knows.
    pub fn default_events(&self) -> impl Iterator<Item = &'static str> {
        self.event_types.iter().map(|known| known.category)
    }
}
