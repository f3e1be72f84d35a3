//! Where requests may go: public addresses over https, and what the operator named.
//!
//! An address is judged when a connection is made, not when a name is looked at: a name that changes its address in
//! between reaches nothing more than it could before.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use reqwest::Url;
use url_host::Host;

mod address;
mod resolve;
mod url_host;

pub(crate) use resolve::{Blocked, Lookup, Resolver, System, Unresolved};

/// Where requests may go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reach(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    networks: Vec<IpNet>,
    /// In lower case.
    hosts: Vec<String>,
    dev: bool,
}

/// An entry of `GW_ENDPOINT_ALLOW` that is neither a network nor a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is neither a network, as in 10.0.0.0/8, nor a host, as in hooks.internal")]
pub struct BadReach {
    /// As it was given.
    pub entry: String,
}

/// Why no request may go to a URL, as far as the URL itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is neither http nor https.
    Scheme,
    /// It is http, and its host is not named by the operator.
    Plain,
    /// It names no host.
    NoHost,
    /// It holds a user or a password.
    Credentials,
    /// Its host is an address that is not public.
    Address,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with https://",
            Self::Plain => "must begin with https://, unless the operator allows its host by GW_ENDPOINT_ALLOW",
            Self::NoHost => "names no host",
            Self::Credentials => "must not hold a user or password; use a header",
            Self::Address => "is no public address; the operator can allow it by GW_ENDPOINT_ALLOW",
        })
    }
}

impl Reach {
    /// Reads what the operator named: networks (`10.0.0.0/8`), addresses, and hosts (`hooks.internal`), which may be
    /// at any address. A development gateway also allows loopback and plain http.
    pub fn parse(list: &[String], dev: bool) -> Result<Self, BadReach> {
        let mut rules = Rules { dev, ..Rules::default() };
        for entry in list.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()) {
            let network = entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(network) => rules.networks.push(network.trunc()),
                Err(_) if is_host(entry) => rules.hosts.push(entry.to_ascii_lowercase()),
                Err(_) => return Err(BadReach { entry: entry.to_owned() }),
            }
        }
        Ok(Self(Arc::new(rules)))
    }

    /// Why no request may go to this URL, if its text alone tells. What it does not tell is found out when the host's
    /// name is resolved.
    #[must_use]
    pub fn refuses_url(&self, url: &Url) -> Option<Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Some(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some(Refusal::Credentials);
        }
        let Some(host) = Host::of(url) else { return Some(Refusal::NoHost) };
        let inside = match &host {
            Host::Address(address) => !self.allows_address(*address),
            Host::Name(name) => is_localhost(name) && !self.0.dev && !self.names(name),
        };
        if inside {
            return Some(Refusal::Address);
        }
        (url.scheme() == "http" && !self.allows_plain(&host)).then_some(Refusal::Plain)
    }

    /// Whether a connection to this address may be made, for a host of this name.
    pub(crate) fn allows(&self, host: &str, address: IpAddr) -> bool {
        self.names(host) || self.allows_address(address)
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address::is_public(address) || self.grants(address)
    }

    /// Whether the operator allows what would not be allowed otherwise.
    fn grants(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.dev && address.is_loopback() || self.0.networks.iter().any(|network| network.contains(&address))
    }

    fn allows_plain(&self, host: &Host) -> bool {
        self.0.dev
            || match host {
                Host::Address(address) => self.grants(*address),
                Host::Name(name) => self.names(name),
            }
    }

    fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.hosts.iter().any(|named| named.eq_ignore_ascii_case(host))
    }
}

/// A name that stands for loopback wherever it is resolved.
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_host(entry: &str) -> bool {
    let label = |label: &str| {
        let form = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(form)
    };
    // What ends in a number would be read as an address.
    let numeric = entry.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    entry.len() <= 253 && entry.split('.').all(label) && !numeric
}

#[cfg(test)]
mod tests;
