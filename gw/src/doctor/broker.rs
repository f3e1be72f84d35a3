//! The broker: found, reached, new enough, with the streams as wanted and nothing stuck in them.

use std::time::Duration;

use nats::{
    Broker,
    topology::{self, GW_DLQ, GW_PARKED, GW_WEBHOOK, Plan, ROUTER},
};
use tokio::process::Command;

use super::Check;
use crate::{
    broker, child,
    config::{self, DevEnv, ServeArgs},
    error::{Error, chain},
    output,
    status::{Consumer, FULL, Stream, gather},
};

/// A router that is this far behind does not keep up.
const BEHIND: i64 = 60_000;
const VERSION: Duration = Duration::from_secs(5);
/// The oldest nats-server that has all we use.
const NEEDED: (u64, u64) = (2, 15);

pub(super) async fn check(args: &ServeArgs, dev: &DevEnv) -> Vec<Check> {
    let given = args.broker.nats_url.is_some();
    let mut checks = Vec::new();
    if !given {
        checks.push(binary(args).await);
    }
    match broker::connect(&args.broker, &args.data.data_dir, "gw doctor").await {
        Ok(broker) => {
            let (name, version) = broker.server();
            checks.push(Check::ok(format!("the broker {name} answers, nats-server {version}")));
            checks.extend(inside(&broker, args).await);
            broker.close().await;
        }
        Err(error) => checks.push(away(&error, given, dev.get("NATS_URL").is_some())),
    }
    checks
}

/// The nats-server that `gw serve` would start.
async fn binary(args: &ServeArgs) -> Check {
    let file = match child::find_binary(args.nats_server.as_deref(), config::search_path().as_deref()) {
        Ok(file) => file,
        // A gateway that runs already has one.
        Err(error) => return Check::warn("no NATS_URL is given and no nats-server is found", chain(&error)),
    };
    let shown = file.display();
    let asked = tokio::time::timeout(VERSION, Command::new(&file).arg("--version").output()).await;
    let said = match asked {
        Ok(Ok(said)) => String::from_utf8_lossy(&said.stdout).trim().to_owned(),
        Ok(Err(error)) => {
            return Check::fail(format!("{shown} cannot be run ({error})"), "name another with GW_NATS_SERVER");
        }
        Err(_elapsed) => {
            return Check::fail(format!("{shown} does not say its version"), "name another with GW_NATS_SERVER");
        }
    };
    match version(&said) {
        Some(found) if found < NEEDED => Check::fail(
            format!("{shown} is nats-server {}.{}", found.0, found.1),
            "2.15 or newer is needed: `make tools` fetches it",
        ),
        Some(_) => Check::ok(format!("{shown} is {said}")),
        None => Check::warn(format!("{shown} says no version"), "is it a nats-server? GW_NATS_SERVER names another"),
    }
}

