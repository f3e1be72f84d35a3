//! What every request gets: ids, a span, a line in the log; and problems for what no route takes.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::{self, Next},
    response::Response,
};
use schemas::{ambient::Random, caller::RequestIds, problem::Problem};
use tokio::time::Instant;
use tracing::{Instrument, field::Empty, info, info_span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const ID_MAX: usize = 128;

/// What the middleware needs.
#[derive(Clone)]
struct Context {
    listener: &'static str,
    random: Arc<Random>,
}

/// Wraps a listener's routes.
pub(crate) fn wrap(routes: Router, listener: &'static str, random: &Random) -> Router {
    let context = Context { listener, random: Arc::new(random.clone()) };
    routes
        .fallback(|| async { web::answer(Problem::new(404, "no_such_path", "No such path")) })
        .method_not_allowed_fallback(|| async {
            web::answer(Problem::new(405, "method_not_allowed", "The path does not take this method"))
        })
        .layer(middleware::from_fn_with_state(context, observe))
}

async fn observe(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let ids = ids(request.headers(), &context.random);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = info_span!(
        "request",
        otel.kind = "server",
        request_id = ids.request,
        correlation_id = ids.correlation,
        provider = Empty,
        delivery_id = Empty,
        outcome = Empty,
    );
    nats::trace::adopt(&span, request.headers().get("traceparent").and_then(|value| value.to_str().ok()));
    request.extensions_mut().insert(ids.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    for (name, id) in [(REQUEST_ID, &ids.request), (CORRELATION_ID, &ids.correlation)] {
        if let Ok(value) = HeaderValue::from_str(id) {
            response.headers_mut().insert(name, value);
        }
    }
    let status = response.status().as_u16();
    let duration_ms = begun.elapsed().as_secs_f64() * 1000.0;
    span.in_scope(|| info!(listener = context.listener, %method, path, status, duration_ms, "http.request"));
    response
}

/// The client's ids where they are of good form; else made here.
fn ids(headers: &HeaderMap, random: &Random) -> RequestIds {
    let given = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|id| good(id)).map(str::to_owned);
    let request = given(REQUEST_ID).unwrap_or_else(|| random.id(""));
    let correlation = given(CORRELATION_ID).unwrap_or_else(|| request.clone());
    RequestIds { request, correlation }
}

fn good(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_taken_only_in_good_form() {
        let random = Random::new(|| 7);
        let with = |id: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]);
            ids(&headers, &random).request
        };
        assert_eq!(with("abc-1.2_3"), "abc-1.2_3");
        let made = random.id("");
        for bad in ["", "a b", "a/b", &"x".repeat(129)] {
            assert_eq!(with(bad), made, "{bad}");
        }
    }
}
