//! A page of deliveries, the newest first.

use std::collections::BTreeMap;

use schemas::{caller::Caller, instant};
use serde::Serialize;
use sqlx::{Any, AssertSqlSafe, Row as _, any::AnyArguments, any::AnyRow, query::Query};
use store::{Columns, Db, Error};
use utoipa::ToSchema;

use super::params::{Cursor, Params};

/// Organisations with fewer events than this are looked for among their own.
const FEW: i64 = 20_000;

/// A page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Deliveries)]
pub(crate) struct Page {
    deliveries: Vec<Listed>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A delivery in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeliveryLine)]
struct Listed {
    provider: String,
    delivery_id: String,
    sequence: i64,
    status: String,
    event: Option<String>,
    /// The normalised types of its events.
    types: Vec<String>,
    /// The organisations that got an event.
    org_ids: Vec<String>,
    account: Option<String>,
    origin: Option<String>,
    received_at: Option<String>,
    stored_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A text or a number of a condition.
enum Value {
    Text(String),
    Number(i64),
}

/// Conditions and their values, in order.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition; each `?` in it is the next value.
    fn add(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let mut written = String::with_capacity(sql.len() + 8);
        let mut values = values.into_iter();
        for part in sql.split_inclusive('?') {
            match (part.strip_suffix('?'), values.next()) {
                (Some(before), Some(value)) => {
                    self.values.push(value);
                    written.push_str(&format!("{before}${}", self.values.len()));
                }
                _ => written.push_str(part),
            }
        }
        self.sql.push(written);
    }

    fn bind<'q>(&self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        self.values.iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text.clone()),
            Value::Number(number) => query.bind(*number),
        })
    }
}

/// An event of the delivery `d` for an organisation.
const HAS_EVENT: &str =
    "exists (select 1 from events e where e.delivery_id = d.delivery_id and e.provider = d.provider and e.org_id = ?)";
/// The same where filters admitted nothing.
const HAS_FILTERED: &str = "exists (select 1 from filtered f where f.delivery_id = d.delivery_id and f.provider = d.provider and f.org_id = ?)";

/// The delivery `d` is bound to an organisation: what becomes of it is that organisation's, events or not.
const IS_BOUND: &str = "d.org_id = ?";

/// The page that a caller asks for.
pub(crate) async fn page(db: &Db, caller: &Caller, params: &Params) -> Result<Page, Error> {
    let org = caller.org.as_ref().or(params.org.as_ref());
    let conditions = conditions(db, org, params).await?;
    let sql = format!(
        "select d.* from deliveries d where {} order by d.stored_at desc, d.sequence desc, d.provider desc, d.delivery_id desc limit {}",
        conditions.sql.join(" and "),
        params.limit + 1
    );
    let mut rows = conditions.bind(sqlx::query(AssertSqlSafe(sql))).fetch_all(&db.pool).await?;
    let more = i64::try_from(rows.len()).is_ok_and(|rows| rows > params.limit);
    rows.truncate(usize::try_from(params.limit).unwrap_or_default());
    let next_cursor = match rows.last().filter(|_| more) {
        Some(row) => Some(cursor(row)?.write()),
        None => None,
    };
    let events = events(db, org, &rows).await?;
    let deliveries = rows.iter().map(|row| listed(row, org, &events)).collect::<Result<_, _>>()?;
    Ok(Page { deliveries, next_cursor })
}

async fn conditions(db: &Db, org: Option<&String>, params: &Params) -> Result<Conditions, Error> {
    let text = |text: &String| Value::Text(text.clone());
    let mut conditions = Conditions::default();
    // What is not stored is no delivery yet.
    conditions.add("d.stored_at is not null", []);
    if let Some(org) = org {
        let own = || text(org);
        conditions.add(&format!("(d.org_id is null or {IS_BOUND})"), [own()]);
        match params.status.as_deref() {
            Some("filtered") => {
                conditions.add(HAS_FILTERED, [own()]);
                conditions.add(&format!("not {HAS_EVENT}"), [own()]);
                conditions.add("(d.org_id is null or d.state = 'filtered')", []);
            }
            Some(status) => {
                conditions.add(&format!("({HAS_EVENT} or {IS_BOUND})"), [own(), own()]);
                conditions.add("d.state = ?", [Value::Text(status.to_owned())]);
            }
            None => conditions.add(&format!("({HAS_EVENT} or {HAS_FILTERED} or {IS_BOUND})"), [own(), own(), own()]),
        }
        if few(db, org).await? {
            conditions.add(
                "d.sequence in (select delivery_sequence from events where org_id = ? union all
                     select delivery_sequence from filtered where org_id = ? union all
                     select sequence from deliveries where org_id = ?)",
                [own(), own(), own()],
            );
        }
    } else if let Some(status) = &params.status {
        conditions.add("d.state = ?", [text(status)]);
    }
    if let Some(provider) = &params.provider {
        conditions.add("d.provider = ?", [text(provider)]);
    }
    if let Some(kind) = &params.kind {
        let own = if org.is_some() { " and e.org_id = ?" } else { "" };
        let sql = format!(
            "(d.event = ? or exists (select 1 from events e where e.delivery_id = d.delivery_id
                 and e.provider = d.provider and e.kind = ?{own}))"
        );
        conditions.add(&sql, [text(kind), text(kind)].into_iter().chain(org.map(text)));
    }
    if let Some(endpoint) = &params.endpoint {
        let own = if org.is_some() { " and e.org_id = ?" } else { "" };
        let sql = format!(
            "exists (select 1 from events e join pushes p on p.event_id = e.event_id where e.delivery_id = d.delivery_id
                 and e.provider = d.provider and p.endpoint_id = ?{own})"
        );
        conditions.add(&sql, std::iter::once(text(endpoint)).chain(org.map(text)));
    }
    if let Some(since) = params.since {
        conditions.add("d.stored_at >= ?", [Value::Number(since)]);
    }
    if let Some(until) = params.until {
        conditions.add("d.stored_at < ?", [Value::Number(until)]);
    }
    if let Some(cursor) = &params.cursor {
        conditions.add(
            "(d.stored_at, d.sequence, d.provider, d.delivery_id) < (?, ?, ?, ?)",
            [
                Value::Number(cursor.stored_at),
                Value::Number(cursor.sequence),
                text(&cursor.provider),
                text(&cursor.delivery),
            ],
        );
    }
    Ok(conditions)
}

