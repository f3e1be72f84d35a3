//! How many may read at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use schemas::caller::Caller;

use crate::Error;

/// The most that read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// With one key.
    pub(super) per_key: usize,
    /// In all.
    pub(super) in_all: usize,
}

/// Who reads now, by key.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    limits: Limits,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    /// A seat for a caller, or why there is none.
    pub(super) fn take(&self, caller: &Caller) -> Result<Seat, Error> {
        let Limits { per_key, in_all } = self.limits;
        let key = caller.key.clone();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= in_all {
            return Err(Error::Crowded);
        }
        let own = taken.entry(key.clone()).or_default();
        if *own >= per_key {
            return Err(Error::TooManyReads { most: per_key });
        }
        *own += 1;
        Ok(Seat { seats: self.clone(), key })
    }
}

/// One reader's seat; free again when it is dropped.
pub(super) struct Seat {
    seats: Seats,
    key: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.key);
            }
        }
    }
}
