//! A gateway with all that belongs to it, in one folder.

use std::{
    collections::HashMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Once},
    time::Duration,
};

use nats::{Broker, Credentials, topology};
use reqwest::{Client, Method};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    broker::{self, Isolation, Turn},
    eventually, gw_binary, kill,
    process::{Gateway, inherited},
    webhook::Webhook,
};

mod seen;
mod setup;

pub use setup::{Link, Setup};

/// The secret every provider signs with in a world.
pub const SECRET: &str = "a-secret-of-the-suite";
/// The secret every provider signed with before.
pub const PREVIOUS: &str = "a-former-secret-of-the-suite";
/// The API key of a world.
pub const KEY: &str = "a-key-of-the-suite";

/// What the gateway answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, lower-case names.
    pub headers: HashMap<String, String>,
    /// The body; null where it is no JSON.
    pub body: Value,
}

/// A gateway with its own folder, and a broker of its own or a turn on the shared one.
#[derive(Debug)]
pub struct World {
    gateway: Option<Gateway>,
    setup: Setup,
    folder: TempDir,
    isolation: Isolation,
    http: Client,
    broker: Option<Broker>,
    starts: usize,
    _turn: Option<Turn>,
}

impl World {
    /// The usual world: all roles, SQLite, secrets for every provider, one API key.
    pub async fn start() -> Self {
        Self::start_with(Setup::new()).await
    }

    async fn start_with(setup: Setup) -> Self {
        let (isolation, turn) = broker::choose().await;
        if let Isolation::Shared(url) = &isolation {
            clear(url).await;
        }
        let mut world = Self::prepare(setup, isolation, turn);
        world.start_gateway();
        world.ready().await;
        world
    }

    fn start_on(setup: Setup, nats_url: &str) -> Self {
        let mut world = Self::prepare(setup, Isolation::Shared(nats_url.to_owned()), None);
        world.start_gateway();
        world
    }

