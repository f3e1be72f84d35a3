//! The keys of the table, as a process with a database knows them: read again every few seconds, and when somebody
//! comes with a key that is not among them. A revoked key is refused within that time, a new one taken at once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use schemas::{ambient::Clock, cause::Chain};
use store::Db;
use subtle::ConstantTimeEq;
use tokio::{sync::Mutex, time::Instant};
use tracing::{debug, warn};
use vault::key::{self, ActiveKey, Hash};

/// For how long what was read counts.
const FRESH: Duration = Duration::from_secs(2);
/// Unknown keys make the table be read at most this often.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long a key counts that the database could not be asked about.
const STALE: Duration = Duration::from_secs(300);
/// How precisely it is known when a key was last used, milliseconds.
const USED: i64 = 600_000;

/// What the table says of a key.
#[derive(Debug)]
pub(super) enum Found {
    Known(Arc<ActiveKey>),
    Unknown,
    /// The database does not answer, and did not for long.
    Unavailable,
}

/// The table. Cheap to clone.
#[derive(Clone)]
pub(super) struct Table(Arc<Inner>);

struct Inner {
    db: Db,
    clock: Clock,
    /// Held by the one who reads.
    turn: Mutex<()>,
    seen: RwLock<Seen>,
}

/// What was read, and when it was tried.
#[derive(Clone, Default)]
struct Seen {
    keys: Arc<HashMap<Hash, Arc<ActiveKey>>>,
    read: Option<Instant>,
    tried: Option<Instant>,
    /// Ids of keys whose use is not noted yet.
    used: BTreeSet<String>,
}

impl Table {
    pub(super) fn new(db: Db, clock: Clock) -> Self {
        Self(Arc::new(Inner { db, clock, turn: Mutex::new(()), seen: RwLock::default() }))
    }

    /// Looks for a key by its hash.
    pub(super) async fn find(&self, hash: &Hash) -> Found {
        let asked = Instant::now();
        match self.look(hash, FRESH) {
            Found::Known(key) => self.note(key),
            Found::Unknown | Found::Unavailable => {
                self.read_since(asked).await;
                match self.look(hash, STALE) {
                    Found::Known(key) => self.note(key),
                    other => other,
                }
            }
        }
    }

    /// What is known, if it is not older than this.
    fn look(&self, hash: &Hash, age: Duration) -> Found {
        let seen = self.0.seen.read().unwrap_or_else(PoisonError::into_inner);
        if seen.read.is_none_or(|read| read.elapsed() > age) {
            return Found::Unavailable;
        }
        match seen.keys.get(hash) {
            Some(key) if bool::from(key.hash.ct_eq(hash)) => Found::Known(key.clone()),
            _ => Found::Unknown,
        }
    }

    /// Reads the table, unless another has tried to since then.
    async fn read_since(&self, asked: Instant) {
        let _turn = self.0.turn.lock().await;
        let tried = self.change(|seen| seen.tried);
        if tried.is_some_and(|tried| tried >= asked) {
            return;
        }
        if let Some(tried) = tried {
            tokio::time::sleep_until(tried + PAUSE).await;
        }
        self.change(|seen| seen.tried = Some(Instant::now()));
        let read = async {
            self.note_used().await;
            key::active(&self.0.db).await
        };
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(keys)) => {
                let keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
                self.change(|seen| (seen.keys, seen.read) = (Arc::new(keys), Some(Instant::now())));
            }
            Ok(Err(error)) => warn!(error = %Chain(&error), "keys.unread: those known go on for five minutes"),
            Err(_elapsed) => warn!("keys.unread: the database does not answer; those known go on for five minutes"),
        }
    }

    /// Remembers that a key is in use, where that is not known yet.
    fn note(&self, key: Arc<ActiveKey>) -> Found {
        let noted = key.last_used_at.is_some_and(|last| self.0.clock.now() - last < USED);
        if !noted {
            self.change(|seen| seen.used.insert(key.id.clone()));
        }
        Found::Known(key)
    }

    /// Writes down which keys are in use. What fails is written the next time they are used.
    async fn note_used(&self) {
        let used: Vec<String> = self.change(|seen| std::mem::take(&mut seen.used)).into_iter().collect();
        if used.is_empty() {
            return;
        }
        if let Err(error) = key::used(&self.0.db, &used, self.0.clock.now()).await {
            debug!(error = %Chain(&error), "keys.used");
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.seen.write().unwrap_or_else(PoisonError::into_inner))
    }
}
