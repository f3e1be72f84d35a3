use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::{Url, dns::Resolve};

use super::*;

fn reach(list: &[&str], dev: bool) -> Reach {
    Reach::parse(&list.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>(), dev).expect("a good list")
}

fn refused(reach: &Reach, url: &str) -> Option<Refusal> {
    reach.refuses_url(&Url::parse(url).expect("a URL"))
}

#[test]
fn only_public_addresses_are_reached() {
    let public = reach(&[], false);
    for inside in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.19.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[2001::1]",
        "[2001:2::1]",
        "[2001:10::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[5f00::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "localhost",
        "App.localhost.",
    ] {
        assert_eq!(refused(&public, &format!("https://{inside}/hook")), Some(Refusal::Address), "{inside}");
    }
    for outside in
        ["1.1.1.1", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[64:ff9b::1.1.1.1]", "[2002:101:101::1]"]
    {
        assert_eq!(refused(&public, &format!("https://{outside}/hook")), None, "{outside}");
    }
}

#[test]
fn a_url_is_https_without_credentials() {
    let public = reach(&[], false);
    assert_eq!(refused(&public, "https://hooks.example/a?b=c"), None);
    assert_eq!(refused(&public, "http://hooks.example/"), Some(Refusal::Plain));
    assert_eq!(refused(&public, "ftp://hooks.example/"), Some(Refusal::Scheme));
    assert_eq!(refused(&public, "data:text/plain,x"), Some(Refusal::Scheme));
    assert_eq!(refused(&public, "https://user@hooks.example/"), Some(Refusal::Credentials));
    assert_eq!(refused(&public, "https://:secret@hooks.example/"), Some(Refusal::Credentials));
}

#[test]
fn the_operator_allows_networks_and_hosts_and_plain_http_where_it_is_said() {
    let some = reach(&["10.0.0.0/8", "fd00::/8", "192.168.7.7", "Hooks.Internal", ""], false);
    for inside in ["10.9.9.9", "[fd00::5]", "[::ffff:10.0.0.1]", "192.168.7.7", "hooks.internal"] {
        assert_eq!(refused(&some, &format!("https://{inside}/")), None, "{inside}");
        assert_eq!(refused(&some, &format!("http://{inside}/")), Some(Refusal::Plain), "{inside}");
    }
    assert_eq!(refused(&some, "https://192.168.7.8/"), Some(Refusal::Address));
    assert!(some.allows("hooks.internal", "127.0.0.1".parse().expect("an address")), "a named host may be anywhere");
    assert!(!some.allows("other.internal", "127.0.0.1".parse().expect("an address")));

    let plain = reach(&["http://10.0.0.0/8", "10.1.0.0/16", "http://[fd00::5]", "http://Hooks.Internal"], false);
    for inside in ["10.9.9.9", "10.1.0.1", "[fd00::5]", "[::ffff:10.0.0.1]", "hooks.internal."] {
        for scheme in ["http", "https"] {
            assert_eq!(refused(&plain, &format!("{scheme}://{inside}/")), None, "{scheme} {inside}");
        }
    }
    assert_eq!(refused(&plain, "http://192.168.7.8/"), Some(Refusal::Address));
    assert_eq!(refused(&plain, "http://other.internal/"), Some(Refusal::Plain));
    assert_eq!(refused(&plain, "http://1.1.1.1/"), Some(Refusal::Plain));
}

#[test]
fn a_development_gateway_reaches_itself_and_nothing_else_inside() {
    let dev = reach(&[], true);
    for url in ["http://127.0.0.1:3000/", "http://[::1]/", "http://localhost:3000/", "http://hooks.example/"] {
        assert_eq!(refused(&dev, url), None, "{url}");
    }
    assert_eq!(refused(&dev, "http://169.254.169.254/"), Some(Refusal::Address));
    assert!(!dev.allows("metadata.internal", "169.254.169.254".parse().expect("an address")));
}

#[test]
fn an_entry_that_is_neither_is_named() {
    for bad in [
        "10.0.0.0/33",
        "10.0.0",
        "https://hooks.internal",
        "http://",
        "http://hooks.internal/",
        "http://http://hooks.internal",
        "http://[10.0.0.0/8]",
        "http://10.0.0.1:80",
        "a b",
        "*.internal",
        "hooks..internal",
        "1.2.3.4.5",
    ] {
        let entries = ["10.0.0.0/8".to_owned(), bad.to_owned()];
        assert_eq!(Reach::parse(&entries, false).expect_err(bad), BadReach { entry: bad.to_owned() });
    }
}

/// Public when it is looked at, inside when it is used.
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn lookup(&self, _host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        let address = if self.0.fetch_add(1, Ordering::Relaxed) == 0 { "1.1.1.1:0" } else { "127.0.0.1:0" };
        Box::pin(async move { Ok(vec![address.parse().expect("an address")]) })
    }
}

#[tokio::test]
async fn a_name_that_turns_inside_is_blocked_when_the_connection_is_made() {
    let resolver = Resolver::new(reach(&[], false), Arc::new(Rebinding(AtomicUsize::new(0))));
    let name = || "rebinding.example".parse().expect("a name");
    let first: Vec<SocketAddr> = resolver.resolve(name()).await.expect("public").collect();
    assert_eq!(first, ["1.1.1.1:0".parse().expect("an address")]);
    let Err(second) = resolver.resolve(name()).await else { panic!("it was let inside") };
    assert!(second.is::<Blocked>(), "{second}");
}

/// One address outside and one inside.
struct Both;

impl Lookup for Both {
    fn lookup(&self, _host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        let addresses = ["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"];
        Box::pin(async move { Ok(addresses.map(|address| address.parse().expect("an address")).to_vec()) })
    }
}

#[tokio::test]
async fn of_several_addresses_only_the_public_ones_are_tried() {
    let resolver = Resolver::new(reach(&[], false), Arc::new(Both));
    let left: Vec<SocketAddr> = resolver.resolve("both.example".parse().expect("a name")).await.expect("one").collect();
    assert_eq!(left, ["1.1.1.1:0".parse().expect("an address")]);
}

/// The servers of one domain never answer.
struct Dead;

impl Lookup for Dead {
    fn lookup(&self, host: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        if host.ends_with(".dead.example") {
            return Box::pin(std::future::pending());
        }
        Box::pin(async { Ok(vec!["1.1.1.1:0".parse().expect("an address")]) })
    }
}

#[tokio::test]
async fn a_domain_whose_servers_do_not_answer_leaves_room_for_the_others() {
    let resolver = Resolver::new(reach(&[], false), Arc::new(Dead));
    let name = |host: String| host.parse().expect("a name");
    let _waiting: Vec<_> = (0..200).map(|at| resolver.resolve(name(format!("h{at}.dead.example")))).collect();
    tokio::task::yield_now().await;
    let other = resolver.resolve(name("alive.test".to_owned()));
    let found = tokio::time::timeout(std::time::Duration::from_secs(10), other).await.expect("an answer in time");
    assert_eq!(found.expect("addresses").count(), 1);
}

#[test]
fn hosts_share_a_domain_and_not_a_public_suffix() {
    for (host, domain) in [
        ("a.b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("hooks.shop.co.uk", "shop.co.uk"),
        ("shop.co.uk", "shop.co.uk"),
        ("intranet", "intranet"),
    ] {
        assert_eq!(resolve::domain_of(host), domain);
    }
}
