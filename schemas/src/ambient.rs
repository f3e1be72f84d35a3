//! The clock and the source of randomness, passed in so that tests choose them.

use std::{fmt, sync::Arc};

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock that reads milliseconds since the epoch.
    #[must_use]
    pub fn new(read: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Gives random numbers that nobody can guess.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> u128 + Send + Sync>);

impl Random {
    /// A source that draws from this function.
    #[must_use]
    pub fn new(draw: impl Fn() -> u128 + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// Sixteen random bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        (self.0)().to_be_bytes()
    }

    /// A new id: a prefix and 26 base32 characters.
    #[must_use]
    pub fn id(&self, prefix: &str) -> String {
        let letters = data_encoding::BASE32_NOPAD.encode(&(self.0)().to_be_bytes()).to_ascii_lowercase();
        format!("{prefix}{letters}")
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
