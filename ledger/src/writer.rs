//! Writes what the streams tell, in batches: a transaction each, which also keeps how far the streams were read.

use std::{collections::BTreeMap, time::Duration};

use schemas::cause::Chain;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Inner,
    batch::Batch,
    error::Error,
    insert::Statements,
    lease::{self, Lease},
    maintain,
    position::{self, Position, Positions},
    rebuild,
    source::Source,
    tail::{Tail, Told},
    wishes::AllWishes,
    write::{self, Rows},
};

/// Messages a transaction takes at most.
const BATCH: usize = 4_096;
/// How long nothing may come before it is looked at what else there is to do.
const IDLE: Duration = Duration::from_millis(500);
/// How often the lease is renewed while nothing is written.
const RENEW: Duration = Duration::from_secs(1);
/// How often what time changes is looked at.
const MAINTAIN: Duration = Duration::from_secs(1);
/// Pause before the database is tried again, and before a lease that another holds is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// The one process that writes, and what it knows of the tables.
pub(crate) struct Writer {
    pub(crate) lease: Lease,
    pub(crate) statements: Statements,
    pub(crate) positions: Positions,
    pub(crate) sealed: BTreeMap<Source, Position>,
    pub(crate) wishes: AllWishes,
    /// When the lease was renewed the last time.
    renewed: Instant,
    /// When it was looked for what is expired or old the last time.
    pub(crate) swept: Instant,
}

/// Why a session ended.
enum End {
    /// It was told to.
    Stopped,
    /// Another process writes, or the tables are to be read anew.
    Again,
}

/// Writes whenever this process holds the lease, until told to stop.
pub(crate) async fn run(inner: &Inner, stop: CancellationToken) {
    let mut complained = false;
    while !stop.is_cancelled() {
        let ended = session(inner, &stop).await;
        inner.metrics.writing(false);
        match ended {
            Ok(End::Stopped) => return,
            Ok(End::Again) => complained = false,
            Err(error) if !complained => {
                complained = true;
                warn!(error = %Chain(&error), "ledger.write: it is tried again");
            }
            Err(_known) => {}
        }
        stop.run_until_cancelled(sleep(AGAIN)).await;
    }
}

async fn session(inner: &Inner, stop: &CancellationToken) -> Result<End, Error> {
    let lease = Lease { db: inner.deps.db.clone(), clock: inner.deps.clock.clone(), owner: inner.owner.clone() };
    if !lease.acquire().await? {
        return Ok(End::Again);
    }
    inner.metrics.writing(true);
    if lease::is_rebuild_asked(&lease.db).await? {
        rebuild::run(inner, &lease).await?;
    }
    let mut writer = Writer {
        positions: position::load(&lease.db).await?,
        sealed: position::sealed(&lease.db).await?,
        wishes: AllWishes::default(),
        statements: Statements::new(inner.deps.db.is_sqlite()),
        lease,
        renewed: Instant::now(),
        swept: Instant::now(),
    };
    info!("ledger.writing");
    let (told, mut heard) = mpsc::channel(BATCH);
    let mut tails = JoinSet::new();
    for source in Source::ALL {
        let position = writer.positions.get(&source).copied().unwrap_or_default();
        let (read, known) = (position.sequence, position::known(&writer.lease.db, source, position).await?);
        let (broker, told, metrics) = (inner.deps.broker.clone(), told.clone(), inner.metrics.clone());
        tails.spawn(Tail { broker, source, position, read, known, place: 0, told, metrics }.run());
    }
    drop(told);
    let ended = writer.follow(inner, &mut heard, stop).await;
    // What was read and not written is read again.
    tails.shutdown().await;
    if matches!(ended, Ok(End::Stopped)) {
        writer.lease.release().await?;
    }
    ended
}

impl Writer {
    async fn follow(
        &mut self,
        inner: &Inner,
        heard: &mut mpsc::Receiver<Told>,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        let mut maintained = Instant::now() - MAINTAIN;
        let mut told = Vec::with_capacity(BATCH);
        loop {
            if maintained.elapsed() >= MAINTAIN {
                if lease::is_rebuild_asked(&self.lease.db).await? || !maintain::run(self, inner).await? {
                    return Ok(End::Again);
                }
                maintained = Instant::now();
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(End::Stopped),
                heard = timeout(IDLE, heard.recv_many(&mut told, BATCH)) => if let Ok(0) = heard {
                    return Ok(End::Again);
                },
            }
            if !self.keep(inner, &mut told, stop).await {
                return Ok(if stop.is_cancelled() { End::Stopped } else { End::Again });
            }
        }
    }

    /// Writes what was heard, however long the database is away. Tells whether this process still writes.
    async fn keep(&mut self, inner: &Inner, told: &mut Vec<Told>, stop: &CancellationToken) -> bool {
        if told.is_empty() && self.renewed.elapsed() < RENEW {
            return true;
        }
        let mut batch = Batch::default();
        let mut positions = self.positions.clone();
        for told in told.iter() {
            positions.insert(told.source, told.position);
            if let Some(message) = &told.message {
                batch.add(told.source, message, told.again);
            }
        }
        let messages = told.iter().filter(|told| told.message.is_some()).count() as u64;
        let unreadable = batch.unreadable;
        let rows = Rows::of(batch, self, &positions);
        let mut complained = false;
        loop {
            match write::rows(self, &rows, &positions).await {
                Ok(Some(lost)) => {
                    if lost > 0 {
                        warn!(
                            messages = lost,
                            "ledger.lost: the broker had stored them, and has others in their places now"
                        );
                        inner.metrics.lost(lost);
                    }
                    self.positions = positions;
                    self.renewed = Instant::now();
                    inner.metrics.wrote(messages, unreadable, &self.positions);
                    told.clear();
                    return true;
                }
                Ok(None) => {
                    warn!("ledger.lease: another process writes now");
                    return false;
                }
                Err(error) if !complained => {
                    complained = true;
                    warn!(error = %Chain(&error), "ledger.write: the batch is tried again");
                }
                Err(_known) => {}
            }
            // How far it lags is told meanwhile.
            inner.metrics.wrote(0, 0, &self.positions);
            if stop.run_until_cancelled(sleep(AGAIN)).await.is_none() {
                return false;
            }
        }
    }
}
