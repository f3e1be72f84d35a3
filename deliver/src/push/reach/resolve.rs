//! Resolves a host's name at the moment a connection is made, and leaves only the addresses that may be reached.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Reach;

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
pub(crate) struct Unresolved(#[source] Option<io::Error>);

/// What the HTTP client asks for addresses.
pub(crate) struct Resolver {
    pub(crate) reach: Reach,
    pub(crate) lookup: Arc<dyn Lookup>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, host) = (self.reach.clone(), name.as_str().to_owned());
        let found = self.lookup.lookup(host.clone());
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
