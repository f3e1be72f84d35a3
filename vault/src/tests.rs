//! What the API promises, on SQLite always and on PostgreSQL where `GW_TEST_DATABASE_URL` names one.

mod connections;
mod keys;
mod links;
mod rows;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    http::{Method, Request, header},
};
use schemas::{
    ambient::{Clock, Random},
    caller::Caller,
    problem::MEDIA_TYPE,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt;

use store::Db;

use crate::{http, records::Records};

/// The time of the first change: 2023-11-14T22:13:20Z.
const START: i64 = 1_700_000_000_000;

/// A vault without a broker: the rows and their API.
#[derive(Clone)]
struct House {
    records: Records,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl House {
    fn new(db: Db) -> Self {
        let time = AtomicI64::new(START);
        let clock = Clock::new(move || time.fetch_add(1, Ordering::Relaxed));
        Self { records: Records { db, clock, random: Random::new(rand::random), poke: Arc::new(Notify::new()) } }
    }

    async fn ask(&self, caller: &Caller, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let api = Router::from(http::records(self.records.clone()))
            .merge(crate::key::routes(self.records.clone()))
            .layer(Extension(caller.clone()));
        let request = Request::builder().method(method).uri(path).body(body.into()).expect("a request");
        let response = api.oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let media_type = response.headers().get(header::CONTENT_TYPE).cloned().expect("a media type");
        assert_eq!(media_type, if status < 400 { "application/json" } else { MEDIA_TYPE }, "of {status}");
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        Answer { status, body: serde_json::from_slice(&body).expect("JSON") }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&anyone(), Method::GET, path, Body::empty()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(&anyone(), Method::POST, path, body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(&anyone(), Method::DELETE, path, Body::empty()).await
    }

    /// Adopts GitHub installation `42` for an organisation.
    async fn adopt(&self, org: &str) -> String {
        let answer = self.post("/connections", &json!({"provider": "github", "externalId": "42", "orgId": org})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("id").to_owned()
    }

    async fn link(&self, connection: &str, body: Value) -> Answer {
        self.post(&format!("/connections/{connection}/resources"), &body).await
    }

    async fn set_status(&self, connection: &str, status: &str) {
        let query = sqlx::query("update connections set status = $1 where id = $2").bind(status.to_owned());
        query.bind(connection.to_owned()).execute(&self.records.db.pool).await.expect("a status");
    }

    /// What waits in the outbox: kind, id, version and what to tell.
    async fn outbox(&self) -> Vec<(String, String, i64, Option<String>)> {
        let query =
            sqlx::query_as("select kind, subject_id, version, what from outbox order by created_at, kind, version");
        query.fetch_all(&self.records.db.pool).await.expect("the outbox")
    }
}

impl Answer {
    fn text(&self, member: &str) -> &str {
        self.body.get(member).and_then(Value::as_str).unwrap_or_else(|| panic!("no {member} in {self:?}"))
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> &Value {
        assert_eq!((self.status, self.text("code")), (status, code), "{self:?}");
        &self.body
    }
}

fn anyone() -> Caller {
    Caller::admin(None)
}

fn narrowed(org: &str) -> Caller {
    Caller::admin(Some(org))
}

/// Runs a test on each database, on one of its own.
async fn on_each<F: Future<Output = ()>>(test: impl Fn(House) -> F) {
    store::testing::on_each(|db| test(House::new(db))).await;
}
