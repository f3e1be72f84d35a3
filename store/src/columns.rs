//! Reading a row by the names of its columns.

use sqlx::{Row as _, any::AnyRow};

use crate::Error;

/// A row, and whose columns these are: a join prefixes them.
pub struct Columns<'a> {
    /// The row.
    pub row: &'a AnyRow,
    /// The table, for what is said of an impossible value.
    pub table: &'static str,
    /// What stands before the names, `c_` in a join.
    pub prefix: &'static str,
}

impl Columns<'_> {
    fn name(&self, column: &str) -> String {
        format!("{}{column}", self.prefix)
    }

    /// A text.
    pub fn text(&self, column: &str) -> Result<String, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    /// A text, or null.
    pub fn optional_text(&self, column: &str) -> Result<Option<String>, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    /// A number.
    pub fn number(&self, column: &str) -> Result<i64, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    /// A number, or null.
    pub fn optional_number(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.row.try_get(self.name(column).as_str())?)
    }

    /// A text that must be one of those known.
    pub fn known<T>(&self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        parse(&self.text(column)?).ok_or_else(|| self.impossible(column))
    }

    /// The column holds what nothing may write.
    #[must_use]
    pub fn impossible(&self, column: &'static str) -> Error {
        // The row is known by its id, where that can still be read.
        Error::Impossible { table: self.table, id: self.text("id").unwrap_or_default(), column }
    }
}
