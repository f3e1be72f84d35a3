//! A replay as the API shows it.

use schemas::{
    instant,
    replay::{Counts, Replay, Request, Status},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What was asked for, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
pub(super) struct Shown {
    #[serde(flatten)]
    request: Request,
    status: Status,
    /// 0 to 1.
    progress: f64,
    first_sequence: u64,
    last_sequence: u64,
    next_sequence: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Messages read a second.
    rate: f64,
    eta_seconds: Option<u64>,
    waits_for: Option<String>,
    failure: Option<String>,
    started_at: String,
    updated_at: String,
    ended_at: Option<String>,
}

impl From<Replay> for Shown {
    fn from(replay: Replay) -> Self {
        Self {
            status: replay.status,
            progress: replay.progress(),
            rate: replay.rate(),
            eta_seconds: replay.eta(),
            first_sequence: replay.from,
            last_sequence: replay.to,
            next_sequence: replay.next,
            started_at: instant::rfc3339(replay.started_at),
            updated_at: instant::rfc3339(replay.updated_at),
            ended_at: replay.ended_at.map(instant::rfc3339),
            request: replay.request,
            counts: replay.counts,
            waits_for: replay.waits_for,
            failure: replay.failure,
        }
    }
}
