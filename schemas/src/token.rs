//! One injective encoder for every subject token and key-value key segment.
//!
//! A provider chooses the bytes of a token, never how many tokens a subject has.

use std::fmt;

use sha2::{Digest, Sha256};

/// Tokens longer than this (encoded) are shortened to a prefix and a hash.
const MAX: usize = 64;
/// How much of a long token stays readable.
const PREFIX: usize = 40;

/// One encoded subject token: `[A-Za-z0-9_-]` stay, any other byte is `~XX`, empty is `~`, and what would
/// exceed 64 bytes is its first 40 and `~h` and 16 hex digits of its SHA-256.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectToken(String);

impl SubjectToken {
    /// Encodes a raw value. Different values give different tokens.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        Self(encode(raw.as_bytes(), '~'))
    }

    /// Encodes a value that may be absent; absent and empty are both `~`.
    #[must_use]
    pub fn optional(raw: Option<&str>) -> Self {
        Self::new(raw.unwrap_or(""))
    }

    /// The encoded form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// One segment of a key-value key. The same encoding with `=` in the place of `~`, which keys may not hold.
#[must_use]
pub fn key_segment(raw: &str) -> String {
    encode(raw.as_bytes(), '=')
}

/// Reads a token back, unless it was shortened or is not one of ours.
#[must_use]
pub fn decode(token: &str) -> Option<String> {
    if token == "~" {
        return Some(String::new());
    }
    let mut raw = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'~' {
            let hex = tail.get(..2)?;
            raw.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = &tail[2..];
        } else if plain(*first) {
            raw.push(*first);
            rest = tail;
        } else {
            return None;
        }
    }
    String::from_utf8(raw).ok().filter(|raw| encode(raw.as_bytes(), '~') == token)
}

fn encode(raw: &[u8], escape: char) -> String {
    if raw.is_empty() {
        return escape.to_string();
    }
    if raw.len() <= MAX && raw.iter().copied().all(plain) {
        return raw.iter().map(|byte| char::from(*byte)).collect();
    }
    let mut token = String::with_capacity(MAX);
    let mut cut = 0;
    for byte in raw {
        if plain(*byte) {
            token.push(char::from(*byte));
        } else {
            token.push(escape);
            token.push_str(&format!("{byte:02X}"));
        }
        if token.len() <= PREFIX {
            cut = token.len();
        }
        if token.len() > MAX {
            token.truncate(cut);
            token.push(escape);
            token.push('h');
            for byte in &Sha256::digest(raw)[..8] {
                token.push_str(&format!("{byte:02x}"));
            }
            return token;
        }
    }
    token
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: &str, encoded: &str) {
        assert_eq!(SubjectToken::new(raw).as_str(), encoded);
    }

    #[test]
    fn plain_bytes_stay_and_others_are_escaped() {
        check("pull_request", "pull_request");
        check("deployment.created", "deployment~2Ecreated");
        check("Issue:create", "Issue~3Acreate");
        check("a b*c>d~e", "a~20b~2Ac~3Ed~7Ee");
        check("é", "~C3~A9");
        check("", "~");
        assert_eq!(SubjectToken::optional(None).as_str(), "~");
        assert_eq!(key_segment("a.b"), "a=2Eb");
    }

    #[test]
    fn what_the_encoder_never_writes_is_not_read() {
        for token in ["", "~+5", "~2e", "~41", "~4", "a.b", "é"] {
            assert_eq!(decode(token), None, "{token}");
        }
        assert_eq!(decode("a~2Eb~C3~A9").as_deref(), Some("a.bé"));
    }

    #[test]
    fn a_long_token_keeps_its_beginning_and_gains_a_hash() {
        let long = "x".repeat(65);
        let token = SubjectToken::new(&long);
        assert_eq!(token.as_str().len(), 58);
        assert!(token.as_str().starts_with(&format!("{}~h", "x".repeat(40))));
        check(&"y".repeat(64), &"y".repeat(64));
    }

    proptest! {
        #[test]
        fn a_token_is_always_one_subject_token(raw in any::<String>()) {
            let token = SubjectToken::new(&raw);
            prop_assert!(!token.as_str().is_empty());
            prop_assert!(token.as_str().len() <= MAX);
            prop_assert!(token.as_str().bytes().all(|byte| plain(byte) || byte == b'~'));
        }

        #[test]
        fn different_values_have_different_tokens(a in ".{0,80}", b in ".{0,80}") {
            prop_assume!(a != b);
            prop_assert_ne!(SubjectToken::new(&a), SubjectToken::new(&b));
        }

        #[test]
        fn values_that_share_a_long_beginning_stay_apart(a in "[a.~]{60,90}", b in "[a.~]{60,90}") {
            prop_assume!(a != b);
            prop_assert_ne!(SubjectToken::new(&a), SubjectToken::new(&b));
        }

        #[test]
        fn a_short_token_reads_back(raw in ".{0,20}") {
            let token = SubjectToken::new(&raw);
            prop_assume!(!token.as_str().contains("~h"));
            prop_assert_eq!(decode(token.as_str()), Some(raw));
        }
    }
}
