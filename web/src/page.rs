//! Lists a page at a time, the oldest row first.

use data_encoding::BASE64URL_NOPAD;
use schemas::fields::{Fault, Fields};
use utoipa::IntoParams;

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 200;

/// The parameters of a page, for the API's description.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Rows of a page, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// The `nextCursor` of the page before.
    pub cursor: Option<String>,
}

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The most rows it may have.
    pub limit: i64,
    /// The last row of the page before; at the first page one before all.
    pub after: Cursor,
}

/// A row's place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When it was made, milliseconds since the epoch.
    pub created_at: i64,
    /// Its id.
    pub id: String,
}

impl Paging {
    /// The parameters that [`Self::read`] reads.
    pub const PARAMETERS: [&str; 2] = ["limit", "cursor"];

    /// Reads `limit` and `cursor`; what is wrong with them is left in the fields.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let limit = crate::limit(fields, LIMIT, LIMIT_MAX);
        let after = fields.optional("cursor").and_then(|text| {
            Cursor::parse(text).or_else(|| fields.fault("cursor", Fault::Says("is none that a list gave".into())))
        });
        Self { limit, after: after.unwrap_or_else(|| Cursor { created_at: i64::MIN, id: String::new() }) }
    }

    /// How many rows to look for: one more than the page has tells that there is another page.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.limit + 1
    }

    /// Leaves the rows of the page, and gives the cursor of the next.
    pub fn cut<T>(&self, rows: &mut Vec<T>, place: impl FnOnce(&T) -> Cursor) -> Option<String> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        rows.last().filter(|_| more).map(|last| place(last).text())
    }
}

impl Cursor {
    /// As it goes over the wire.
    fn text(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{}.{}", self.created_at, self.id).as_bytes())
    }

    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?;
        let (created_at, id) = text.split_once('.')?;
        let good = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        good.then_some(Self { created_at: created_at.parse().ok()?, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(parameters: &Value) -> Result<Paging, String> {
        let mut fields = Fields::of_query(parameters).expect("an object");
        let paging = Paging::read(&mut fields);
        fields.faults.none_or(Some(paging)).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_pages_of_a_list_follow_each_other_to_its_end() {
        let all: Vec<(i64, &str)> = vec![(1, "a"), (2, "b"), (2, "c"), (3, "d")];
        let (mut seen, mut parameters) = (Vec::new(), json!({ "limit": "2" }));
        loop {
            let paging = read(&parameters).expect("good parameters");
            let after = (paging.after.created_at, paging.after.id.as_str());
            let looked: usize = paging.rows().try_into().expect("a number");
            let mut rows: Vec<_> = all.iter().copied().filter(|row| *row > after).take(looked).collect();
            let next = paging.cut(&mut rows, |(at, id)| Cursor { created_at: *at, id: (*id).to_owned() });
            assert!(rows.len() <= 2, "{rows:?}");
            seen.extend(rows);
            match next {
                Some(next) => parameters = json!({ "limit": "2", "cursor": next }),
                None => break,
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn what_is_wrong_with_limit_and_cursor_is_said_at_once() {
        for limit in ["0", "201", "-1", "many"] {
            let faults = read(&json!({ "limit": limit, "cursor": "!" })).expect_err("faults");
            assert!(faults.contains("limit must be 1 to 200") && faults.contains("cursor is none"), "{faults}");
        }
    }
}
