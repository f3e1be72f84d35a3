//! How much an event matters, 0 to 100: the type's weight, corrected by what the text says.

use crate::{event_type::DEFAULT_WEIGHT, source_event::SourceEvent};

/// Words that raise or lower the score; each row counts once.
const SIGNALS: &[(i32, &[&str])] = &[
    (20, &["breaking", "critical", "urgent", "security", "vulnerability", "cve-"]),
    (15, &["hotfix", "emergency", "incident", "outage", "downtime"]),
    (10, &["major", "important", "significant", "release", "deploy"]),
    (8, &["feature", "feat", "new"]),
    (5, &["fix", "bug", "patch", "resolve"]),
    (-10, &["chore", "deps", "dependencies", "bump", "update", "upgrade"]),
    (-15, &["typo", "whitespace", "formatting", "lint"]),
    (-10, &["wip", "draft", "temp", "test"]),
];

/// The score of an event whose type has this weight; without a normalised event it is the weight itself.
#[must_use]
pub fn score(weight: Option<u8>, event: Option<&SourceEvent>) -> u8 {
    let weight = weight.unwrap_or(DEFAULT_WEIGHT);
    let Some(event) = event else { return weight };
    let text = format!("{}\n{}", event.title, event.body).to_lowercase();
    let words: Vec<&str> =
        text.split(|letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '_').collect();
    let signals: i32 = SIGNALS
        .iter()
        .filter(|(_, signal)| words.iter().any(|word| signal.iter().any(|signal| says(word, signal))))
        .map(|(points, _)| points)
        .sum();
    let references = (3 * event.references.len()).min(15) as i32;
    let length = match event.body.chars().count() {
        501.. => 5,
        201.. => 2,
        _ => 0,
    };
    (i32::from(weight) + signals + references + length).clamp(0, 100) as u8
}

/// Whether a word of the text is the signal: as a whole, as a part between hyphens, or as `cve-` and a number.
fn says(word: &str, signal: &str) -> bool {
    match signal.strip_suffix('-') {
        Some(_) => {
            word.strip_prefix(signal).is_some_and(|number| number.starts_with(|digit: char| digit.is_ascii_digit()))
        }
        None => word == signal || word.split('-').any(|part| part == signal),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::source_event::{Reference, ReferenceKind};

    fn event(title: &str, body: &str, references: usize) -> SourceEvent {
        let reference = Reference { kind: ReferenceKind::Label, id: "x".into(), url: None, label: None };
        SourceEvent {
            source: "github".into(),
            source_type: "push".into(),
            source_id: "1".into(),
            title: title.into(),
            body: body.into(),
            actor: None,
            occurred_at: "2026-01-01T00:00:00.000Z".into(),
            references: vec![reference; references],
            metadata: Map::new(),
        }
    }

    #[track_caller]
    fn check(expected: u8, title: &str, body: &str, references: usize) {
        assert_eq!(score(Some(50), Some(&event(title, body, references))), expected, "{title}");
    }

    #[test]
    fn text_moves_the_score_by_whole_words_once_a_group() {
        check(50, "nothing to see", "", 0);
        check(70, "Critical security hole", "", 0);
        check(70, "see CVE-2026-1", "", 0);
        check(50, "newest prefix", "", 0);
        check(35, "Fix typo in deps", "WIP", 1 + 4);
        check(55, "x", &"a".repeat(501), 0);
        check(65, "x", "", 9);
    }

    #[test]
    fn the_score_stays_in_its_bounds_and_unknown_types_have_one() {
        assert_eq!(score(Some(95), Some(&event("breaking outage major", "", 9))), 100);
        assert_eq!(score(Some(5), Some(&event("chore: typo", "wip", 0))), 0);
        assert_eq!(score(None, None), 35);
    }
}
