//! Which addresses an endpoint may have. What a name resolves to is looked at when it is called; here only what the
//! URL itself tells.

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
    if let Some(refusal) = reach.refuses_url(&url) {
        return Err(Fault::Says(refusal.to_string().into()));
    }
    if url.fragment().is_some() {
        return says("must not have a fragment: it is never sent");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allow: &[&str], dev: bool) -> Reach {
        let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
        Reach::parse(&allow, dev).expect("a good list")
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
        let reach = reach(&["http://10.0.0.0/8", "http://hooks.internal", "192.168.1.7", "http://fd00::/8"], false);
        for good in [
            "http://10.1.2.3/",
            "https://10.1.2.3/",
            "http://Hooks.Internal.:8080/x",
            "https://192.168.1.7/",
            "http://[fd12::1]/",
        ] {
            assert_eq!(check(good, &reach), Ok(()), "{good}");
        }
        for bad in [
            "https://11.0.0.1.localhost/",
            "http://192.168.1.7/",
            "https://192.168.1.8/",
            "http://x.hooks.internal/",
            "https://[fe80::1]/",
        ] {
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
