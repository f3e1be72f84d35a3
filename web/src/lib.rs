//! What the routes of the API share: how they read a request, how a list comes a page at a time, and how a problem is
//! answered.

mod page;
mod request;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::problem::{MEDIA_TYPE, Problem};

pub use page::{Cursor, PageParams, Paging};
pub use request::{Ids, IsIds, RequestError, json, json_or_nothing, limit, parameters};

/// A problem as an answer.
pub fn answer(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], Json(problem)).into_response()
}
