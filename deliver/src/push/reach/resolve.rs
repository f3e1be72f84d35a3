//! Resolves a host's name at the moment a connection is made, and leaves only the addresses that may be reached.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use futures_util::{FutureExt, future::Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::Reach;

/// Lookups at once, one a host: slow name servers are not to take all threads of the process, nor those of one domain
/// the places of all others.
const LOOKUPS: usize = 64;
const DOMAIN: usize = 8;

/// Gives the addresses of a name.
pub(crate) trait Lookup: Send + Sync + 'static {
    /// All of them; the port does not matter.
    fn lookup(&self, host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
}

/// The system's resolver.
pub(crate) struct System;

impl Lookup for System {
    fn lookup(&self, host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// The name has addresses, and none of them may be reached. Does not say which: they are the inside's.
#[derive(Debug, thiserror::Error)]
#[error("the host has no address that may be reached")]
pub(crate) struct Blocked;

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the host's name cannot be resolved")]
pub(crate) struct Unresolved(#[source] Option<Arc<io::Error>>);

/// What the HTTP client asks for addresses.
pub(crate) struct Resolver {
    reach: Reach,
    lookup: Arc<dyn Lookup>,
    under_way: Arc<UnderWay>,
}

/// The lookups that have not ended. One whose request gave up still holds its place: the system goes on with it.
struct UnderWay {
    few: Semaphore,
    hosts: Mutex<HashMap<String, Shared<Answer>>>,
    domains: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// What all who ask for a host at once are told.
type Answer = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, Arc<io::Error>>> + Send>>;

impl Resolver {
    pub(crate) fn new(reach: Reach, lookup: Arc<dyn Lookup>) -> Self {
        let under_way = UnderWay { few: Semaphore::new(LOOKUPS), hosts: Mutex::default(), domains: Mutex::default() };
        Self { reach, lookup, under_way: Arc::new(under_way) }
    }

    /// Asks for a host's addresses, or waits with whoever asks already.
    fn ask(&self, host: &str) -> Shared<Answer> {
        let mut hosts = self.under_way.hosts();
        if let Some(answer) = hosts.get(host) {
            return answer.clone();
        }
        let (under_way, lookup, name) = (self.under_way.clone(), self.lookup.clone(), host.to_owned());
        let task = tokio::spawn(async move {
            let _last = Last { under_way: &under_way, host: &name };
            let domain = under_way.domain(&name);
            let _turn = domain.acquire().await;
            let _place = under_way.few.acquire().await;
            lookup.lookup(name.clone()).await
        });
        let answer: Answer = Box::pin(async { task.await.map_err(io::Error::other).flatten().map_err(Arc::new) });
        let answer = answer.shared();
        hosts.insert(host.to_owned(), answer.clone());
        answer
    }
}

impl UnderWay {
    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Shared<Answer>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places of a host's domain.
    fn domain(&self, host: &str) -> Arc<Semaphore> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let name = domain_of(&host);
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = domains.get(name).and_then(Weak::upgrade) {
            return places;
        }
        domains.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(DOMAIN));
        domains.insert(name.to_owned(), Arc::downgrade(&places));
        places
    }
}

/// What a host's name servers have in common with others: the last two labels, three where the last but one is as short
/// as in `co.uk`.
pub(super) fn domain_of(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').map(|(dot, _)| dot);
    let (last, before, third) = (dots.next(), dots.next(), dots.next());
    let short = |dot: usize| last.is_some_and(|last| last - dot <= 4);
    let dot = if before.is_some_and(short) { third } else { before };
    dot.map_or(host, |dot| &host[dot + 1..])
}

/// Ends a lookup for those who come later, whatever became of it.
struct Last<'a> {
    under_way: &'a UnderWay,
    host: &'a str,
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.under_way.hosts().remove(self.host);
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, host) = (self.reach.clone(), name.as_str().to_owned());
        let found = self.ask(&host);
        Box::pin(async move {
            let found = found.await.map_err(|error| Unresolved(Some(error)))?;
            if found.is_empty() {
                return Err(Unresolved(None).into());
            }
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| reach.allows(&host, address.ip())).collect();
            if allowed.is_empty() {
                return Err(Blocked.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
