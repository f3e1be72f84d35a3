//! Reads the fields of a JSON body, and collects everything that is wrong with them instead of the first thing.

use std::fmt;

use schemas::problem::Problem;
use serde_json::{Map, Value};

/// Characters a text may have.
const TEXT_MAX: usize = 200;
/// The one field whose absence has a code of its own.
const PROVIDER_RESOURCE_ID: &str = "providerResourceId";

/// What is wrong with a field, for who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
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
    /// A link of an account names another account.
    #[error("must be the connection's externalId: a link of this kind is about the account itself")]
    OtherAccount,
    /// A list has too many entries.
    #[error("must have at most {0} entries")]
    TooMany(usize),
    /// An entry of an event filter can match nothing.
    #[error("entry {0} is not an event type, a category, a pattern that ends in * or * itself")]
    Entry(usize),
}

/// All that is wrong, by field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(Vec<(&'static str, Fault)>);

impl Faults {
    pub(crate) fn one(field: &'static str, fault: Fault) -> Self {
        Self(vec![(field, fault)])
    }

    pub(crate) fn add(&mut self, field: &'static str, fault: Fault) {
        self.0.push((field, fault));
    }

    /// What was read, if nothing is wrong. What could not be read has left a fault.
    pub(crate) fn none_or<T>(self, read: Option<T>) -> Result<T, Self> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(self),
        }
    }

    pub(crate) fn problem(&self) -> Problem {
        let code = match self.0.contains(&(PROVIDER_RESOURCE_ID, Fault::Missing)) {
            true => Problem::new(400, "missing_provider_resource_id", "providerResourceId is missing"),
            false => Problem::new(400, "invalid_body", "Fields of the request are wrong"),
        };
        code.errors(self.0.iter().map(|(field, fault)| (*field, fault.to_string())))
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
pub(crate) struct Fields<'a> {
    members: &'a Map<String, Value>,
    pub(crate) faults: Faults,
}

impl<'a> Fields<'a> {
    /// The members of a body.
    pub(crate) fn of(body: &'a Value) -> Result<Self, Faults> {
        let faults = Faults::default();
        match body {
            Value::Object(members) => Ok(Self { members, faults }),
            _ => Err(Faults::one("body", Fault::MustBe("an object"))),
        }
    }

    /// A member; null counts as absent.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, field: &'static str) -> Option<&'a str> {
        match self.get(field) {
            None => self.fault(field, Fault::Missing),
            Some(Value::String(text)) if text.is_empty() => self.fault(field, Fault::Missing),
            Some(value) => self.text(field, value),
        }
    }

    /// A text that may be absent.
    pub(crate) fn optional(&mut self, field: &'static str) -> Option<&'a str> {
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

    pub(crate) fn fault<T>(&mut self, field: &'static str, fault: Fault) -> Option<T> {
        self.faults.add(field, fault);
        None
    }
}

/// Checks a text that will be stored or looked for. A database takes no NUL, and a log no line break.
pub(crate) fn check(text: &str) -> Result<(), Fault> {
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
