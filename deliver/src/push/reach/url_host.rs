//! The host of a URL: a name, or an address in any of the forms that URLs know.

use std::net::IpAddr;

use reqwest::Url;

/// Who a URL points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// To be resolved.
    Name(String),
    /// No name to resolve.
    Address(IpAddr),
}

impl Host {
    /// The parser has already turned `0x7f.1` and `2130706433` into dotted addresses.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(bare.parse().map_or_else(|_| Self::Name(host.to_owned()), Self::Address))
    }
}
