//! Signs as providers do: the one match on their mechanisms.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use schemas::{provider::Signature, secret::Secret};
use sha1::Sha1;
use sha2::Sha256;

/// The header that carries the signature of a body, and its value.
pub(super) fn header(signature: Signature, secret: &Secret, body: &[u8]) -> (&'static str, String) {
    match signature {
        Signature::HmacSha256 { header, prefix } => {
            (header, format!("{prefix}{}", digest::<Hmac<Sha256>>(secret, body)))
        }
        Signature::HmacSha1 { header } => (header, digest::<Hmac<Sha1>>(secret, body)),
    }
}

fn digest<M: Mac + KeyInit>(secret: &Secret, body: &[u8]) -> String {
    let mut mac = <M as KeyInit>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_digest_of_the_body_behind_the_providers_prefix() {
        // RFC 4231 and RFC 2202, test case 2.
        let (secret, body) = (Secret::new("Jefe"), b"what do ya want for nothing?");
        let sha256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let named = header(Signature::HmacSha256 { header: "x-signature", prefix: "sha256=" }, &secret, body);
        assert_eq!(named, ("x-signature", format!("sha256={sha256}")));
        let sha1 = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        assert_eq!(header(Signature::HmacSha1 { header: "x-old" }, &secret, body), ("x-old", sha1.to_owned()));
    }
}
