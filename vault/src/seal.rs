//! Sealing secrets with AES-256-GCM: `v1.<key id>.<nonce and ciphertext>`, bound to their owner and column.

use std::{fmt, sync::Arc};

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use schemas::{
    ambient::Random,
    seal::{Broken, Seal, Sealer},
    secret::Secret,
};
use sha2::{Digest, Sha256};

const NONCE: usize = 12;
const VERSION: &str = "v1";

/// Why keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is none.
    #[error("a key is needed")]
    Missing,
    /// It is none of ours.
    #[error("a key is 64 hex digits; `openssl rand -hex 32` makes one")]
    Form,
}

/// A cipher whose first key seals, and all of whose keys open.
pub fn sealer(keys: &[Secret], random: &Random) -> Result<Sealer, BadKey> {
    let keys = keys.iter().map(One::read).collect::<Result<Vec<One>, BadKey>>()?;
    if keys.is_empty() {
        return Err(BadKey::Missing);
    }
    Ok(Sealer(Arc::new(Keys { keys, random: random.clone() })))
}

/// A new key, as the settings have it.
#[must_use]
pub fn new_key(random: &Random) -> Secret {
    let bytes: Vec<u8> = [random.bytes(), random.bytes()].concat();
    Secret::new(HEXLOWER.encode(&bytes))
}

struct Keys {
    keys: Vec<One>,
    random: Random,
}

struct One {
    id: String,
    cipher: Aes256Gcm,
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").field("id", &self.id).finish_non_exhaustive()
    }
}

impl One {
    fn read(key: &Secret) -> Result<Self, BadKey> {
        let bytes = HEXLOWER_PERMISSIVE.decode(key.expose().trim().as_bytes()).map_err(|_| BadKey::Form)?;
        let cipher = Aes256Gcm::new_from_slice(&bytes).map_err(|_| BadKey::Form)?;
        // Tells keys apart, and says nothing of them.
        let mut id = HEXLOWER.encode(&Sha256::digest([b"gangway key id".as_slice(), &bytes].concat()));
        id.truncate(8);
        Ok(Self { id, cipher })
    }
}

impl Seal for Keys {
    fn seal(&self, owner: &str, column: &str, secret: &Secret) -> Result<String, Broken> {
        let Some(key) = self.keys.first() else { return Err(Broken::Damaged) };
        let drawn = self.random.bytes();
        let (nonce, aad) = (Nonce::from_slice(&drawn[..NONCE]), bound(owner, column));
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &aad };
        let sealed = key.cipher.encrypt(nonce, payload).map_err(|_| Broken::Damaged)?;
        let sealed = [&drawn[..NONCE], &sealed].concat();
        Ok(format!("{VERSION}.{}.{}", key.id, BASE64URL_NOPAD.encode(&sealed)))
    }

    fn open(&self, owner: &str, column: &str, sealed: &str) -> Result<Secret, Broken> {
        let mut parts = sealed.splitn(3, '.');
        let (Some(VERSION), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Broken::Damaged);
        };
        let key = self.keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| Broken::UnknownKey { key: id.to_owned() })?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Broken::Damaged)?;
        let (nonce, text) = bytes.split_at_checked(NONCE).ok_or(Broken::Damaged)?;
        let aad = bound(owner, column);
        let opened = key.cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: text, aad: &aad });
        let opened = String::from_utf8(opened.map_err(|_| Broken::Damaged)?).map_err(|_| Broken::Damaged)?;
        Ok(Secret::new(opened))
    }
}

/// Owner and column, so that what is sealed for one opens for no other. The length keeps the two apart.
fn bound(owner: &str, column: &str) -> Vec<u8> {
    [&(owner.len() as u64).to_be_bytes(), owner.as_bytes(), column.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Random {
        Random::new(rand::random)
    }

    #[test]
    fn what_is_sealed_opens_for_its_owner_and_column_alone() {
        let random = random();
        let Sealer(seal) = sealer(&[new_key(&random)], &random).expect("a key");
        let secret = Secret::new("whsec_abc");
        let sealed = seal.seal("ep_1", "secret", &secret).expect("sealed");
        assert!(!sealed.contains("abc"));
        assert_ne!(sealed, seal.seal("ep_1", "secret", &secret).expect("sealed"), "a nonce is used once");
        assert_eq!(seal.open("ep_1", "secret", &sealed).expect("opened").expose(), "whsec_abc");
        for (owner, column) in [("ep_2", "secret"), ("ep_1", "headers"), ("ep_1s", "ecret")] {
            assert_eq!(seal.open(owner, column, &sealed).err(), Some(Broken::Damaged));
        }
        let damaged = format!("{}A", &sealed[..sealed.len() - 1]);
        if damaged != sealed {
            assert!(seal.open("ep_1", "secret", &damaged).is_err());
        }
    }

    #[test]
    fn the_previous_key_opens_and_a_lost_one_is_named() {
        let random = random();
        let (old, new) = (new_key(&random), new_key(&random));
        let Sealer(before) = sealer(std::slice::from_ref(&old), &random).expect("a key");
        let sealed = before.seal("o", "c", &Secret::new("s")).expect("sealed");
        let Sealer(both) = sealer(&[new.clone(), old], &random).expect("keys");
        assert_eq!(both.open("o", "c", &sealed).expect("opened").expose(), "s");
        let Sealer(without) = sealer(&[new], &random).expect("a key");
        assert!(matches!(without.open("o", "c", &sealed), Err(Broken::UnknownKey { .. })));
    }

    #[test]
    fn a_key_is_sixty_four_hex_digits() {
        let random = random();
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(62), &"a".repeat(66)] {
            assert_eq!(sealer(&[Secret::new(bad)], &random).err(), Some(BadKey::Form), "{bad}");
        }
    }
}
