//! The real binary as a process, and processes in general.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(40);

/// The binary under test: built beside the test that runs.
#[must_use]
pub fn gw_binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("the target folder");
    let binary = folder.join("gw");
    assert!(
        binary.is_file(),
        "{} is not there: run the suite with `make test`, or `cargo build -p gw` first",
        binary.display()
    );
    binary
}

/// A variable of the environment that the suite itself runs in.
#[expect(clippy::disallowed_methods, reason = "the suite is chosen by its environment")]
pub(crate) fn inherited(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// Sends a signal to a process that this run started.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, signal).is_err();
    }
}

/// A running `gw serve`. Ended at once when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    log: PathBuf,
    /// `http://127.0.0.1:…` of the public listener, where there is one.
    pub public: Option<String>,
    /// `http://127.0.0.1:…` of the API listener.
    pub api: String,
}

impl Gateway {
    /// Starts `gw serve` and waits until it listens. Its log goes to a file.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let mut child = spawn(command, log);
        let deadline = Instant::now() + START;
        loop {
            if let Some(ready) = line(log, "gateway.ready") {
                let url = |name: &str| ready[name].as_str().map(|address| format!("http://{address}"));
                return Self {
                    child,
                    log: log.to_owned(),
                    public: url("public"),
                    api: url("api").expect("an API listener"),
                };
            }
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "gw serve ended with {ended:?}:\n{}", tail(log));
            assert!(Instant::now() < deadline, "gw serve did not listen in {START:?}:\n{}", tail(log));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Everything it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        kill(self.pid(), Signal::KILL);
        let _status = self.child.wait().expect("a child");
    }

    /// SIGTERM, and its exit status when it has finished what was in hand.
    pub fn stop(&mut self) -> ExitStatus {
        kill(self.pid(), Signal::TERM);
        let deadline = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "gw serve did not stop in {STOP:?}:\n{}", tail(&self.log));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _gone = self.child.kill().is_err();
        let _gone = self.child.wait().is_err();
    }
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let file = File::create(log).expect("a log file");
    let again = file.try_clone().expect("a log file");
    command.stdin(Stdio::null()).stdout(file).stderr(again).spawn().expect("gw starts")
}

/// The JSON of the first log line with this message.
fn line(log: &Path, message: &str) -> Option<Value> {
    let lines = BufReader::new(File::open(log).ok()?).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()).find(|line| line["message"] == message)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let from = text.len().saturating_sub(4000);
    text.get(from..).unwrap_or(&text).to_owned()
}

/// Bytes of memory that a process holds.
#[must_use]
pub fn memory(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<usize>().ok()).unwrap_or_default() << 10
}
