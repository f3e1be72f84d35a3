//! The words of normalised events that several providers share: labels, titles, labelled lines, facts.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::Provider;
use crate::{event_type::TypeKey, json, source_event::first_line};

/// The label of a type: the registry's, or else the words of the key.
pub(super) fn label(provider: &Provider, key: &TypeKey) -> String {
    match provider.event_type(key) {
        Some(known) => known.label.to_owned(),
        None => words(&key.source_type()),
    }
}

/// The words of a key with capitals: `Issue Restored` of `issue.restored`.
pub(super) fn words(key: &str) -> String {
    let words = key.split(['-', '.']).filter(|word| !word.is_empty()).map(|word| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
    });
    words.collect::<Vec<String>>().join(" ")
}

/// `[label] subject: what`, without the parts that are not known.
pub(super) fn title(label: &str, parts: &[Option<String>]) -> String {
    let known: Vec<&str> = parts.iter().flatten().map(String::as_str).filter(|part| !part.is_empty()).collect();
    format!("[{label}] {}", known.join(": "))
}

/// The beginning of a text in one line; dots say that there is more.
pub(super) fn excerpt(text: &str, max: usize) -> String {
    let text = text.trim();
    let start = first_line(text, max);
    if start.len() < text.len() { format!("{}...", start.trim_end_matches(['.', ' '])) } else { start }
}

/// The text or number at a path, as text.
pub(super) fn plain(value: &Value, path: &str) -> Option<String> {
    match json::at(value, path) {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The scalars at some paths, each under a name of its own, and null where there is none. A name may have several
/// paths: the last that holds something counts.
pub(super) fn facts(value: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    let mut facts = Map::new();
    for (name, path) in names {
        match json::at(value, path) {
            Value::Null | Value::Array(_) | Value::Object(_) => _ = facts.entry(*name).or_insert(Value::Null),
            scalar => _ = facts.insert((*name).to_owned(), scalar.clone()),
        }
    }
    facts
}

/// Lines of a body; those without a value are left out, and what was said is not said again.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<String>);

impl Lines {
    /// Adds a text as it is.
    pub(super) fn text(&mut self, text: Option<impl Into<String>>) {
        let text = text.map(Into::into).filter(|text| !text.trim().is_empty() && !self.0.contains(text));
        self.0.extend(text);
    }

    /// Adds `label: value`.
    pub(super) fn field(&mut self, label: &str, value: Option<impl Display>) {
        self.text(
            value
                .map(|value| value.to_string())
                .filter(|value| !value.is_empty())
                .map(|value| format!("{label}: {value}")),
        );
    }

    /// The lines as one text.
    pub(super) fn join(&self) -> String {
        self.0.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_title_says_only_what_is_known() {
        assert_eq!(title("Issue Created", &[Some("ENG-1".into()), None]), "[Issue Created] ENG-1");
        assert_eq!(words("project-update.restored"), "Project Update Restored");
    }

    #[test]
    fn an_excerpt_has_dots_only_where_something_is_left_out() {
        assert_eq!(excerpt(" short \n", 60), "short");
        assert_eq!(excerpt("One.\nTwo.", 60), "One...");
        assert_eq!(excerpt("éééé", 2), "éé...");
    }

    #[test]
    fn facts_are_scalars_and_the_last_place_that_holds_one_counts() {
        let value = json!({ "a": 0, "b": null, "c": { "d": "x", "e": [] } });
        let facts = facts(&value, &[("a", "b"), ("a", "a"), ("a", "c.e"), ("c", "c"), ("d", "a"), ("d", "c.d")]);
        assert_eq!(Value::Object(facts), json!({ "a": 0, "c": null, "d": "x" }));
    }
}
