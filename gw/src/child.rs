//! The nats-server that `gw serve` runs where no NATS_URL is given: found, started with the shipped configuration,
//! adopted when a crash left it running, watched, and stopped last.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::error::Error;

/// Where a nats-server is asked for first.
const PORT: u16 = 4222;
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
const WATCH: Duration = Duration::from_millis(500);
/// Pause before a server that ended is started again; it doubles while servers end soon.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A server that lived this long did not end soon.
const LIVED: Duration = Duration::from_secs(60);
/// The server's garbage collector runs half as often as by default: a tenth more messages for up to half as much memory
/// again.
const GOGC: (&str, &str) = ("GOGC", "200");
/// How many ports are tried where others take them from under us.
const PORTS: usize = 5;

/// Kept in the data folder, so that a server is found again.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    port: u16,
    name: String,
}

/// A nats-server of this data folder.
#[derive(Debug)]
pub(crate) struct Server {
    binary: PathBuf,
    folder: PathBuf,
    record: Record,
    /// None where it was adopted.
    child: Option<Child>,
}

/// Who may run a server on a folder. The server holds it, as its standard input: as long as the process lives,
/// whatever became of us, nobody else gets it.
struct Hold(fs::File);

impl Hold {
    /// Takes it, or none where a server has it.
    fn take(folder: &Path) -> Result<Option<Self>, Error> {
        let failed = |source| Error::DataDir { path: folder.to_owned(), source };
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.join("server.lock"))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn is_free(folder: &Path) -> bool {
        matches!(Self::take(folder), Ok(Some(_)))
    }
}

impl Server {
    /// Adopts the server that runs on this folder, or starts one.
    pub(crate) async fn start(binary: PathBuf, data_dir: &Path) -> Result<Self, Error> {
        let folder = data_dir.join("nats");
        fs::create_dir_all(&folder).map_err(|source| Error::DataDir { path: folder.clone(), source })?;
        if let Some(record) = living(&folder).await? {
            info!(pid = record.pid, port = record.port, "nats.adopted");
            let adopted = Self { binary, folder, record, child: None };
            // Whoever started it may have died before it knew the process.
            adopted.write_record().map_err(|source| Error::DataDir { path: adopted.folder.clone(), source })?;
            return Ok(adopted);
        }
        let name = format!("gangway-{:08x}", rand::random::<u32>());
        let mut server = Self { binary, folder, record: Record { pid: 0, port: free_port(PORT), name }, child: None };
        let mut tries = 1;
        loop {
            match server.launch().await {
                // Somebody took the port after it was found free.
                Err(Error::NatsNotUp { .. }) if tries < PORTS && !is_free(server.record.port) => {
                    tries += 1;
                    server.record.port = free_port(PORT);
                }
                launched => return launched.map(|()| server),
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.record.port)
    }

    /// The name it answers with, the same after each start.
    pub(crate) fn name(&self) -> &str {
        &self.record.name
    }

    /// Starts it again whenever it ends, until told to stop.
    pub(crate) async fn watch(mut self, stop: CancellationToken) -> Self {
        let mut pause = PAUSE_MIN;
        loop {
            let since = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return self,
                () = self.ended() => {}
            }
            if since.elapsed() > LIVED {
                pause = PAUSE_MIN;
            }
            error!(pid = self.record.pid, log = %self.log().display(), "nats.ended: starting it again");
            loop {
                tokio::select! {
                    () = stop.cancelled() => return self,
                    () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                }
                match self.launch().await {
                    Ok(()) => break,
                    Err(error) => error!(error = %schemas::cause::Chain(&error), "nats.start"),
                }
            }
        }
    }

    /// Asks it to end and does not wait.
    pub(crate) fn abandon(mut self) {
        if self.has_ended() {
            return;
        }
        let _gone = Pid::from_raw(self.record.pid).is_none_or(|pid| kill_process(pid, Signal::TERM).is_err());
    }

    /// Asks it to end, and ends it if it does not.
    pub(crate) async fn stop(mut self) {
        let Some(pid) = Pid::from_raw(self.record.pid) else { return };
        // Its number may be another's by now.
        if self.has_ended() {
            return;
        }
        let asked = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + STOP;
        while asked.is_ok() && Instant::now() < deadline {
            if self.has_ended() {
                let _gone = fs::remove_file(self.folder.join("server.json")).is_err();
                info!(pid = self.record.pid, "nats.stopped");
                return;
            }
            sleep(POLL).await;
        }
        warn!(pid = self.record.pid, "nats.killed");
        let _gone = kill_process(pid, Signal::KILL).is_err();
    }

