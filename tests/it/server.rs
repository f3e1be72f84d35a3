//! A nats-server that a test configures and starts by itself.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tests::{eventually, nats_server};

/// A server with its own folder, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts it with this configuration and environment, both made for its folder and port.
    pub(crate) async fn start(conf: &str, env: impl FnOnce(&Path, u16) -> Vec<(String, String)>) -> Self {
        let folder = tempfile::Builder::new().prefix("gw-nats").tempdir().expect("a folder");
        let port = free_port();
        fs::write(folder.path().join("nats.conf"), conf).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(nats_server());
        command.arg("-c").arg(folder.path().join("nats.conf")).args(["-p", &port.to_string()]);
        command.envs(env(folder.path(), port));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut server = Self { child: command.spawn().expect("nats-server starts"), port, folder };
        eventually("nats-server is ready", || {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none(), "nats-server ended:\n{}", server.log());
            std::future::ready(server.log().contains("Server is ready").then_some(()))
        })
        .await;
        server
    }

    /// The shipped configuration of one node.
    pub(crate) async fn single() -> Self {
        let conf = nats::NATS_CONF.replace("jetstream {", "jetstream {\n  store_dir: $STORE");
        Self::start(&conf, |folder, _| vec![("STORE".to_owned(), folder.join("store").display().to_string())]).await
    }

    /// Its address, for a user where there are users.
    pub(crate) fn url(&self, login: Option<(&str, &str)>) -> String {
        let login = login.map(|(user, password)| format!("{user}:{password}@")).unwrap_or_default();
        format!("nats://{login}127.0.0.1:{}", self.port)
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill().is_err();
        let _gone = self.child.wait().is_err();
    }
}

/// Whether nats-server takes a configuration: its exit status and what it said.
pub(crate) fn test(conf: &str, env: &[(String, String)]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("nats.conf");
    fs::write(&path, conf).expect("a file");
    let output =
        Command::new(nats_server()).arg("-t").arg("-c").arg(&path).envs(env.iter().cloned()).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Three servers that are one cluster, and their addresses.
pub(crate) async fn cluster() -> (Vec<Server>, String) {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut servers = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let conf = format!(
            "server_name: n{number}\nhost: 127.0.0.1\njetstream {{ store_dir: $STORE }}\n\
             cluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
            routes.join(", ")
        );
        let store = |folder: &Path, _| vec![("STORE".to_owned(), folder.join("store").display().to_string())];
        servers.push(Server::start(&conf, store).await);
    }
    let addresses: Vec<String> = servers.iter().map(|server| server.url(None)).collect();
    (servers, addresses.join(","))
}
