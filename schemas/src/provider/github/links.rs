//! Issues that a pull request says it closes: "Fixes #12", "resolves octo-org/api#7", "closes ENG-42".
//!
//! Sources: GitHub docs, "Linking a pull request to an issue"; Sentry and Linear docs on their magic words.

/// An issue that a text says it closes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link<'a> {
    /// `#12`, `octo-org/api#7` or `ENG-42`.
    pub(super) id: &'a str,
    /// `fix`, `close` or `resolve`.
    pub(super) verb: &'static str,
}

/// The issues a text says it closes, each once: first those of GitHub, then those of other trackers.
pub(super) fn closed_by(text: &str) -> Vec<Link<'_>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut links: Vec<Link<'_>> = Vec::new();
    for find in [github_issue, tracker_issue] {
        for (place, word) in words.iter().enumerate() {
            let Some(verb) = verb(word) else { continue };
            let Some(id) = target(&words[place + 1..], find) else { continue };
            if links.iter().all(|link| link.id != id) {
                links.push(Link { id, verb });
            }
        }
    }
    links
}

fn verb(word: &str) -> Option<&'static str> {
    let word = word.trim_start_matches(|letter: char| !letter.is_alphanumeric());
    let word = word.trim_end_matches([':', '*', '_']);
    [
        ("fix", ["fix", "fixes", "fixed"]),
        ("close", ["close", "closes", "closed"]),
        ("resolve", ["resolve", "resolves", "resolved"]),
    ]
    .into_iter()
    .find(|(_, forms)| forms.iter().any(|form| word.eq_ignore_ascii_case(form)))
    .map(|(verb, _)| verb)
}

fn target<'a>(words: &[&'a str], find: fn(&'a str) -> Option<&'a str>) -> Option<&'a str> {
    let (first, rest) = words.split_first()?;
    let word = if first.eq_ignore_ascii_case("sentry") { rest.first()? } else { first };
    find(word.trim_start_matches(['(', '[', '*', '_', '`']))
}

/// `#12` or `owner/name#12` at the start of a word.
fn github_issue(word: &str) -> Option<&str> {
    let hash = word.find('#')?;
    let repository = &word[..hash];
    let name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !repository.is_empty() && !repository.split_once('/').is_some_and(|(owner, repo)| name(owner) && name(repo)) {
        return None;
    }
    number(word, hash + 1)
}

/// `ENG-42` at the start of a word: capitals, so that "fix utf-8" is none.
fn tracker_issue(word: &str) -> Option<&str> {
    let (project, _) = word.split_once('-')?;
    let capital = project.starts_with(|letter: char| letter.is_ascii_uppercase());
    let plain = project.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit());
    (capital && plain).then(|| number(word, project.len() + 1)).flatten()
}

/// The word up to the end of the number that starts at `start`, if a number does and nothing is glued to it.
fn number(word: &str, start: usize) -> Option<&str> {
    let length = word[start..].bytes().take_while(u8::is_ascii_digit).count();
    let glued = word[start + length..].starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '-');
    (length > 0 && !glued).then(|| &word[..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let links: Vec<(&str, &str)> = closed_by(text).iter().map(|link| (link.verb, link.id)).collect();
        assert_eq!(links, expected, "{text}");
    }

    #[test]
    fn every_form_of_a_verb_becomes_its_stem() {
        check("fix #1 fixes #2 FIXED #3", &[("fix", "#1"), ("fix", "#2"), ("fix", "#3")]);
        check("close #1\nCloses: #2\nclosed  #3.", &[("close", "#1"), ("close", "#2"), ("close", "#3")]);
        check("resolve #1, resolves #2; (resolved #3)", &[("resolve", "#1"), ("resolve", "#2"), ("resolve", "#3")]);
        check("**Fixes** [#4](https://github.com/octo-org/hello-world/issues/4)", &[("fix", "#4")]);
    }

    #[test]
    fn only_whole_words_link() {
        check("prefix #1, fixing #2, unresolved #3, disclosed #4", &[]);
        check("fix # 1, fixes #x, closes #12a, closes", &[]);
        check("see #1; Resolved. #2 is next", &[]);
        check("fix utf-8, fix CVE-2026-1234, closes ENG-", &[]);
        check("fixes a/b/c#1, fixes #", &[]);
    }

    #[test]
    fn issues_of_other_repositories_and_trackers_link_too() {
        check("Closes ENG-42, fixes octo-org/api#7", &[("fix", "octo-org/api#7"), ("close", "ENG-42")]);
        check("Fixes Sentry BACKEND-317.", &[("fix", "BACKEND-317")]);
        check("Fixes #1 and again closes #1", &[("fix", "#1")]);
        check("fixé #1 fixes ＃2 fixes #3é", &[]);
    }
}