/// Major and minor of `nats-server: v2.15.1`.
fn version(said: &str) -> Option<(u64, u64)> {
    let (_, numbers) = said.rsplit_once('v')?;
    let mut numbers = numbers.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn away(error: &Error, given: bool, dev: bool) -> Check {
    let why = match error {
        Error::BrokerAway(why) => chain(why),
        other => chain(other),
    };
    match (error, given) {
        (Error::Broker(nats::Error::ServerTooOld { .. }), _) => Check::fail(why, "update nats-server"),
        (_, true) => Check::fail(why, "start it, or correct NATS_URL and NATS_CREDS"),
        (Error::NoBroker { .. }, false) => {
            Check::ok("no broker has run on this data folder yet: `gw serve` starts one")
        }
        (_, false) => {
            let command = if dev { "gw serve --dev" } else { "gw serve" };
            Check::warn(format!("the gateway's own broker does not run ({why})"), format!("`{command}` starts it"))
        }
    }
}

/// What is to be said of streams and consumers.
async fn inside(broker: &Broker, args: &ServeArgs) -> Vec<Check> {
    let plans = match topology::diff(broker, &args.streams.settings()).await {
        Ok(plans) => plans,
        Err(error) => {
            let mend = "is JetStream on (`jetstream {}` in its configuration), and may this user use `$JS.API.>`? \
                        nats/cluster.conf shows what each role needs";
            return vec![Check::fail(format!("JetStream cannot be asked: {}", chain(&error)), mend)];
        }
    };
    let mut checks = wanted(&plans);
    checks.extend(copies(broker, args).await);
    match (gather::streams(broker).await, gather::consumers(broker).await) {
        (Ok(streams), Ok(consumers)) => {
            checks.extend(fill(&streams));
            checks.extend(consumers.iter().flat_map(progress));
            checks.extend(left(&streams));
        }
        (Err(error), _) | (_, Err(error)) => {
            let mend = "may this user read these streams? nats/cluster.conf shows what each role needs";
            checks.push(Check::fail(format!("a stream cannot be asked: {}", chain(&error)), mend));
        }
    }
    checks
}

fn wanted(plans: &[Plan]) -> Vec<Check> {
    let mut checks = Vec::new();
    for plan in plans.iter().filter(|plan| !plan.is_empty()) {
        let name = &plan.spec.config.name;
        let mend = "`gw topology diff` shows it, `gw topology apply` mends it";
        checks.push(match (plan.missing, plan.consumers.is_empty()) {
            (true, _) => Check::fail(format!("the stream {name} is missing"), mend),
            (false, false) => Check::fail(format!("consumers of {name} are missing or differ"), mend),
            (false, true) => Check::warn(format!("the stream {name} differs from what is wanted"), mend),
        });
    }
    if checks.is_empty() {
        checks.push(Check::ok(format!("all {} streams and their consumers are as wanted", plans.len())));
    }
    checks
}

/// Whether the copies of a stream are there, as far as the cluster tells.
async fn copies(broker: &Broker, args: &ServeArgs) -> Vec<Check> {
    let Ok(info) = topology::stream_info(broker, GW_WEBHOOK).await else { return Vec::new() };
    let Some(cluster) = info.cluster.filter(|cluster| cluster.name.is_some()) else {
        let what = format!("GW_REPLICAS is {} but the broker is no cluster", args.streams.replicas);
        let alone = args.streams.replicas > 1;
        return alone
            .then(|| Check::fail(what, "set GW_REPLICAS=1, or run three servers as in nats/cluster.conf"))
            .into_iter()
            .collect();
    };
    let behind: Vec<String> =
        cluster.replicas.iter().filter(|peer| peer.offline || !peer.current).map(|peer| peer.name.clone()).collect();
    let mut checks = Vec::new();
    if info.config.num_replicas == 1 {
        checks.push(Check::warn(
            "the broker is a cluster but each stream has one copy",
            "set GW_REPLICAS=3 and run `gw topology apply`",
        ));
    }
    if cluster.leader.is_none() {
        checks.push(Check::fail(
            format!("{GW_WEBHOOK} has no leader: webhooks are answered 503"),
            "start the servers that are down",
        ));
    }
    if !behind.is_empty() {
        let what = format!("copies of {GW_WEBHOOK} are behind or away: {}", behind.join(", "));
        checks.push(Check::warn(what, "start these servers, or wait until they have caught up"));
    }
    checks
}

fn fill(streams: &[Stream]) -> Vec<Check> {
    let full = streams.iter().filter_map(|stream| Some((stream, stream.full().filter(|full| *full > FULL)?)));
    let said = full.map(|(stream, full)| {
        let mend = format!("raise GW_MAX_BYTES={}=… and run `gw topology apply`, or shorten GW_RETENTION", stream.name);
        Check::warn(format!("{} is {full:.0}% full", stream.name), mend)
    });
    let said: Vec<Check> = said.collect();
    if said.is_empty() { vec![Check::ok(format!("no stream is more than {FULL:.0}% full"))] } else { said }
}

fn progress(consumer: &Consumer) -> Vec<Check> {
    let name = &consumer.name;
    let mut checks = Vec::new();
    if consumer.waiting == 0 && name == ROUTER {
        checks.push(Check::warn("no router takes deliveries", "start `gw serve`, or `gw serve --role router`"));
    }
    match consumer.lag_ms {
        Some(lag) if lag > BEHIND => checks.push(Check::warn(
            format!("{name} is {} behind, {} messages wait", output::span(lag), output::count(consumer.pending)),
            "`gw status` shows whether it catches up; its log says what holds it",
        )),
        _ => checks.push(Check::ok(format!("{name} keeps up"))),
    }
    checks
}

fn left(streams: &[Stream]) -> Vec<Check> {
    let held = |name: &str| streams.iter().find(|stream| stream.name == name).map_or(0, |stream| stream.messages);
    let mut checks = Vec::new();
    match held(GW_PARKED) {
        0 => checks.push(Check::ok("no delivery is parked")),
        parked => checks.push(Check::warn(
            format!("{} deliveries are parked: no link claims them", output::count(parked)),
            "`gw link add` releases those it claims",
        )),
    }
    match held(GW_DLQ) {
        0 => checks.push(Check::ok("there are no dead letters")),
        dead => checks.push(Check::warn(
            format!("{} dead letters", output::count(dead)),
            "`gw dlq list` shows them with their reasons",
        )),
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn the_version_of_a_server_is_read_from_what_it_says() {
        assert_eq!(version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.15.0-RC.2"), Some((2, 15)));
        assert_eq!(version("bash 5"), None);
    }

    #[test]
    fn a_broker_that_is_away_is_only_a_failure_where_it_was_named() {
        let none = || Error::NoBroker { data_dir: "data".into() };
        let away_of = |given| away(&Error::Broker(nats::Error::Address), given, true);
        assert_eq!(away(&none(), false, false).level, Level::Ok);
        assert_eq!(away_of(true).level, Level::Fail);
        assert_eq!(away_of(false), Check { level: Level::Warn, ..away_of(false) });
        assert!(away_of(false).to_string().contains("gw serve --dev"));
    }

    #[test]
    fn a_router_that_is_far_behind_or_away_is_said() {
        let consumer = |waiting, lag_ms| Consumer::idle(ROUTER, waiting, lag_ms);
        let levels = |consumer: &Consumer| progress(consumer).into_iter().map(|check| check.level).collect::<Vec<_>>();
        assert_eq!(levels(&consumer(1, None)), [Level::Ok]);
        assert_eq!(levels(&consumer(1, Some(BEHIND + 1))), [Level::Warn]);
        assert_eq!(levels(&consumer(0, None)), [Level::Warn, Level::Ok]);
    }
}
