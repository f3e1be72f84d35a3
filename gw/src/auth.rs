//! Who may use the API: one of the keys of the settings, or one of the table; compared in constant time.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use schemas::{
    ambient::Clock,
    caller::{Caller, Scope},
    problem::Problem,
    secret::Secret,
};
use store::Db;
use subtle::{Choice, ConstantTimeEq};
use vault::key::{Hash, hash};

mod table;

use table::{Found, Table};

const ORG_MAX: usize = 200;

/// The keys, as hashes: so all are as long, and none is in memory.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Those of the settings: an admin's.
    given: Arc<[Hash]>,
    /// Those of the table, where there is a database.
    table: Option<Table>,
}

impl Keys {
    pub(crate) fn new(given: &[Secret], database: Option<(Db, Clock)>) -> Self {
        let usable = given.iter().filter(|key| !key.expose().is_empty());
        let table = database.map(|(db, clock)| Table::new(db, clock));
        Self { given: usable.map(|key| hash(key.expose())).collect(), table }
    }

    /// Who comes with this key.
    async fn caller(&self, given: &str) -> Result<Caller, Box<Problem>> {
        let given = hash(given);
        if let Some(at) = self.position(&given) {
            return Ok(Caller { org: None, scope: Scope::Admin, key: format!("setting_{at}") });
        }
        let Some(table) = &self.table else { return Err(unauthorized()) };
        match table.find(&given).await {
            Found::Known(key) => Ok(Caller { org: key.org.clone(), scope: key.scope, key: key.id.clone() }),
            Found::Unknown => Err(unauthorized()),
            Found::Unavailable => {
                Err(Problem::new(503, "store_unavailable", "The key cannot be checked: the database does not answer")
                    .into())
            }
        }
    }

    /// Looks at every key of the settings, whichever matches.
    fn position(&self, given: &Hash) -> Option<usize> {
        let mut found = Choice::from(0);
        let mut position = 0;
        for (at, key) in self.given.iter().enumerate() {
            let same = key.ct_eq(given);
            position |= usize::from(same.unwrap_u8()) * at;
            found |= same;
        }
        bool::from(found).then_some(position)
    }
}

fn unauthorized() -> Box<Problem> {
    Problem::new(401, "unauthorized", "API key missing or wrong").into()
}

/// Lets a request through whose key is known and may do it, and says who calls.
pub(crate) async fn check(State(keys): State<Keys>, mut request: Request, next: Next) -> Response {
    let caller = match key(request.headers()) {
        Some(key) => keys.caller(key).await,
        None => Err(unauthorized()),
    };
    match caller.and_then(|caller| narrow(caller, &request)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            let mut response = web::answer(*refusal);
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

/// The caller, narrowed to the organisation the request names; a key that reads only reads, and only its own.
fn narrow(caller: Caller, request: &Request) -> Result<Caller, Box<Problem>> {
    let org = organisation(request.headers())?;
    if let Some(org) = &org
        && !caller.sees(org)
    {
        let other = Problem::new(404, "other_organisation", "Not this organisation's");
        return Err(other.detail("The key reads another organisation than X-Org-Id names.").into());
    }
    if caller.scope == Scope::Read && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let read_only = Problem::new(403, "read_only_key", "The key only reads");
        return Err(read_only.detail("A change needs a key of scope admin.").into());
    }
    Ok(Caller { org: org.or(caller.org), ..caller })
}

fn organisation(headers: &HeaderMap) -> Result<Option<String>, Box<Problem>> {
    match headers.get("x-org-id").map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(org)) if (1..=ORG_MAX).contains(&org.len()) => Ok(Some(org.to_owned())),
        Some(_) => {
            let detail = format!("X-Org-Id takes 1 to {ORG_MAX} printable ASCII characters");
            Err(Problem::new(400, "invalid_header", "A header is wrong").detail(detail).into())
        }
    }
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

    #[tokio::test]
    async fn any_of_the_keys_is_known_and_nothing_else() {
        let keys = Keys::new(&[Secret::new("one"), Secret::new(""), Secret::new("two")], None);
        let known = async |key: &str| keys.caller(key).await.map(|caller| caller.key).ok();
        assert_eq!(known("one").await.as_deref(), Some("setting_0"));
        assert_eq!(known("two").await.as_deref(), Some("setting_1"));
        for wrong in ["", "on", "one "] {
            assert_eq!(known(wrong).await, None, "{wrong}");
        }
        assert!(Keys::new(&[Secret::new("")], None).caller("").await.is_err());
    }

    #[test]
    fn a_key_that_reads_only_reads_and_only_its_own() {
        let reader = Caller { org: Some("org_1".to_owned()), scope: Scope::Read, key: "key_1".to_owned() };
        let ask = |caller: &Caller, method: Method, org: Option<&str>| {
            let mut request = Request::builder().method(method);
            if let Some(org) = org {
                request = request.header("x-org-id", org);
            }
            let request = request.body(axum::body::Body::empty()).expect("a request");
            narrow(caller.clone(), &request).map(|caller| caller.org).map_err(|refusal| refusal.code)
        };
        let own = Ok(Some("org_1".to_owned()));
        assert_eq!(ask(&reader, Method::GET, None), own);
        assert_eq!(ask(&reader, Method::HEAD, Some("org_1")), own);
        assert_eq!(ask(&reader, Method::GET, Some("org_2")), Err("other_organisation".to_owned()));
        for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT, Method::OPTIONS] {
            assert_eq!(ask(&reader, method, None), Err("read_only_key".to_owned()));
        }
        let admin = Caller::admin(None);
        assert_eq!(ask(&admin, Method::DELETE, Some("org_2")), Ok(Some("org_2".to_owned())));
        assert_eq!(ask(&admin, Method::GET, Some("")), Err("invalid_header".to_owned()));
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
