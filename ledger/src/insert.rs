//! Rows of a kind in as few statements as the databases take: several rows a statement, in a few sizes, so that each
//! is prepared once a connection.

use std::{collections::HashMap, sync::Arc};

use sqlx::{Any, AnyConnection, AssertSqlSafe, any::AnyArguments, query::Query};
use store::Error;

/// Parameters a statement may have: SQLite takes 32,766, PostgreSQL twice as many.
const PARAMETERS: usize = 32_000;
/// How many rows a statement may have, besides as many as fit.
const SIZES: [usize; 4] = [256, 32, 4, 1];

/// A query whose parameters are being bound.
pub(crate) type Bound<'q> = Query<'q, Any, AnyArguments>;

/// A row that can be inserted.
pub(crate) trait Row {
    /// `table (column, …)`.
    const INTO: &'static str;
    /// How many columns.
    const COLUMNS: usize;
    /// What follows the values: what to do with a row that is there.
    const THEN: &'static str;

    /// Binds its values, in the order of the columns.
    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q>;
}

/// The statements that were written so far.
#[derive(Debug)]
pub(crate) struct Statements {
    /// SQLite looks a parameter with a name up in a list of all: with thousands of them that takes longer than the
    /// insert. `$1` is a name there, `?` is none.
    unnamed: bool,
    written: HashMap<(&'static str, usize), Arc<str>>,
}

impl Statements {
    /// None yet, for a database of this kind.
    pub(crate) fn new(sqlite: bool) -> Self {
        Self { unnamed: sqlite, written: HashMap::new() }
    }

    /// Inserts rows. None of them may be there twice.
    pub(crate) async fn insert<R: Row>(&mut self, db: &mut AnyConnection, mut rows: &[R]) -> Result<(), Error> {
        let most = PARAMETERS / R::COLUMNS;
        while !rows.is_empty() {
            let fits = |size: &usize| *size <= rows.len().min(most);
            let size = std::iter::once(most).chain(SIZES).find(fits).unwrap_or(1);
            let (now, later) = rows.split_at(size);
            let unnamed = self.unnamed;
            let sql = self.written.entry((R::INTO, size)).or_insert_with(|| sql::<R>(size, unnamed).into()).clone();
            let query = now.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, row| row.bind(query));
            query.execute(&mut *db).await?;
            rows = later;
        }
        Ok(())
    }
}

fn sql<R: Row>(rows: usize, unnamed: bool) -> String {
    let place = |number: usize| if unnamed { "?".to_owned() } else { format!("${number}") };
    let row = |row: usize| {
        let places: Vec<String> = (1..=R::COLUMNS).map(|column| place(row * R::COLUMNS + column)).collect();
        format!("({})", places.join(","))
    };
    let values: Vec<String> = (0..rows).map(row).collect();
    format!("insert into {} values {} {}", R::INTO, values.join(","), R::THEN)
}