    fn prepare(setup: Setup, isolation: Isolation, turn: Option<Turn>) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        // A broker that was killed leaves its port for a moment. Nobody gets the usual one, so that no world finds
        // another's broker there.
        static USUAL: LazyLock<Option<TcpListener>> = LazyLock::new(|| TcpListener::bind(("127.0.0.1", 4222)).ok());
        LazyLock::force(&USUAL);
        let folder = tempfile::Builder::new().prefix("gw-test").tempdir().expect("a folder");
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client");
        Self { gateway: None, setup, folder, isolation, http, broker: None, starts: 0, _turn: turn }
    }

    /// The world's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether tests may kill the broker.
    #[must_use]
    pub fn owns_broker(&self) -> bool {
        self.isolation == Isolation::OwnServer
    }

    /// Changes a setting of the gateway, from its next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.setup.env.insert(name.to_owned(), value.to_owned());
    }

    /// The gateway's process.
    pub fn gateway(&mut self) -> &mut Gateway {
        self.gateway.as_mut().expect("a running gateway")
    }

    /// A `gw` command with this world's settings.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(gw_binary());
        command.args(arguments).current_dir(self.folder()).env_clear();
        for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
            if let Some(value) = inherited(name) {
                command.env(name, value);
            }
        }
        let mut env: HashMap<String, String> = HashMap::from([
            ("GW_DATA_DIR".to_owned(), self.folder().join("data").display().to_string()),
            ("GW_API_KEYS".to_owned(), KEY.to_owned()),
            ("GW_API_KEY".to_owned(), KEY.to_owned()),
            ("GW_PUBLIC_ADDR".to_owned(), "127.0.0.1:0".to_owned()),
            ("GW_API_ADDR".to_owned(), "127.0.0.1:0".to_owned()),
            ("GW_LOG_FORMAT".to_owned(), "json".to_owned()),
            ("GW_NATS_SERVER".to_owned(), nats_server().display().to_string()),
        ]);
        for provider in schemas::provider::ALL {
            env.insert(format!("GW_{}_WEBHOOK_SECRET", provider.id.to_uppercase()), format!("{SECRET},{PREVIOUS}"));
        }
        if let Isolation::Shared(url) = &self.isolation {
            env.insert("NATS_URL".to_owned(), url.clone());
            env.insert("GW_TOPOLOGY".to_owned(), "apply".to_owned());
        }
        if let Some(gateway) = &self.gateway {
            env.insert("GW_API_URL".to_owned(), gateway.api.clone());
            env.extend(gateway.public.clone().map(|url| ("GW_PUBLIC_URL".to_owned(), url)));
        }
        env.extend(self.setup.env.clone());
        env.retain(|_, value| !value.is_empty());
        command.envs(env);
        command
    }

    /// Starts the gateway (again).
    pub fn start_gateway(&mut self) {
        self.starts += 1;
        let log = self.folder().join(format!("gw-{}.log", self.starts));
        self.gateway = None;
        self.broker = None;
        let gateway = Gateway::start(&mut self.command(&["serve"]), &log);
        self.gateway = Some(gateway);
    }

    /// Waits until the gateway says it is ready.
    pub async fn ready(&self) {
        eventually("the gateway is ready", || async { (self.get("/readyz").await.status == 200).then_some(()) }).await;
    }

    /// kill -9 of the gateway; its nats-server lives on.
    pub fn kill_gateway(&mut self) {
        self.gateway().kill();
    }

    /// Stops the gateway gracefully.
    pub fn stop_gateway(&mut self) -> std::process::ExitStatus {
        self.broker = None;
        self.gateway().stop()
    }

    /// The process of the gateway's own nats-server.
    #[must_use]
    pub fn nats_pid(&self) -> Option<i32> {
        let record = std::fs::read(self.folder().join("data/nats/server.json")).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        i32::try_from(record["pid"].as_i64()?).ok()
    }

    /// kill -9 of the gateway's own nats-server.
    pub fn kill_nats(&self) {
        kill(self.nats_pid().expect("a server of our own"), Signal::KILL);
    }

    /// The broker's address.
    #[must_use]
    pub fn nats_url(&self) -> String {
        if let Isolation::Shared(url) = &self.isolation {
            return url.clone();
        }
        let record = std::fs::read(self.folder().join("data/nats/server.json")).expect("a record of the server");
        let record: Value = serde_json::from_slice(&record).expect("a record of the server");
        format!("nats://127.0.0.1:{}", record["port"])
    }

    /// A connection to the broker.
    pub async fn broker(&mut self) -> Broker {
        if self.broker.is_none() {
            self.broker = Some(connect(&self.nats_url()).await);
        }
        self.broker.clone().expect("a broker")
    }

    /// Posts a webhook.
    pub async fn post(&self, webhook: &Webhook) -> Answer {
        self.try_post(webhook).await.expect("an answer")
    }

    /// Posts a webhook; fails where the gateway is not there.
    pub async fn try_post(&self, webhook: &Webhook) -> Result<Answer, reqwest::Error> {
        answer(self.request(webhook)).await
    }

    /// Posts webhooks all at once and gives the answers in their order.
    pub async fn post_all(&self, webhooks: &[Webhook]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(webhooks.len());
        let posted: Vec<_> = webhooks.iter().map(|webhook| tokio::spawn(answer(self.request(webhook)))).collect();
        for posted in posted {
            answers.push(posted.await.expect("a task").expect("an answer"));
        }
        answers
    }

    fn request(&self, webhook: &Webhook) -> reqwest::RequestBuilder {
        let request =
            self.http.post(format!("{}/webhooks/{}", self.public_url(), webhook.provider)).body(webhook.body.clone());
        webhook.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends any request, to whichever listener the URL names, with header values of any bytes.
    pub async fn send(&self, method: Method, url: &str, headers: &[(&str, &[u8])], body: impl Into<Vec<u8>>) -> Answer {
        let request = self.http.request(method, url).body(body.into());
        answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
            .await
            .expect("an answer")
    }

    /// `http://127.0.0.1:…` of the public listener.
    #[must_use]
    pub fn public_url(&self) -> &str {
        self.gateway.as_ref().and_then(|gateway| gateway.public.as_deref()).expect("a public listener")
    }

    /// `http://127.0.0.1:…` of the API listener.
    #[must_use]
    pub fn api_url(&self) -> &str {
        self.gateway.as_ref().map(|gateway| gateway.api.as_str()).expect("an API listener")
    }

    /// Posts a webhook that must be accepted.
    pub async fn accept(&self, webhook: &Webhook) -> Answer {
        let answer = self.post(webhook).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("accepted")), "{:?}", answer.body);
        answer
    }

    /// Asks the API with the key.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.api_with(method, path, body, &[("x-api-key", KEY)]).await
    }

    /// Asks the API with these headers only.
    pub async fn api_with(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let api = self.gateway.as_ref().map(|gateway| gateway.api.clone()).expect("an API listener");
        let mut request = self.http.request(method, format!("{api}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await.expect("an answer")
    }

    /// Asks the API without a key.
    pub async fn get(&self, path: &str) -> Answer {
        self.api_with(Method::GET, path, None, &[]).await
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let api = self.gateway.as_ref().map(|gateway| gateway.api.clone()).expect("an API listener");
        self.http.get(format!("{api}/metrics")).send().await.expect("an answer").text().await.expect("a text")
    }

    /// The value of a metric by its exact line start, 0 where it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// Makes a link and gives the connection's and the link's id. The router knows it when this returns.
    pub async fn link(&mut self, link: &Link<'_>) -> (String, String) {
        let known = self.metric("gw_routes").await;
        let adopt = json!({ "provider": link.provider, "externalId": link.account, "orgId": link.org });
        let connection = self.api(Method::POST, "/connections", Some(adopt)).await;
        assert!(matches!(connection.status, 200 | 201), "{connection:?}");
        let id = connection.body["id"].as_str().expect("an id").to_owned();
        let mut body = json!({ "kind": link.kind, "providerResourceId": link.target });
        if let Some(workspace) = link.workspace {
            body["workspaceId"] = json!(workspace);
        }
        if let Some(events) = link.events {
            body["sync"] = json!({ "events": events });
        }
        let linked = self.api(Method::POST, &format!("/connections/{id}/resources"), Some(body)).await;
        assert_eq!(linked.status, 200, "{linked:?}");
        eventually("the router knows the link", || async { (self.metric("gw_routes").await > known).then_some(()) })
            .await;
        (id, linked.body["resource"]["id"].as_str().expect("an id").to_owned())
    }

    /// Runs a `gw` command to its end and gives status, standard output and standard error.
    pub async fn gw(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("gw runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            gateway.kill();
        }
        if let (true, Some(pid)) = (self.owns_broker(), self.nats_pid()) {
            kill(pid, Signal::KILL);
        }
    }
}

/// A connection to a broker.
pub async fn connect(url: &str) -> Broker {
    let config = nats::Config {
        url: url.to_owned(),
        credentials: Credentials::Address,
        name: "tests".to_owned(),
        wait: false,
        server: None,
    };
    Broker::connect(&config).await.expect("a broker")
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the suite lives in real time")]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after the epoch");
    i64::try_from(since.as_millis()).expect("before the end of time")
}

/// Empties the shared server: the streams of the world before are gone.
async fn clear(url: &str) {
    let broker = connect(url).await;
    for spec in topology::specs(&topology::Settings::default()) {
        let _absent = topology::delete_stream(&broker, &spec.config.name).await.is_err();
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let body = response.bytes().await?;
    Ok(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// The nats-server of the suite: the one that `make tools` fetched, or the one on PATH.
#[must_use]
pub fn nats_server() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let path = inherited("PATH").unwrap_or_default();
    let folders = std::iter::once(root.join(".tools")).chain(std::env::split_paths(&path).collect::<Vec<_>>());
    folders
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .expect("nats-server: run `make tools` first")
}