/// Whether an organisation has so few events, and deliveries of its own, that looking through them is faster than
/// through all.
async fn few(db: &Db, org: &str) -> Result<bool, Error> {
    let row = sqlx::query(
        "select count(*) from (select 1 as one from events where org_id = $1 union all
             select 1 from deliveries where org_id = $1 limit $2) some_of_them",
    );
    let row = row.bind(org.to_owned()).bind(FEW).fetch_one(&db.pool).await?;
    Ok(row.try_get::<i64, _>(0)? < FEW)
}

fn cursor(row: &AnyRow) -> Result<Cursor, Error> {
    let columns = Columns { row, table: "deliveries", prefix: "" };
    Ok(Cursor {
        stored_at: columns.number("stored_at")?,
        sequence: columns.number("sequence")?,
        provider: columns.text("provider")?,
        delivery: columns.text("delivery_id")?,
    })
}

/// Organisation and type of each event, by provider and delivery.
type Events = BTreeMap<(String, String), Vec<(String, String)>>;

async fn events(db: &Db, org: Option<&String>, rows: &[AnyRow]) -> Result<Events, Error> {
    let mut events = Events::new();
    if rows.is_empty() {
        return Ok(events);
    }
    let places: Vec<String> = (1..=rows.len()).map(|place| format!("${place}")).collect();
    let own = org.map_or_else(String::new, |_| format!(" and org_id = ${}", rows.len() + 1));
    let sql = format!(
        "select provider, delivery_id, org_id, kind from events where delivery_id in ({}){own} order by sequence",
        places.join(",")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for row in rows {
        query = query.bind(row.try_get::<String, _>("delivery_id")?);
    }
    if let Some(org) = org {
        query = query.bind(org.clone());
    }
    for row in &query.fetch_all(&db.pool).await? {
        let columns = Columns { row, table: "events", prefix: "" };
        let key = (columns.text("provider")?, columns.text("delivery_id")?);
        events.entry(key).or_default().push((columns.text("org_id")?, columns.text("kind")?));
    }
    Ok(events)
}

fn listed(row: &AnyRow, org: Option<&String>, events: &Events) -> Result<Listed, Error> {
    let columns = Columns { row, table: "deliveries", prefix: "" };
    let (provider, delivery_id) = (columns.text("provider")?, columns.text("delivery_id")?);
    let own = events.get(&(provider.clone(), delivery_id.clone())).map_or(&[][..], Vec::as_slice);
    let distinct = |of: fn(&(String, String)) -> &String| {
        let mut all: Vec<String> = own.iter().map(|event| of(event).clone()).collect();
        all.sort();
        all.dedup();
        all
    };
    let bound = columns.optional_text("org_id")?.is_some();
    let status = match org {
        Some(_) if own.is_empty() && !bound => "filtered".to_owned(),
        _ => columns.text("state")?,
    };
    Ok(Listed {
        sequence: columns.number("sequence")?,
        status,
        event: columns.optional_text("event")?,
        types: distinct(|(_, kind)| kind),
        org_ids: distinct(|(org, _)| org),
        account: columns.optional_text("account")?,
        origin: columns.optional_text("origin")?,
        received_at: columns.optional_number("received_at")?.map(instant::rfc3339),
        stored_at: instant::rfc3339(columns.number("stored_at")?),
        reason: columns.optional_text("reason")?,
        provider,
        delivery_id,
    })
}
