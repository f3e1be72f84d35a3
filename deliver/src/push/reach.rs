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
    named: Vec<Named>,
    dev: bool,
}

/// What the operator named.
#[derive(Debug)]
struct Named {
    place: Place,
    /// Whether requests may go there without TLS.
    plain: bool,
}

#[derive(Debug)]
enum Place {
    Network(IpNet),
    Host(String),
}

/// An entry of `GW_ENDPOINT_ALLOW` that is neither a network nor a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} is neither a network, as in 10.0.0.0/8, nor a host, as in hooks.internal; http:// before it allows plain http"
)]
pub struct BadReach {
    /// As it was given.
    pub entry: String,
}

/// Why no request may go to a URL, as far as the URL itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is neither http nor https.
    Scheme,
    /// It is http, which the operator did not allow there.
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
            Self::Plain => "must begin with https://; the operator can allow plain http to a host by GW_ENDPOINT_ALLOW=http://<host>",
            Self::NoHost => "names no host",
            Self::Credentials => "must not hold a user or password; use a header",
            Self::Address => "is no public address; the operator can allow it by GW_ENDPOINT_ALLOW",
        })
    }
}

impl Reach {
    /// Reads what the operator named: networks (`10.0.0.0/8`), addresses, and hosts (`hooks.internal`), which may be
    /// at any address; `http://` before one of them allows requests without TLS. A development gateway also allows
    /// loopback and plain http.
    pub fn parse(list: &[String], dev: bool) -> Result<Self, BadReach> {
        let entries = list.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty());
        let named = entries.map(|entry| Named::parse(entry).ok_or_else(|| BadReach { entry: entry.to_owned() }));
        Ok(Self(Arc::new(Rules { named: named.collect::<Result<_, _>>()?, dev })))
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
            Host::Name(name) => is_localhost(name) && !self.0.dev && self.entries(name).next().is_none(),
        };
        if inside {
            return Some(Refusal::Address);
        }
        (url.scheme() == "http" && !self.allows_plain(&host)).then_some(Refusal::Plain)
    }

    /// Whether a connection to this address may be made, for a host of this name.
    pub(crate) fn allows(&self, host: &str, address: IpAddr) -> bool {
        self.entries(host).next().is_some() || self.allows_address(address)
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address::is_public(address) || self.0.dev && address.is_loopback() || self.networks(address).next().is_some()
    }

    fn allows_plain(&self, host: &Host) -> bool {
        self.0.dev
            || match host {
                Host::Address(address) => self.networks(address.to_canonical()).any(|named| named.plain),
                Host::Name(name) => self.entries(name).any(|named| named.plain),
            }
    }

    /// The networks that hold an address.
    fn networks(&self, address: IpAddr) -> impl Iterator<Item = &Named> {
        self.0.named.iter().filter(move |named| matches!(&named.place, Place::Network(net) if net.contains(&address)))
    }

    /// The entries of a host.
    fn entries(&self, host: &str) -> impl Iterator<Item = &Named> {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0
            .named
            .iter()
            .filter(move |named| matches!(&named.place, Place::Host(named) if named.eq_ignore_ascii_case(host)))
    }
}

impl Named {
    fn parse(entry: &str) -> Option<Self> {
        let (plain, place) = match entry.strip_prefix("http://") {
            Some(place) => (true, place),
            None => (false, entry),
        };
        // As a URL has an address of version 6.
        let bare = place.strip_prefix('[').and_then(|place| place.strip_suffix(']')).unwrap_or(place);
        let network = place.parse::<IpNet>().or_else(|_| bare.parse::<IpAddr>().map(IpNet::from));
        let place = match network {
            Ok(network) => Place::Network(network.trunc()),
            Err(_) => Place::Host(is_host(place).then(|| place.to_owned())?),
        };
        Some(Self { place, plain })
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
