//! Signals, and tasks that must not end before they are told to.

use std::{future::Future, io};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::error::Error;

/// Everything that runs until the gateway stops.
#[derive(Debug)]
pub(crate) struct Tasks {
    set: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { set: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Cancelled when the gateway begins to stop.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits until a task ends although it was not told to.
    pub(crate) async fn ended_early(&mut self) -> Error {
        let task = match self.set.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(panic)) => {
                error!(error = &panic as &dyn std::error::Error, "task.panic");
                "a task"
            }
            None => return std::future::pending().await,
        };
        Error::EndedEarly { task }
    }

    /// Tells all to stop and lets what is in hand finish.
    pub(crate) async fn finish(mut self, deadline: Instant) {
        self.stop.cancel();
        let all = async { while self.set.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            warn!("stop.timeout: what is still in hand comes again after the next start");
        }
    }
}

/// The signals that ask the process to end. From when they are installed on, none ends it by itself.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
