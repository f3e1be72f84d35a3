//! Sealing: how secrets are kept at rest. The one who knows the cipher passes it in.

use std::{fmt, sync::Arc};

use crate::secret::Secret;

/// Seals secrets, and opens them again.
pub trait Seal: Send + Sync {
    /// The secret under a cipher, bound to whom it belongs to and to the column it stands in.
    fn seal(&self, owner: &str, column: &str, secret: &Secret) -> Result<String, Broken>;

    /// The secret again, if it was sealed with a known key for this owner and column.
    fn open(&self, owner: &str, column: &str, sealed: &str) -> Result<Secret, Broken>;
}

/// Why a secret could not be sealed or opened. Says nothing of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It was sealed with a key that is not known here.
    #[error("sealed with the key {key}, which is not known here")]
    UnknownKey {
        /// The id of that key.
        key: String,
    },
    /// It was changed, or belongs to another owner or column.
    #[error("what is sealed was changed or belongs elsewhere")]
    Damaged,
}

/// A [`Seal`] to be handed on.
#[derive(Clone)]
pub struct Sealer(pub Arc<dyn Seal>);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}
