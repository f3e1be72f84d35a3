//! Signatures as Standard Webhooks writes them, <https://www.standardwebhooks.com>.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use schemas::secret::Secret;
use sha2::Sha256;

/// Marks a secret; what follows is the key in base64.
const PREFIX: &str = "whsec_";

/// The value of `webhook-signature`: one signature a secret, separated by spaces.
pub(super) fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let one = |secret: &Secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key(secret)).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
    };
    secrets.iter().filter_map(one).collect::<Vec<_>>().join(" ")
}

/// What is no base64 is a key as it stands.
fn key(secret: &Secret) -> Vec<u8> {
    let text = secret.expose();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    BASE64.decode(text.as_bytes()).unwrap_or_else(|_| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secrets = [Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
        let signed = signatures(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let secrets = [Secret::new("whsec_AAAA"), Secret::new("whsec_BBBB")];
        let signed = signatures(&secrets, "id", 1, b"{}");
        let both: Vec<&str> = signed.split(' ').collect();
        assert_eq!(both.len(), 2);
        assert!(both[0] != both[1] && both.iter().all(|one| one.starts_with("v1,")));
    }
}
