//! Which addresses an endpoint may have. What a name resolves to is looked at when it is called; here only what the
//! URL itself tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use schemas::fields::Fault;

use crate::push::Reach;

/// Characters a URL may have.
const URL_MAX: usize = 2_000;

/// Whether requests may go to a URL.
pub(crate) fn check(text: &str, reach: &Reach) -> Result<(), Fault> {
    let says = |text: &'static str| Err(Fault::Says(text.into()));
    if text.is_empty() {
        return Err(Fault::Missing);
    }
    if text.len() > URL_MAX {
        return says("must have at most 2000 characters");
    }
    if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return says("must not hold blanks or control characters");
    }
    let Ok(url) = Url::parse(text) else { return says("is no URL: https://host/path is needed") };
    let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
        return says("must begin with https://");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return says("must not hold credentials: put them into headers");
    }
    if url.fragment().is_some() {
        return says("must not have a fragment: it is never sent");
    }
    let allowed = is_allowed(host, reach);
    if !allowed && is_inside(host) && !(reach.dev && is_loopback(host)) {
        return says("is not a public address; whoever runs the gateway may allow it with GW_ENDPOINT_ALLOW");
    }
    if url.scheme() == "http" && !allowed && !reach.dev {
        return says("must begin with https://; http is for hosts that GW_ENDPOINT_ALLOW names");
    }
    Ok(())
}

/// Whether the operator named the host, or a network that holds its literal address.
fn is_allowed(host: &str, reach: &Reach) -> bool {
    let host = name(host);
    let address = literal(host);
    reach.allow.iter().map(|entry| entry.trim()).any(|entry| match (entry.split_once('/'), address) {
        (Some((network, bits)), Some(address)) => match (network.parse(), bits.parse()) {
            (Ok(network), Ok(bits)) => holds(network, bits, address),
            _ => false,
        },
        (Some(_), None) => false,
        (None, Some(address)) => entry.parse() == Ok(address),
        (None, None) => name(entry).eq_ignore_ascii_case(host),
    })
}

fn holds(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let first = |word: u128, width: u32| if bits > width { None } else { Some(word.checked_shr(width - bits)) };
    match (network, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            bits <= 32 && first(one.to_bits().into(), 32) == first(other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => bits <= 128 && first(one.to_bits(), 128) == first(other.to_bits(), 128),
        _ => false,
    }
}

/// A host name without the dot that ends it.
fn name(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_localhost(host: &str) -> bool {
    let host = name(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_loopback(host: &str) -> bool {
    is_localhost(host) || literal(host).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Whether the host says by itself that it is no public address.
fn is_inside(host: &str) -> bool {
    is_localhost(host)
        || match literal(host).map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => is_inside_v4(address),
            Some(IpAddr::V6(address)) => is_inside_v6(address),
            None => false,
        }
}

/// The special blocks of <https://www.iana.org/assignments/iana-ipv4-special-registry>.
fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || matches!((a, b, c), (0 | 240.., ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _))
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3; of it, Teredo, documentation and 6to4 lead elsewhere.
    a & 0xe000 != 0x2000 || (a == 0x2001 && matches!(b, 0 | 0xdb8)) || a == 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allow: &[&str], dev: bool) -> Reach {
        Reach { allow: allow.iter().map(|entry| (*entry).to_owned()).collect(), dev }
    }

    #[test]
    fn public_addresses_over_https_are_good_and_anything_else_is_refused() {
        let reach = reach(&[], false);
        for good in ["https://example.com/hook?x=1", "https://8.8.8.8:8443/", "https://[2606:4700::1111]/"] {
            assert_eq!(check(good, &reach), Ok(()), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "ftp://example.com",
            "mailto:a@example.com",
            "http://example.com",
            "https://",
            "https://a b/",
            "https://user@example.com/",
            "https://:p@example.com/",
            "https://example.com/#x",
            "https://localhost/",
            "https://app.localhost./",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://224.0.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::]/",
            "https://exam\tple.com/",
        ] {
            assert!(check(bad, &reach).is_err(), "{bad}");
        }
        assert!(check(&format!("https://example.com/{}", "x".repeat(URL_MAX)), &reach).is_err());
    }

    #[test]
    fn what_the_operator_names_may_be_inside_and_without_tls() {
        let reach = reach(&["10.0.0.0/8", "hooks.internal", "192.168.1.7", "fd00::/8"], false);
        for good in [
            "http://10.1.2.3/",
            "https://10.1.2.3/",
            "http://Hooks.Internal.:8080/x",
            "http://192.168.1.7/",
            "http://[fd12::1]/",
        ] {
            assert_eq!(check(good, &reach), Ok(()), "{good}");
        }
        for bad in
            ["https://11.0.0.1.localhost/", "http://192.168.1.8/", "http://x.hooks.internal/", "https://[fe80::1]/"]
        {
            assert!(check(bad, &reach).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_development_gateway_calls_itself() {
        let reach = reach(&[], true);
        for good in ["http://127.0.0.1:9000/", "http://localhost:9000/", "http://[::1]/", "http://example.com/"] {
            assert_eq!(check(good, &reach), Ok(()), "{good}");
        }
        assert!(check("http://169.254.169.254/", &reach).is_err());
        assert!(check("http://10.0.0.1/", &reach).is_err());
    }
}
