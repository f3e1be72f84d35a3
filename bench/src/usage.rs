//! Who used the processors while something was measured: without it nobody sees that the generator was the limit.

use std::{fs, time::Duration};

use serde_json::{Map, Value};
use tokio::time::Instant;

/// Linux counts processor time in ticks of a hundredth of a second, whatever its kernel's own clock.
const TICKS: f64 = 100.0;

/// Processes to watch, by name.
#[derive(Debug)]
pub(crate) struct Watch {
    processes: Vec<(String, String)>,
    begun: Instant,
    ticks: Vec<Option<u64>>,
}

impl Watch {
    /// Begins; each process is `name=pid`, and the own is added.
    pub(crate) fn begin(named: &[String], own: &str) -> Self {
        let given = named.iter().filter_map(|one| one.split_once('='));
        let mut processes: Vec<_> = given.map(|(name, pid)| (name.to_owned(), pid.to_owned())).collect();
        processes.push((own.to_owned(), "self".to_owned()));
        let ticks = processes.iter().map(|(_, pid)| ticks(pid)).collect();
        Self { processes, begun: Instant::now(), ticks }
    }

    /// Cores that each used since.
    pub(crate) fn cores(&self) -> Value {
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut cores = Map::new();
        for ((name, pid), before) in self.processes.iter().zip(&self.ticks) {
            if let (Some(before), Some(after)) = (before, ticks(pid)) {
                let used = after.saturating_sub(*before) as f64 / TICKS / seconds;
                cores.insert(name.clone(), ((used * 1000.0).round() / 1000.0).into());
            }
        }
        cores.into()
    }
}

/// The time within which is measured: what happens before it warms up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Window {
    pub(crate) fn after(warmup: f64, seconds: f64) -> Self {
        let begin = Instant::now() + Duration::from_secs_f64(warmup);
        Self { begin, end: begin + Duration::from_secs_f64(seconds) }
    }

    pub(crate) fn has(&self, moment: Instant) -> bool {
        (self.begin..self.end).contains(&moment)
    }

    /// Watches while the window lasts.
    pub(crate) async fn watch(self, named: Vec<String>, own: &'static str) -> Value {
        tokio::time::sleep_until(self.begin).await;
        let watch = Watch::begin(&named, own);
        tokio::time::sleep_until(self.end).await;
        watch.cores()
    }
}

/// User and system time of a process and its threads.
fn ticks(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_used_something_and_a_missing_one_is_left_out() {
        let watch = Watch::begin(&["gone=4194305".to_owned(), "bad".to_owned()], "own");
        assert!(ticks("self").is_some());
        assert_eq!(watch.cores().as_object().map(Map::len), Some(1));
    }
}
