//! What may be done with endpoints, on SQLite always and on PostgreSQL where `GW_TEST_DATABASE_URL` names one.

mod directory;
mod life;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use data_encoding::BASE64;
use schemas::{
    ambient::{Clock, Random},
    caller::Caller,
    seal::{Broken, Seal, Sealer},
    secret::Secret,
};
use serde_json::{Value, json};
use sqlx::AnyPool;
use store::Db;

use super::{Endpoints, records::Records};
use crate::{error::Error, push::Reach};

/// The time when a house is opened: 2023-11-14T22:13:20Z.
const START: i64 = 1_700_000_000_000;
/// The last sequence of the events.
const LAST: u64 = 41;

/// Endpoints without a broker.
#[derive(Clone)]
struct House {
    records: Records,
    time: Arc<AtomicI64>,
}

/// A seal that hides nothing: it knows owner, column and key.
struct Glass(&'static str);

impl Seal for Glass {
    fn seal(&self, owner: &str, column: &str, secret: &Secret) -> Result<String, Broken> {
        Ok(format!("{}.{owner}.{column}.{}", self.0, BASE64.encode(secret.expose().as_bytes())))
    }

    fn open(&self, owner: &str, column: &str, sealed: &str) -> Result<Secret, Broken> {
        let (key, rest) = sealed.split_once('.').ok_or(Broken::Damaged)?;
        if key != self.0 {
            return Err(Broken::UnknownKey { key: key.to_owned() });
        }
        let text = rest.strip_prefix(&format!("{owner}.{column}.")).ok_or(Broken::Damaged)?;
        let text = BASE64.decode(text.as_bytes()).map_err(|_| Broken::Damaged)?;
        Ok(Secret::new(String::from_utf8(text).map_err(|_| Broken::Damaged)?))
    }
}

impl House {
    fn new(db: Db) -> Self {
        let time = Arc::new(AtomicI64::new(START));
        let clock = Clock::new({
            let time = time.clone();
            move || time.load(Ordering::Relaxed)
        });
        let endpoints = Endpoints::new(db, clock);
        let reach = Reach::parse(&["10.0.0.0/8".to_owned()], false).expect("a good list");
        let (random, sealer) = (Random::new(rand::random), Sealer(Arc::new(Glass("k1"))));
        Self { records: Records { endpoints, random, sealer, reach }, time }
    }

    /// The same with another key.
    fn with_key(&self, key: &'static str) -> Self {
        let mut house = self.clone();
        house.records.sealer = Sealer(Arc::new(Glass(key)));
        house
    }

    fn pass(&self, millis: i64) {
        self.time.fetch_add(millis, Ordering::Relaxed);
    }

    fn pool(&self) -> &AnyPool {
        &self.records.endpoints.db.pool
    }

    async fn create(&self, caller: &Caller, body: Value) -> Result<Value, Error> {
        let made = self.records.create(caller, &body, async || Ok(LAST)).await?;
        Ok(serde_json::to_value(made).expect("JSON"))
    }

    /// An endpoint of an organisation, with more wishes.
    async fn made(&self, org: &str, wishes: Value) -> String {
        let mut body = json!({ "orgId": org, "url": "https://example.com/hook" });
        body.as_object_mut().expect("an object").extend(wishes.as_object().expect("an object").clone());
        let made = self.create(&anyone(), body).await.expect("made");
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn show(&self, id: &str) -> Value {
        serde_json::to_value(self.records.show(&anyone(), id).await.expect("shown")).expect("JSON")
    }

    async fn change(&self, id: &str, body: Value) -> Result<Value, Error> {
        let changed = self.records.change(&anyone(), id, &body).await?;
        Ok(serde_json::to_value(changed).expect("JSON"))
    }

    /// What an endpoint admitted: version, patterns, history.
    async fn admitted(&self, id: &str) -> Vec<(i64, String, i64)> {
        let query = sqlx::query_as(
            "select version, events, history from endpoint_versions where endpoint_id = $1 order by version",
        );
        query.bind(id.to_owned()).fetch_all(self.pool()).await.expect("versions")
    }
}

fn anyone() -> Caller {
    Caller::admin(None)
}

fn narrowed(org: &str) -> Caller {
    Caller::admin(Some(org))
}

/// The code of a refusal, and which fields it names.
#[track_caller]
fn refused(answer: Result<Value, Error>) -> (String, Vec<String>) {
    let problem = answer.expect_err("a refusal").problem();
    let fields = problem.extra.get("errors").and_then(Value::as_object);
    (problem.code, fields.map(|fields| fields.keys().cloned().collect()).unwrap_or_default())
}

/// Runs a test on each database, on one of its own.
async fn on_each<F: Future<Output = ()>>(test: impl Fn(House) -> F) {
    store::testing::on_each(|db| test(House::new(db))).await;
}
