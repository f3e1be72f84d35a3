//! Follows the directory: a task for each endpoint, and an end for each that is deleted.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use nats::{durable, topology};
use schemas::cause::Chain;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::sleep,
};
use tracing::{error, warn};

use super::{Engine, closing, reader, target::Target};
use crate::{
    Error,
    endpoint::{Directory, Known},
};

/// Begins the name of each endpoint's consumer.
const PREFIX: &str = "ep_";
const PAUSE: Duration = Duration::from_secs(2);

/// Runs until told to stop, and then until all that is in hand is settled.
pub(super) async fn follow(engine: Arc<Engine>, mut directory: watch::Receiver<Directory>) {
    let mut tasks = Tasks::default();
    loop {
        tokio::select! {
            () = engine.stop.cancelled() => break,
            changed = directory.changed() => {
                if changed.is_err() {
                    break;
                }
                let known = directory.borrow_and_update().clone();
                tasks.bring(&engine, &known);
                engine.learned();
            }
            Some(ended) = tasks.running.join_next_with_id() => tasks.ended(&engine, ended),
        }
    }
    while tasks.running.join_next().await.is_some() {}
}

#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    ids: HashMap<Id, String>,
}

impl Tasks {
    fn bring(&mut self, engine: &Arc<Engine>, known: &Directory) {
        engine.metrics.endpoints(known.values().map(|live| live.endpoint.status));
        for (id, live) in known.iter() {
            match engine.target(id) {
                Some(target) => {
                    let same = |now: &Arc<_>| Arc::ptr_eq(now, live);
                    if target.rules().is_none_or(|rules| !same(&rules.live)) {
                        target.change(Some(live.clone()));
                    }
                }
                None => {
                    let target = Arc::new(Target::new(live.clone(), engine.metrics.breakers_open.clone()));
                    engine.add(target.clone());
                    self.spawn(engine, target);
                }
            }
        }
        for target in engine.all().iter().filter(|target| !known.contains_key(&target.id)) {
            if target.rules().is_some() {
                target.change(None);
            }
        }
    }

    fn spawn(&mut self, engine: &Arc<Engine>, target: Arc<Target>) {
        let id = target.id.clone();
        let task = self.running.spawn(reader::run(engine.clone(), target));
        self.ids.insert(task.id(), id);
    }

    /// The end of a deleted endpoint; one that fell over begins anew.
    fn ended(&mut self, engine: &Arc<Engine>, ended: Result<(Id, ()), JoinError>) {
        let (task, panic) = match ended {
            Ok((task, ())) => (task, None),
            Err(panic) => (panic.id(), Some(panic)),
        };
        let Some(id) = self.ids.remove(&task) else { return };
        let Some(target) = engine.target(&id) else { return };
        match panic {
            Some(panic) => {
                error!(error = &panic as &dyn std::error::Error, endpoint = id, "endpoint.panic");
                self.spawn(engine, target);
            }
            None => engine.remove(&id),
        }
    }
}

/// Ends what a deletion left that no process lived to finish: consumers of endpoints that are deleted.
pub(super) async fn mend(engine: &Arc<Engine>) {
    let orphans = loop {
        match orphans(engine).await {
            Ok(orphans) => break orphans,
            Err(error) => warn!(error = %Chain(&error), "endpoints.not_mended: it is tried again"),
        }
        if engine.stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return;
        }
    };
    for id in orphans {
        if engine.stop.is_cancelled() {
            return;
        }
        closing::deleted(engine, &id).await;
    }
}

/// Endpoints that have a consumer and are deleted. What the database never heard of is left alone: it may be the wrong
/// database, or the broker another gateway's too.
async fn orphans(engine: &Engine) -> Result<Vec<String>, Error> {
    let names = durable::names(&engine.deps.broker, topology::GW_EVENT).await?;
    let ids = names.iter().filter(|name| name.starts_with(PREFIX));
    let ids: BTreeSet<&str> = ids.map(|name| name.strip_suffix(topology::HISTORY).unwrap_or(name)).collect();
    let (mut orphans, mut strange) = (Vec::new(), Vec::new());
    for id in ids.into_iter().filter(|id| engine.target(id).is_none()) {
        match engine.endpoints.known(id).await? {
            Known::Live { .. } => {}
            Known::Deleted => orphans.push(id.to_owned()),
            Known::Never => strange.push(id),
        }
    }
    if let Some(endpoint) = strange.first() {
        let count = strange.len();
        warn!(
            count,
            endpoint,
            "endpoints.strange: the broker has consumers of endpoints that the database never heard of; they \
                       are left alone. Is it the right database?"
        );
    }
    Ok(orphans)
}
