//! Reads the fields of a JSON body, and collects everything that is wrong with them instead of the first thing.

use std::fmt;

use crate::{instant, problem::Problem};
use serde_json::{Map, Value};

/// Characters a text may have.
const TEXT_MAX: usize = 200;

/// What is wrong with a field, for who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is absent or empty.
    #[error("is required")]
    Missing,
    /// It is of another JSON type.
    #[error("must be {0}")]
    MustBe(&'static str),
    /// It is too short or too long.
    #[error("must have 1 to {TEXT_MAX} characters")]
    Length,
    /// It holds a control character.
    #[error("must not hold control characters")]
    Control,
    /// It is none of the values known.
    #[error("must be one of {0}")]
    OneOf(String),
    /// A list has too many entries.
    #[error("must have at most {0} entries")]
    TooMany(usize),
    /// A number is out of its range.
    #[error("must be {0} to {1}")]
    Range(i64, i64),
    /// What is wrong is told in words.
    #[error("{0}")]
    Says(std::borrow::Cow<'static, str>),
}

/// All that is wrong, by field.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<(&'static str, Fault)>);

impl Faults {
    /// One thing is wrong.
    #[must_use]
    pub fn one(field: &'static str, fault: Fault) -> Self {
        Self(vec![(field, fault)])
    }

    /// One more thing is wrong.
    pub fn add(&mut self, field: &'static str, fault: Fault) {
        self.0.push((field, fault));
    }

    /// What was read, if nothing is wrong. What could not be read has left a fault.
    pub fn none_or<T>(self, read: Option<T>) -> Result<T, Self> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(self),
        }
    }

    /// Whether this is among what is wrong.
    #[must_use]
    pub fn has(&self, field: &'static str, fault: &Fault) -> bool {
        self.0.iter().any(|(name, found)| *name == field && found == fault)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The answer to who sent it: every field with what is wrong of it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        self.errors_of(Problem::new(400, "invalid_body", "Fields of the request are wrong"))
    }

    /// A problem with every field and what is wrong of it.
    #[must_use]
    pub fn errors_of(&self, problem: Problem) -> Problem {
        problem.errors(self.0.iter().map(|(field, fault)| (*field, fault.to_string())))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, fault)) in self.0.iter().enumerate() {
            write!(f, "{}{field} {fault}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The members of a JSON object, and what was found wrong with them so far.
#[derive(Debug)]
pub struct Fields<'a> {
    members: &'a Map<String, Value>,
    /// What has them, and what one is called there.
    whole: (&'static str, &'static str),
    /// What was found wrong so far.
    pub faults: Faults,
}

impl<'a> Fields<'a> {
    /// The members of a body.
    pub fn of(body: &'a Value) -> Result<Self, Faults> {
        Self::in_whole(body, ("body", "member"))
    }

    /// The parameters of a query, as members of an object.
    pub fn of_query(parameters: &'a Value) -> Result<Self, Faults> {
        Self::in_whole(parameters, ("query", "parameter"))
    }

    fn in_whole(value: &'a Value, whole: (&'static str, &'static str)) -> Result<Self, Faults> {
        match value {
            Value::Object(members) => Ok(Self { members, whole, faults: Faults::default() }),
            _ => Err(Faults::one(whole.0, Fault::MustBe("an object"))),
        }
    }

    /// A member; null counts as absent.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// Whether a member is named, be it null.
    #[must_use]
    pub fn names(&self, field: &str) -> bool {
        self.members.contains_key(field)
    }

    /// A text that must be there.
    pub fn required(&mut self, field: &'static str) -> Option<&'a str> {
        match self.get(field) {
            None => self.fault(field, Fault::Missing),
            Some(Value::String(text)) if text.is_empty() => self.fault(field, Fault::Missing),
            Some(value) => self.text(field, value),
        }
    }

    /// A text that may be absent.
    pub fn optional(&mut self, field: &'static str) -> Option<&'a str> {
        let value = self.get(field)?;
        self.text(field, value)
    }

    fn text(&mut self, field: &'static str, value: &'a Value) -> Option<&'a str> {
        let Value::String(text) = value else { return self.fault(field, Fault::MustBe("a text")) };
        match check(text) {
            Ok(()) => Some(text),
            Err(fault) => self.fault(field, fault),
        }
    }

    /// Notes what is wrong; nothing could be read.
    pub fn fault<T>(&mut self, field: &'static str, fault: Fault) -> Option<T> {
        self.faults.add(field, fault);
        None
    }

    /// Every member that is none of those known.
    pub fn only(&mut self, known: &[&str]) {
        let (whole, part) = self.whole;
        for name in self.members.keys().filter(|name| !known.contains(&name.as_str())) {
            let shown: String = name.chars().filter(|letter| !letter.is_control()).take(60).collect();
            self.faults.add(whole, Fault::Says(format!("has no {part} {shown}").into()));
        }
    }

    /// A point in time that may be absent, milliseconds since the epoch: as [`instant::moment`] reads it.
    pub fn moment(&mut self, field: &'static str, now: i64) -> Option<i64> {
        let text = self.optional(field)?;
        let wanted = Fault::MustBe("a time, 2026-01-31T12:00:00Z, or how long ago, 15m, 2h or 7d");
        instant::moment(text, now).or_else(|| self.fault(field, wanted))
    }

    /// One of several words that may be absent.
    pub fn one_of(&mut self, field: &'static str, known: &[&str]) -> Option<&'a str> {
        let text = self.optional(field)?;
        if known.contains(&text) { Some(text) } else { self.fault(field, Fault::OneOf(known.join(", "))) }
    }

    /// A flag that may be absent.
    pub fn flag(&mut self, field: &'static str) -> Option<bool> {
        match self.get(field)? {
            Value::Bool(flag) => Some(*flag),
            _ => self.fault(field, Fault::MustBe("true or false")),
        }
    }

    /// A whole number within its range that may be absent.
    pub fn number(&mut self, field: &'static str, least: i64, most: i64) -> Option<i64> {
        match self.get(field)?.as_i64() {
            None => self.fault(field, Fault::MustBe("a whole number")),
            Some(number) if (least..=most).contains(&number) => Some(number),
            Some(_) => self.fault(field, Fault::Range(least, most)),
        }
    }
}

/// Checks a text that will be stored or looked for. A database takes no NUL, and a log no line break.
pub fn check(text: &str) -> Result<(), Fault> {
    if text.is_empty() || text.chars().nth(TEXT_MAX).is_some() {
        return Err(Fault::Length);
    }
    if text.chars().any(char::is_control) { Err(Fault::Control) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_to_two_hundred_characters_and_no_control_characters() {
        assert_eq!(check(""), Err(Fault::Length));
        assert_eq!(check(&"é".repeat(200)), Ok(()));
        assert_eq!(check(&"é".repeat(201)), Err(Fault::Length));
        assert_eq!(check("a\0b"), Err(Fault::Control));
    }
}
