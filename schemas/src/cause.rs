//! An error and what caused it: JSON logs hold only the words they are given.

use std::{error::Error, fmt};

/// Shows an error and all its causes, in one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Who shows its cause in its own words has said it.
            if !said.ends_with(&next) {
                write!(f, ": {next}")?;
            }
            (said, cause) = (next, error.source());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(&'static str, #[source] Option<Box<Failed>>);

    #[test]
    fn every_cause_is_said_once() {
        let error =
            Failed("not stored", Some(Box::new(Failed("asked: no answer", Some(Box::new(Failed("no answer", None)))))));
        assert_eq!(Chain(&error).to_string(), "not stored: asked: no answer");
        assert_eq!(Chain(&Failed("alone", None)).to_string(), "alone");
    }
}