    async fn launch(&mut self) -> Result<(), Error> {
        let hangs = || Error::NatsHangs { folder: self.folder.clone(), log: self.log() };
        let hold = Hold::take(&self.folder)?.ok_or_else(hangs)?;
        let conf = self.folder.join("nats.conf");
        let data_dir = |source| Error::DataDir { path: self.folder.clone(), source };
        fs::write(&conf, nats::NATS_CONF).map_err(data_dir)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).map_err(data_dir)?;
        let again = log.try_clone().map_err(data_dir)?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&conf).arg("-a").arg(Ipv4Addr::LOCALHOST.to_string());
        command.arg("-p").arg(self.record.port.to_string()).arg("-n").arg(&self.record.name);
        command.arg("-sd").arg(self.folder.join("store"));
        command.arg("-P").arg(pid_file(&self.folder));
        command.env(GOGC.0, GOGC.1);
        command.stdin(Stdio::from(hold.0)).stdout(log).stderr(again);
        // Its own group: a Ctrl-C in the terminal is for us, who stop it last.
        #[cfg(unix)]
        command.process_group(0);
        // Written before there is a process, so that one is found whenever we die.
        self.write_record().map_err(data_dir)?;
        let mut child = command.spawn().map_err(|source| Error::StartNats { path: self.binary.clone(), source })?;
        // Our copy of the hold.
        drop(command);
        self.record.pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        self.write_record().map_err(data_dir)?;
        let deadline = Instant::now() + START;
        while !answers(&self.record).await {
            if child.try_wait().ok().flatten().is_some() || Instant::now() > deadline {
                // One that is there and does not answer would be in the way of the next.
                let _gone = child.kill().await.is_err();
                return Err(Error::NatsNotUp { log: self.log() });
            }
            sleep(POLL).await;
        }
        info!(pid = self.record.pid, port = self.record.port, "nats.started");
        self.child = Some(child);
        Ok(())
    }

    async fn ended(&mut self) {
        match &mut self.child {
            Some(child) => drop(child.wait().await),
            None => {
                while !Hold::is_free(&self.folder) {
                    sleep(WATCH).await;
                }
            }
        }
    }

    fn write_record(&self) -> std::io::Result<()> {
        let record = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        let (path, new) = (self.folder.join("server.json"), self.folder.join("server.json.new"));
        fs::write(&new, record)?;
        fs::rename(new, path)
    }

    fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => Hold::is_free(&self.folder),
        }
    }

    fn log(&self) -> PathBuf {
        log(&self.folder)
    }
}

/// The binary to start: as named, or from `.tools` here, or from PATH.
pub(crate) fn find_binary(named: Option<&Path>, path: Option<&std::ffi::OsStr>) -> Result<PathBuf, Error> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    // What `make tools` fetched goes first: it is the version that was tested.
    let mut folders = vec![PathBuf::from(".tools")];
    folders.extend(path.map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default());
    folders.into_iter().map(|folder| folder.join("nats-server")).find(|file| file.is_file()).ok_or(Error::NoNatsServer)
}

/// The address of the server that last ran on this folder.
pub(crate) fn recorded_url(data_dir: &Path) -> Option<String> {
    read_record(&data_dir.join("nats")).map(|record| format!("nats://127.0.0.1:{}", record.port))
}

fn read_record(folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(folder.join("server.json")).ok()?).ok()
}

/// The server that lives on this folder, once it answers: it may have been left while it started.
async fn living(folder: &Path) -> Result<Option<Record>, Error> {
    let deadline = Instant::now() + START;
    while !Hold::is_free(folder) {
        if let Some(mut record) = read_record(folder)
            && answers(&record).await
        {
            let pid = fs::read_to_string(pid_file(folder)).ok().and_then(|pid| pid.trim().parse().ok());
            record.pid = pid.unwrap_or(record.pid);
            return Ok(Some(record));
        }
        if Instant::now() > deadline {
            return Err(Error::NatsHangs { folder: folder.to_owned(), log: log(folder) });
        }
        sleep(POLL).await;
    }
    Ok(None)
}

/// Written by the server itself.
fn pid_file(folder: &Path) -> PathBuf {
    folder.join("nats-server.pid")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("nats-server.log")
}

/// Whether a server with the recorded name answers at the recorded port.
async fn answers(record: &Record) -> bool {
    let greeting = async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, record.port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        let info: serde_json::Value = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
        Some(info["server_name"] == record.name && info["jetstream"] == true)
    };
    timeout(Duration::from_secs(2), greeting).await.ok().flatten().unwrap_or(false)
}

/// The usual port, or a free one where a stranger has it.
fn free_port(usual: u16) -> u16 {
    let port = |wanted| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
            .and_then(|listener| listener.local_addr())
            .map(|address| address.port())
    };
    port(usual).or_else(|_taken| port(0)).unwrap_or(usual)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
