//! Sends a request and says how it ended. One client for all endpoints: no redirects, no proxies, no cookies.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use reqwest::{StatusCode, header::RETRY_AFTER, redirect};
use schemas::instant;
use tokio::time::{Instant, timeout};

use super::{
    reach::{Blocked, Lookup, Reach, Resolver, System, Unresolved},
    request::Request,
};

/// How long a connection may take to be made, unless the endpoint's timeout is shorter.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(15);
/// The most of an answer's body that is read, so that its connection can be used again.
const BODY: usize = 16 * 1024;
/// How long that may take: the answer itself is known by then.
const BODY_TIME: Duration = Duration::from_secs(1);
/// No receiver puts a push off for longer.
const RETRY_AFTER_MAX: i64 = 24 * 3_600_000;

/// The HTTP client. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    reach: Reach,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The receiver answered.
    Answered {
        status: u16,
        /// When it wants to be asked again, milliseconds since the epoch.
        retry_at: Option<i64>,
    },
    /// There is no answer.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It did not come in time.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The receiver's certificate or TLS is not accepted.
    Tls,
    /// The host's name has no address.
    Dns,
    /// The host is at no address that may be reached.
    Blocked,
    /// The receiver closed the connection.
    Reset,
    /// The answer is no HTTP.
    Protocol,
}

impl Failure {
    /// The error class of an attempt.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Blocked => "blocked",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
        }
    }
}

impl Client {
    /// A client that asks the system for addresses.
    pub(crate) fn system(reach: Reach) -> Result<Self, reqwest::Error> {
        Self::new(reach, Arc::new(System))
    }

    /// A client that goes where it may; `lookup` gives the addresses of names.
    pub(super) fn new(reach: Reach, lookup: Arc<dyn Lookup>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("Gangway/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(256)
            .dns_resolver(Resolver::new(reach.clone(), lookup))
            .build()?;
        Ok(Self { http, reach })
    }

    /// Sends it, and tells the ending and how long it took. The answer's head decides.
    pub(super) async fn send(&self, request: Request, limit: Duration, now: i64) -> (Ending, Duration) {
        let begun = Instant::now();
        if self.reach.refuses_url(&request.url).is_some() {
            return (Ending::Failed(Failure::Blocked), Duration::ZERO);
        }
        let sent = self.http.post(request.url).headers(request.headers).body(request.body).timeout(limit).send().await;
        let latency = begun.elapsed();
        let ending = match sent {
            Ok(answer) => {
                let (status, retry_at) = (answer.status(), retry_at(&answer, now));
                let rest = limit.saturating_sub(latency).min(BODY_TIME);
                let _slow = timeout(rest, drain(answer)).await.is_err();
                Ending::Answered { status: status.as_u16(), retry_at }
            }
            Err(error) => Ending::Failed(failure(&error)),
        };
        (ending, latency)
    }
}

/// Reads a short body to its end; a longer one is dropped, and the connection with it.
async fn drain(mut answer: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > BODY {
            return;
        }
    }
}

/// What `Retry-After` says where it counts: seconds, or a date.
fn retry_at(answer: &reqwest::Response, now: i64) -> Option<i64> {
    if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    after(value, now)
}

fn after(value: &str, now: i64) -> Option<i64> {
    let value = value.trim();
    let at = match value.parse::<u32>() {
        Ok(seconds) => now.saturating_add(i64::from(seconds) * 1_000),
        Err(_) => instant::http_date(value)?,
    };
    (at > now).then(|| at.min(now.saturating_add(RETRY_AFTER_MAX)))
}

/// Finds the cause in the chain of an error.
fn failure(error: &reqwest::Error) -> Failure {
    let mut causes = std::iter::successors(error.source(), |error| (*error).source());
    let found = causes.find_map(|cause| {
        if cause.is::<Blocked>() {
            return Some(Failure::Blocked);
        }
        if cause.is::<Unresolved>() {
            return Some(Failure::Dns);
        }
        let io = cause.downcast_ref::<io::Error>()?;
        if is_tls(io) {
            return Some(Failure::Tls);
        }
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let closed = matches!(io.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof);
        (closed && !error.is_connect()).then_some(Failure::Reset)
    });
    match found {
        Some(failure) => failure,
        None if error.is_connect() => Failure::Connect,
        None if error.is_timeout() => Failure::Timeout,
        None if is_incomplete(error) => Failure::Reset,
        None => Failure::Protocol,
    }
}

/// TLS speaks through the error of a connection, which may be wrapped in another.
fn is_tls(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    inner.is::<rustls::Error>() || inner.downcast_ref::<io::Error>().is_some_and(is_tls)
}

/// Whether the receiver closed the connection before its answer was whole.
fn is_incomplete(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_when_to_come_again_in_seconds_or_by_a_date_and_at_most_a_day_ahead() {
        let now = 1_445_412_480_000; // Wed, 21 Oct 2015 07:28:00 GMT
        assert_eq!(after(" 120 ", now), Some(now + 120_000));
        assert_eq!(after("Wed, 21 Oct 2015 07:29:30 GMT", now), Some(now + 90_000));
        assert_eq!(after("4000000000", now), Some(now + RETRY_AFTER_MAX));
        assert_eq!(after("Fri, 31 Dec 2100 23:59:59 GMT", now), Some(now + RETRY_AFTER_MAX));
        for nothing in ["", "0", "-5", "soon", "1.5", "Wed, 21 Oct 2015 07:27:00 GMT"] {
            assert_eq!(after(nothing, now), None, "{nothing}");
        }
    }
}
