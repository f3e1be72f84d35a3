//! PostgreSQL for the half of the suite that needs it: named, in a container, or a throw-away cluster of the local
//! binaries.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, core::WaitFor, runners::AsyncRunner};

use crate::{broker::engine_answers, eventually, kill, process::inherited, skip};

/// A PostgreSQL that ends with the test.
pub struct Postgres {
    url: String,
    ground: Ground,
}

enum Ground {
    Named,
    Container { _running: Box<ContainerAsync<GenericImage>> },
    Cluster { cluster: Cluster },
}

/// A cluster in a folder of its own, ended when it is dropped.
struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
}

impl Cluster {
    async fn start(&self) {
        let (folder, port) = (self.folder.path(), self.port);
        let options = format!("-h 127.0.0.1 -p {port} -k {} -c fsync=off", folder.display());
        let mut start = as_user(&self.binaries, "pg_ctl");
        start.arg("-D").arg(folder.join("data")).arg("-l").arg(folder.join("log"));
        run(start.arg("-o").arg(options).args(["-w", "start"]));
        let address = ("127.0.0.1", port);
        eventually("PostgreSQL listens", || async move { tokio::net::TcpStream::connect(address).await.ok() }).await;
    }
}

/// A program of the server. It refuses to run as root, so it gets a user that every system has.
fn as_user(binaries: &Path, program: &str) -> Command {
    let program = binaries.join(program);
    if !rustix::process::getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--clear-groups"]).arg(program);
    command
}

impl Postgres {
    /// A PostgreSQL with an empty database, or none where there is no way to have one: that is said.
    pub async fn start() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "the suite is chosen by its environment")]
        if let Ok(url) = std::env::var("GW_TEST_DATABASE_URL") {
            return Some(Self { url, ground: Ground::Named });
        }
        if engine_answers() {
            return Some(container().await);
        }
        let Some(binaries) = binaries() else {
            skip("the PostgreSQL half", "no GW_TEST_DATABASE_URL, no container engine, no initdb");
            return None;
        };
        Some(cluster(&binaries).await)
    }

    /// Stops it at once, if it is ours alone. Tells whether it did.
    pub fn stop(&mut self) -> bool {
        let Ground::Cluster { cluster } = &self.ground else { return false };
        let mut stop = as_user(&cluster.binaries, "pg_ctl");
        run(stop.arg("-D").arg(cluster.folder.path().join("data")).args(["-m", "immediate", "-w", "stop"]));
        true
    }

    /// Starts it again on its port.
    pub async fn start_again(&mut self) {
        if let Ground::Cluster { cluster } = &self.ground {
            cluster.start().await;
        }
    }

    /// `postgres://…` of the database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn container() -> Postgres {
    let running = GenericImage::new("postgres", "17-alpine")
        .with_exposed_port(5432.into())
        .with_wait_for(WaitFor::message_on_stderr("database system is ready to accept connections"))
        .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
        .start()
        .await
        .expect("the container starts");
    let host = running.get_host().await.expect("a host");
    let port = running.get_host_port_ipv4(5432).await.expect("a port");
    Postgres {
        url: format!("postgres://postgres@{host}:{port}/postgres"),
        ground: Ground::Container { _running: Box::new(running) },
    }
}

async fn cluster(binaries: &Path) -> Postgres {
    let folder = tempfile::Builder::new().prefix("gw-pg").tempdir().expect("a folder");
    let data = folder.path().join("data");
    let port = free_port();
    if rustix::process::getuid().is_root() {
        std::fs::create_dir(&data).expect("a folder");
        run(Command::new("chown").arg("-R").arg("nobody").arg(folder.path()));
    }
    run(as_user(binaries, "initdb").arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]));
    let cluster = Cluster { folder, binaries: binaries.to_owned(), port };
    cluster.start().await;
    Postgres { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), ground: Ground::Cluster { cluster } }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).ok();
        let pid = pid.and_then(|text| text.lines().next()?.trim().parse().ok());
        if let Some(pid) = pid {
            kill(pid, rustix::process::Signal::INT);
            for _ in 0..200 {
                if !self.folder.path().join("data/postmaster.pid").exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(25));
            }
        }
    }
}

/// Where initdb and pg_ctl are: on PATH, or where Debian puts them.
fn binaries() -> Option<PathBuf> {
    let path = inherited("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
