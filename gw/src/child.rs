//! The nats-server that `gw serve` runs where no NATS_URL is given: found, started with the shipped configuration,
//! adopted when a crash left it running, watched, and stopped last.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
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
const WATCH: Duration = Duration::from_secs(1);

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

impl Server {
    /// Adopts the server that runs on this folder, or starts one.
    pub(crate) async fn start(binary: PathBuf, data_dir: &Path) -> Result<Self, Error> {
        let folder = data_dir.join("nats");
        fs::create_dir_all(&folder).map_err(|source| Error::DataDir { path: folder.clone(), source })?;
        if let Some(record) = read_record(&folder)
            && alive(&record).await
        {
            info!(pid = record.pid, port = record.port, "nats.adopted");
            return Ok(Self { binary, folder, record, child: None });
        }
        let name = format!("gangway-{:08x}", rand::random::<u32>());
        let mut server = Self { binary, folder, record: Record { pid: 0, port: free_port(PORT), name }, child: None };
        server.launch().await?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.record.port)
    }

    /// Starts it again whenever it ends, until told to stop.
    pub(crate) async fn watch(mut self, stop: CancellationToken) -> Self {
        let mut pause = WATCH;
        loop {
            tokio::select! {
                () = stop.cancelled() => return self,
                () = self.ended() => {}
            }
            error!(pid = self.record.pid, log = %self.log().display(), "nats.ended: starting it again");
            while let Err(error) = self.launch().await {
                error!(error = &error as &dyn std::error::Error, "nats.start");
                tokio::select! {
                    () = stop.cancelled() => return self,
                    () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(30)),
                }
            }
            pause = WATCH;
        }
    }

    /// Asks it to end and does not wait.
    pub(crate) fn abandon(&self) {
        let _gone = Pid::from_raw(self.record.pid).is_none_or(|pid| kill_process(pid, Signal::TERM).is_err());
    }

    /// Asks it to end, and ends it if it does not.
    pub(crate) async fn stop(mut self) {
        let Some(pid) = Pid::from_raw(self.record.pid) else { return };
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
        let conf = self.folder.join("nats.conf");
        let data_dir = |source| Error::DataDir { path: self.folder.clone(), source };
        fs::write(&conf, nats::NATS_CONF).map_err(data_dir)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).map_err(data_dir)?;
        let again = log.try_clone().map_err(data_dir)?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&conf).arg("-a").arg(Ipv4Addr::LOCALHOST.to_string());
        command.arg("-p").arg(self.record.port.to_string()).arg("-n").arg(&self.record.name);
        command.arg("-sd").arg(self.folder.join("store"));
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        // Its own group: a Ctrl-C in the terminal is for us, who stop it last.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|source| Error::StartNats { path: self.binary.clone(), source })?;
        self.record.pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let record = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        fs::write(self.folder.join("server.json"), record).map_err(data_dir)?;
        let deadline = Instant::now() + START;
        while !answers(&self.record).await {
            if child.try_wait().ok().flatten().is_some() || Instant::now() > deadline {
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
                while running(self.record.pid) {
                    sleep(WATCH).await;
                }
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !running(self.record.pid),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("nats-server.log")
    }
}

/// The binary to start: as named, or from PATH, or from `.tools` here.
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

/// Whether the recorded process lives and is the server it says: another process may have its number by now.
async fn alive(record: &Record) -> bool {
    running(record.pid) && answers(record).await
}

fn running(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
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
    let port = |wanted| TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|listener| listener.local_addr()).map(|address| address.port());
    port(usual).or_else(|_taken| port(0)).unwrap_or(usual)
}
