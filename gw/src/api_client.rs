//! A small client of the gateway's API: finds address and key by itself, and puts refusals into words.

use std::{fmt::Display, time::Duration};

use reqwest::{Method, Url};
use schemas::{problem::Problem, secret::Secret};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    config::{ApiArgs, DevEnv},
    error::Error,
    output,
};

mod flags;

/// Where the API listens unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:4110";
/// The code of what a gateway says of a thing that it does not have.
const NOT_FOUND: &str = "not_found";
/// Rows of a page, as many as the API gives.
const PAGE: &str = "200";
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(60);

/// The API of one gateway.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    base: Url,
    key: Option<Secret>,
}

impl ApiClient {
    pub(crate) fn new(args: &ApiArgs) -> Result<Self, Error> {
        let dev = DevEnv::load(&args.data.data_dir);
        let base = args.api_url.as_deref().or_else(|| dev.get("GW_API_URL")).unwrap_or(DEFAULT_URL);
        // The development gateway's key is not shown to another.
        let own = args.api_url.is_none() || args.api_url.as_deref() == dev.get("GW_API_URL");
        let key = args.api_key.clone().or_else(|| dev.secret("GW_API_KEY").filter(|_| own));
        let base = address(base, "GW_API_URL")?;
        Ok(Self { http: http(&base, ANSWER)?, base, key })
    }

    /// The address, as it may be shown.
    pub(crate) fn url(&self) -> String {
        shown(&self.base)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Error> {
        self.ask(Method::GET, path, query, None::<&()>).await
    }

    /// All rows of a list, page after page; `list` is their name in the answer.
    pub(crate) async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        list: &str,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = [("limit", Some(PAGE)), ("cursor", cursor.as_deref())];
            let page = page.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let query: Vec<(&str, &str)> = query.iter().copied().chain(page).collect();
            let mut answer: Map<String, Value> = self.get(path, &query).await?;
            let mut member = |name: &str| answer.remove(name).unwrap_or_default();
            let rows: Vec<T> = read(member(list))?;
            all.extend(rows);
            cursor = read(member("nextCursor"))?;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.ask(Method::PATCH, path, &[], Some(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.ask(Method::DELETE, path, &[], None::<&()>).await
    }

    /// Status and JSON of a path that answers with any status; null where the answer is no JSON.
    pub(crate) async fn look(&self, path: &str) -> Result<(u16, Value), Error> {
        let request = self.http.get(join(&self.base, path)).timeout(CONNECT);
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or_default()))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let mut url = join(&self.base, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| self.unreachable(error))?;
        if !status.is_success() {
            return Err(self.refusal(status.as_u16(), &bytes));
        }
        serde_json::from_slice(&bytes).map_err(Error::Unreadable)
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Error {
        let said = serde_json::from_slice::<Problem>(body).ok();
        let code = said.as_ref().map(|problem| problem.code.to_string()).unwrap_or_default();
        let detail = match (status, &self.key, said) {
            (401, None, _) => "a key is needed: set GW_API_KEY to one of the gateway's GW_API_KEYS".to_owned(),
            (401, Some(_), _) => {
                "the key is none of the gateway's GW_API_KEYS, and none that was made and not revoked: correct GW_API_KEY"
                    .to_owned()
            }
            (_, _, Some(problem)) => words(&problem),
            (_, _, None) => format!("no problem it could name; is {} the API of a gateway?", self.url()),
        };
        Error::Answer { status, code, detail }
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { url: self.url(), source: source.without_url() }
    }
}

/// What commands name by an id, and the command that lists it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    what: &'static str,
    list: &'static str,
}

impl Named {
    pub(crate) const DELIVERY: Self = Self { what: "delivery", list: "gw deliveries" };
    pub(crate) const ENDPOINT: Self = Self { what: "endpoint", list: "gw endpoint list" };
    pub(crate) const KEY: Self = Self { what: "key", list: "gw key list" };
    pub(crate) const LETTER: Self = Self { what: "dead letter", list: "gw dlq list" };
    pub(crate) const LINK: Self = Self { what: "link", list: "gw link list" };
    pub(crate) const REPLAY: Self = Self { what: "replay", list: "gw replay list" };

    /// There is none of this id.
    pub(crate) fn absent(self, id: impl Display) -> Error {
        Error::Absent { what: self.what, id: output::plain(&id.to_string()), list: self.list }
    }

