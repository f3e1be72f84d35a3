//! The one match on how providers sign, and the only maker of [`Verified`].

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use schemas::{provider::Signature, secret::Secret};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A body whose signature was found right.
#[derive(Debug)]
pub(crate) struct Verified {
    body: Bytes,
    sha256: String,
    key: Slot,
}

/// Which secret matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Current,
    Previous,
}

impl Slot {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }
}

impl Verified {
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// SHA-256 of the body, lower-case hex.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(crate) fn key(&self) -> Slot {
        self.key
    }
}

/// The secrets of a provider, ready to verify with.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Macs>);

enum Macs {
    Sha256 { prefix: &'static str, header: &'static str, current: Hmac<Sha256>, previous: Option<Hmac<Sha256>> },
    Sha1 { header: &'static str, current: Hmac<Sha1>, previous: Option<Hmac<Sha1>> },
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// A signature of the right form; whether it is right is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed(Vec<u8>);

impl Keys {
    pub(crate) fn new(signature: Signature, current: &Secret, previous: Option<&Secret>) -> Self {
        Self(Arc::new(match signature {
            Signature::HmacSha256 { header, prefix } => {
                Macs::Sha256 { prefix, header, current: keyed(current), previous: previous.map(keyed) }
            }
            Signature::HmacSha1 { header } => {
                Macs::Sha1 { header, current: keyed(current), previous: previous.map(keyed) }
            }
        }))
    }

    /// Reads the signature header, without looking at the body: the digest in hex of either case, behind an
    /// optional prefix.
    pub(crate) fn claim<'a>(&self, header: impl FnOnce(&str) -> Option<&'a str>) -> Option<Claimed> {
        let (name, prefix, length) = match self.0.as_ref() {
            Macs::Sha256 { header, prefix, .. } => (header, *prefix, 64),
            Macs::Sha1 { header, .. } => (header, "", 40),
        };
        let value = header(name)?;
        let hex = value.strip_prefix(prefix).unwrap_or(value);
        if hex.len() != length {
            return None;
        }
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok().map(Claimed)
    }

    /// Verifies the raw bytes against the current and the previous secret, in constant time.
    pub(crate) fn verify(&self, claimed: &Claimed, body: Bytes) -> Option<Verified> {
        let key = match self.0.as_ref() {
            Macs::Sha256 { current, previous, .. } => matching(claimed, &body, current, previous.as_ref()),
            Macs::Sha1 { current, previous, .. } => matching(claimed, &body, current, previous.as_ref()),
        }?;
        let sha256 = HEXLOWER.encode(&Sha256::digest(&body));
        Some(Verified { body, sha256, key })
    }
}

fn keyed<M: Mac + KeyInit>(secret: &Secret) -> M {
    <M as KeyInit>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length")
}

fn matching<M: Mac + Clone>(claimed: &Claimed, body: &[u8], current: &M, previous: Option<&M>) -> Option<Slot> {
    let matches = |key: &M| key.clone().chain_update(body).verify_slice(&claimed.0).is_ok();
    if matches(current) {
        Some(Slot::Current)
    } else if previous.is_some_and(matches) {
        Some(Slot::Previous)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = br#"{"action":"opened"}"#;
    const SHA256: &str = "e6f0cd1cc45318f67b23a36be38951181ced496b01c1ed36023ae5fab179e975";
    const SHA1: &str = "14d5d2e00cacd30d97d82fac7d778db8d49a73ff";

    fn github(current: &str, previous: Option<&str>) -> Keys {
        let signature = Signature::HmacSha256 { header: "x-hub-signature-256", prefix: "sha256=" };
        Keys::new(signature, &Secret::new(current), previous.map(Secret::new).as_ref())
    }

    fn key(keys: &Keys, header: Option<&str>, body: &'static [u8]) -> Option<Slot> {
        let claimed = keys.claim(|_| header)?;
        keys.verify(&claimed, Bytes::from_static(body)).map(|verified| verified.key())
    }

    #[test]
    fn a_signature_is_accepted_in_every_form_a_provider_sends() {
        let keys = github("gh-secret", None);
        let prefixed = format!("sha256={SHA256}");
        let upper = format!("sha256={}", SHA256.to_uppercase());
        for header in [prefixed.as_str(), SHA256, &upper] {
            assert_eq!(key(&keys, Some(header), BODY), Some(Slot::Current), "{header}");
        }
        let vercel = Keys::new(Signature::HmacSha1 { header: "x" }, &Secret::new("vc-secret"), None);
        assert_eq!(key(&vercel, Some(SHA1), BODY), Some(Slot::Current));
        assert_eq!(key(&vercel, Some(SHA256), BODY), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let keys = github("gh-secret", None);
        let flipped = format!("sha256={}0", &SHA256[..63]);
        let long = format!("sha256={SHA256}00");
        for header in [
            None,
            Some(""),
            Some("sha256="),
            Some(&SHA256[..62]),
            Some(&flipped),
            Some(&long),
            Some("sha256=zz"),
            Some("sha1=00"),
        ] {
            assert_eq!(key(&keys, header, BODY), None, "{header:?}");
        }
        assert_eq!(key(&keys, Some(SHA256), br#"{"action":"opened"} "#), None);
        assert_eq!(key(&github("other", None), Some(SHA256), BODY), None);
    }

    #[test]
    fn the_previous_secret_still_verifies_and_says_so() {
        assert_eq!(key(&github("new", Some("gh-secret")), Some(SHA256), BODY), Some(Slot::Previous));
    }

    #[test]
    fn the_digests_are_those_of_the_published_vectors() {
        // RFC 4231 case 2 and RFC 2202 case 2.
        let body = b"what do ya want for nothing?";
        let sha256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(key(&github("Jefe", None), Some(sha256), body), Some(Slot::Current));
        let sha1 = Keys::new(Signature::HmacSha1 { header: "x" }, &Secret::new("Jefe"), None);
        assert_eq!(key(&sha1, Some("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"), body), Some(Slot::Current));
    }

    const SIGNATURES: [Signature; 3] = [
        Signature::HmacSha256 { header: "x", prefix: "sha256=" },
        Signature::HmacSha256 { header: "x", prefix: "" },
        Signature::HmacSha1 { header: "x" },
    ];

    /// What a provider would send, without a prefix.
    fn signed(signature: Signature, secret: &str, body: &[u8]) -> String {
        let secret = Secret::new(secret);
        match signature {
            Signature::HmacSha256 { .. } => {
                HEXLOWER.encode(&keyed::<Hmac<Sha256>>(&secret).chain_update(body).finalize().into_bytes())
            }
            Signature::HmacSha1 { .. } => {
                HEXLOWER.encode(&keyed::<Hmac<Sha1>>(&secret).chain_update(body).finalize().into_bytes())
            }
        }
    }

    proptest! {
        #[test]
        fn a_claim_is_a_whole_digest_or_nothing(at in 0..SIGNATURES.len(), header in "(sha256=|sha1=)?[0-9a-fA-Fg ]{36,70}|\\PC{0,80}") {
            let keys = Keys::new(SIGNATURES[at], &Secret::new("s"), None);
            if let Some(Claimed(digest)) = keys.claim(|_| Some(&header)) {
                let length = if matches!(SIGNATURES[at], Signature::HmacSha1 { .. }) { 20 } else { 32 };
                prop_assert_eq!(digest.len(), length);
                prop_assert!(header.to_ascii_lowercase().ends_with(&HEXLOWER.encode(&digest)));
            }
        }

        #[test]
        fn the_right_signature_is_accepted_and_each_neighbour_of_it_refused(
            at in 0..SIGNATURES.len(),
            body in proptest::collection::vec(any::<u8>(), 0..200),
            secret in "\\PC{1,80}",
            upper in any::<bool>(),
            place in any::<proptest::sample::Index>(),
        ) {
            let keys = Keys::new(SIGNATURES[at], &Secret::new("another"), Some(&Secret::new(secret.as_str())));
            let hex = signed(SIGNATURES[at], &secret, &body);
            let verify = |hex: &str, body: &[u8]| {
                let claimed = keys.claim(|_| Some(hex))?;
                keys.verify(&claimed, Bytes::copy_from_slice(body)).map(|verified| verified.key())
            };
            let sent = if upper { hex.to_uppercase() } else { hex.clone() };
            prop_assert_eq!(verify(&sent, &body), Some(Slot::Previous));
            let at = place.index(hex.len());
            let other = if hex.as_bytes()[at] == b'0' { "1" } else { "0" };
            let neighbour = [&hex[..at], other, &hex[at + 1..]].concat();
            prop_assert_eq!(verify(&neighbour, &body), None);
            let longer = [&body[..], b"x"].concat();
            prop_assert_eq!(verify(&hex, &longer), None);
        }
    }
}
