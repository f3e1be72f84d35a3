//! Who may use the API: one of the keys, compared in constant time.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use schemas::{caller::Caller, problem::Problem, secret::Secret};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::request::problem;

const ORG_MAX: usize = 200;

/// The keys, as digests: so all are as long, and none is in memory.
#[derive(Clone)]
pub(crate) struct Keys(Arc<[[u8; 32]]>);

impl Keys {
    pub(crate) fn new(keys: &[Secret]) -> Self {
        let usable = keys.iter().filter(|key| !key.expose().is_empty());
        Self(usable.map(|key| Sha256::digest(key.expose()).into()).collect())
    }

    /// Looks at every key, whichever matches.
    fn know(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.iter().fold(Choice::from(0), |known, key| known | key.ct_eq(&given)).into()
    }
}

/// Lets a request through whose key is known, and says who calls.
pub(crate) async fn check(State(keys): State<Keys>, mut request: Request, next: Next) -> Response {
    if !key(request.headers()).is_some_and(|key| keys.know(key)) {
        let mut response = problem(&Problem::new(401, "unauthorized", "API key missing or wrong"));
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let org = match request.headers().get("x-org-id").map(HeaderValue::to_str) {
        None => None,
        Some(Ok(org)) if (1..=ORG_MAX).contains(&org.len()) => Some(org.to_owned()),
        Some(_) => {
            let detail = format!("X-Org-Id takes 1 to {ORG_MAX} printable ASCII characters");
            return problem(&Problem::new(400, "invalid_header", "A header is wrong").detail(detail));
        }
    };
    request.extensions_mut().insert(Caller { org, key: String::new() });
    next.run(request).await
}

fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    text("x-api-key").or_else(|| {
        let (scheme, key) = text("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_keys_is_known_and_nothing_else() {
        let keys = Keys::new(&[Secret::new("one"), Secret::new(""), Secret::new("two")]);
        assert!(keys.know("one") && keys.know("two"));
        assert!(!keys.know("") && !keys.know("on") && !keys.know("one "));
        assert!(!Keys::new(&[Secret::new("")]).know(""));
    }

    #[test]
    fn a_key_comes_in_either_header() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        assert_eq!(key(&headers("x-api-key", "k")), Some("k"));
        assert_eq!(key(&headers("authorization", "bearer k")), Some("k"));
        assert_eq!(key(&headers("authorization", "Basic k")), None);
        assert_eq!(key(&HeaderMap::new()), None);
    }
}