    /// What went wrong with the one of this id, in words of its own where the gateway has none.
    pub(crate) fn or(self, id: impl Display, error: Error) -> Error {
        match error {
            Error::Answer { code, .. } if code == NOT_FOUND => self.absent(id),
            other => other,
        }
    }
}

/// What a gateway answered, as what it should be.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(Error::Unreadable)
}

/// A text as one segment of a path, which it cannot lead out of.
pub(crate) fn segment(text: &str) -> String {
    if matches!(text, "" | "." | "..") {
        // No id, and a URL resolves it.
        return "_".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A problem for a person: title, code, detail, and each field that was wrong, by the name of its flag.
pub(crate) fn words(problem: &Problem) -> String {
    let mut text = format!("{} ({})", problem.title, problem.code);
    if let Some(detail) = &problem.detail {
        text.push_str(&format!(": {detail}"));
    }
    let fields = problem.extra.get("errors").and_then(Value::as_object);
    for (field, faults) in fields.into_iter().flatten() {
        for fault in faults.as_array().into_iter().flatten().filter_map(Value::as_str) {
            text.push_str(&format!("; {}: {}", flags::of(field), flags::within(fault)));
        }
    }
    for (name, value) in problem.extra.iter().filter(|(name, _)| name.as_str() != "errors") {
        if let Some(value) = value.as_str() {
            text.push_str(&format!("; {name} {value}"));
        }
    }
    text
}

/// A client that does not ask a proxy for what is on this machine.
pub(crate) fn http(base: &Url, patience: Duration) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(patience)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("gw/", env!("CARGO_PKG_VERSION")));
    let local = base.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().map_err(|source| Error::Unreachable { url: shown(base), source })
}

/// Reads an address; `setting` is where it came from.
pub(crate) fn address(text: &str, setting: &str) -> Result<Url, Error> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Error::Usage(format!("{setting} is no address: http://host:port is needed")))
}

/// The address without credentials.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}

/// A path below an address.
pub(crate) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_put_into_one_line_with_all_its_fields() {
        let fields = [("orgId", "is required".to_owned()), ("provider", "must be one of a, b".to_owned())];
        let problem = Problem::new(400, "invalid_body", "Fields are wrong").errors(fields);
        assert_eq!(
            words(&problem),
            "Fields are wrong (invalid_body); --org: is required; --provider: must be one of a, b"
        );
        let linked = Problem::new(409, "resource_already_linked", "Linked already").with("resourceId", "lnk_1");
        assert_eq!(words(&linked), "Linked already (resource_already_linked); resourceId lnk_1");
    }

    #[test]
    fn an_id_stays_within_its_segment() {
        assert_eq!(segment("a/b?c é"), "a%2Fb%3Fc%20%C3%A9");
        assert_eq!(segment("72d3162e-cc78"), "72d3162e-cc78");
        let base = Url::parse("http://127.0.0.1:4110").expect("a URL");
        for id in ["../endpoints/ep_x", "..", ".", "", "%2e%2e/endpoints/ep_x", "..\\endpoints"] {
            let path = join(&base, &format!("/replays/{}", segment(id))).path().to_owned();
            assert!(path.starts_with("/replays/") && path.matches('/').count() == 2, "{id}: {path}");
        }
    }

    #[test]
    fn what_the_gateway_does_not_have_is_named_and_what_it_does_not_serve_is_not() {
        let said = |code: &str| {
            let answer = Error::Answer { status: 404, code: code.to_owned(), detail: "No such path".to_owned() };
            Named::REPLAY.or("rpl_x\n", answer).to_string()
        };
        assert_eq!(said("not_found"), "no replay rpl_x : `gw replay list` shows those there are");
        assert_eq!(said("no_such_path"), "the gateway answered 404: No such path");
    }

    #[test]
    fn an_address_is_shown_without_credentials_and_keeps_its_path() {
        let url = address("https://user:secret@gw.example/base/", "GW_API_URL").expect("an address");
        assert_eq!(shown(&url), "https://gw.example/base");
        assert_eq!(join(&url, "/connections").path(), "/base/connections");
        for wrong in ["", "localhost:4110", "ftp://x", "http://"] {
            assert!(
                address(wrong, "GW_API_URL").is_err_and(|error| error.to_string().contains("GW_API_URL")),
                "{wrong}"
            );
        }
    }
}
