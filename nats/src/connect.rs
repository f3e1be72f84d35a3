//! The connection: credentials, reconnection, and what the rest of the gateway may know of its state.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, Message, Request, ServerAddr, connection::State};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::timeout};
use tracing::{debug, error, info, warn};

use crate::error::{ApiError, Error};

/// The oldest server that has all we use.
const NEEDED: (u64, u64) = (2, 15);
/// How long one request to the broker's API may take.
const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which it is said that the connection is waited for.
const SOON: Duration = Duration::from_secs(3);

/// How to reach the broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// `nats://[user:password@]host:port`, several separated by commas.
    pub url: String,
    /// How to log in, where the address does not say it.
    pub credentials: Credentials,
    /// The name that operators see in `nats server report connections`.
    pub name: String,
    /// Whether the first connection may wait for the server.
    pub wait: bool,
    /// The server's name, where another one may take its place: a connection to that one does not count.
    pub server: Option<String>,
}

/// How to log in.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// As the address says, or not at all.
    #[default]
    Address,
    /// A credentials file made by nsc.
    File(PathBuf),
}

/// A connection to the broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    pub(crate) client: Client,
    connected: watch::Receiver<bool>,
}

impl Broker {
    /// Connects, and checks that the server is new enough.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let addresses = addresses(&config.url)?;
        let url = without_credentials(&addresses);
        let (state, connected) = watch::channel(false);
        let link = Arc::new(Link::new(state, config));
        let noting = link.clone();
        let mut options = ConnectOptions::new()
            .name(&config.name)
            .custom_inbox_prefix(inbox(&addresses))
            .request_timeout(Some(API_TIMEOUT))
            .client_capacity(16 * 1024)
            .ping_interval(Duration::from_secs(20))
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                let link = noting.clone();
                async move { link.note(&event).await }
            });
        if let Some((user, password)) = login(&addresses) {
            options = options.user_and_password(user, password);
        }
        if let Credentials::File(path) = &config.credentials {
            options = options
                .credentials_file(path)
                .await
                .map_err(|source| Error::Credentials { path: path.display().to_string(), source })?;
        }
        if config.wait {
            options = options.retry_on_initial_connect();
        }
        let client = options.connect(addresses).await.map_err(|source| Error::Connect { url: url.clone(), source })?;
        link.watch(&client).await;
        let broker = Self { client, connected };
        if timeout(SOON, broker.connected()).await.is_err() {
            match config.server {
                None => warn!(
                    connection = config.name,
                    url, "nats.waiting: start nats-server there, or correct NATS_URL and the credentials"
                ),
                // Of our own, and started.
                Some(_) => info!(connection = config.name, url, "nats.waiting"),
            }
            broker.connected().await;
        }
        broker.check_version()?;
        info!(connection = config.name, url, server = broker.client.server_info().version, "nats.connected");
        Ok(broker)
    }

    /// Whether the connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Waits until the connection stands.
    pub async fn connected(&self) {
        let mut connected = self.connected.clone();
        // The sender lives in the client, which we hold.
        let _closed = connected.wait_for(|connected| *connected).await.is_err();
    }

    /// Tells of the next change of the connection from now on, also of one that is over already.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<bool> {
        let mut connected = self.connected.clone();
        connected.mark_unchanged();
        connected
    }

    /// The largest message the server takes, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// The server's name and version.
    #[must_use]
    pub fn server(&self) -> (String, String) {
        let info = self.client.server_info();
        (info.server_name, info.version)
    }

    /// Sends what is buffered and closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            debug!(%error, "nats.drain");
        }
    }

    /// Asks the JetStream API.
    pub(crate) async fn api<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Answer<T> {
            Refused { error: ApiError },
            Given(T),
        }
        let reading = |source| Error::Answer { what: what.to_owned(), source };
        let body = serde_json::to_vec(body).map_err(reading)?;
        let answer = self.request(what, format!("$JS.API.{what}"), Request::new().payload(body.into())).await?;
        match serde_json::from_slice(&answer.payload).map_err(reading)? {
            Answer::Given(given) => Ok(given),
            Answer::Refused { error } => Err(error.refused(what)),
        }
    }

    /// Asks, and stops waiting when the connection is lost: the answer would never come.
    pub(crate) async fn request(&self, what: &str, subject: String, request: Request) -> Result<Message, Error> {
        let mut changes = self.changes();
        if !self.is_connected() {
            return Err(Error::Disconnected { what: what.to_owned() });
        }
        tokio::select! {
            biased;
            answer = self.client.send_request(subject, request) => {
                answer.map_err(|source| Error::Unanswered { what: what.to_owned(), source })
            }
            _ = changes.changed() => Err(Error::Disconnected { what: what.to_owned() }),
        }
    }

    pub(crate) fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.client.clone())
    }

    fn check_version(&self) -> Result<(), Error> {
        let found = self.client.server_info().version;
        let mut numbers = found.split(['.', '-']).map_while(|part| part.parse::<u64>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) if (major, minor) < NEEDED => {
                Err(Error::ServerTooOld { found, needed: "2.15.0" })
            }
            _ => Ok(()),
        }
    }
}

fn addresses(url: &str) -> Result<Vec<ServerAddr>, Error> {
    url.split(',').map(|address| address.trim().parse().map_err(|_| Error::Address)).collect()
}

/// User and password of the first address that has both. They stand percent-encoded in it.
fn login(addresses: &[ServerAddr]) -> Option<(String, String)> {
    let decode = schemas::header::decode;
    addresses.iter().find_map(|address| Some((decode(address.username()?), decode(address.password()?))))
}

fn without_credentials(addresses: &[ServerAddr]) -> String {
    let hosts: Vec<String> = addresses.iter().map(|address| format!("{}:{}", address.host(), address.port())).collect();
    hosts.join(",")
}

/// Each user may only listen to its own inboxes, so that no role reads another's answers.
fn inbox(addresses: &[ServerAddr]) -> String {
    login(addresses).map_or_else(|| "_INBOX".to_owned(), |(user, _)| format!("_INBOX_{user}"))
}

fn reconnect_delay(attempt: usize) -> Duration {
    let ceiling = 50_u64.saturating_mul(1 << attempt.min(6)).min(2_000);
    Duration::from_millis(rand::random_range(ceiling / 2..=ceiling))
}

/// What is known of the connection.
struct Link {
    name: String,
    state: watch::Sender<bool>,
    leaving: AtomicBool,
    /// The only server that counts.
    server: Option<String>,
    /// To ask who the server is, where that matters.
    client: OnceLock<Client>,
    /// Whether a stranger was the last to answer.
    stranger: AtomicBool,
}

impl Link {
    fn new(state: watch::Sender<bool>, config: &Config) -> Self {
        Self {
            name: config.name.clone(),
            state,
            leaving: AtomicBool::new(false),
            server: config.server.clone(),
            client: OnceLock::new(),
            stranger: AtomicBool::new(false),
        }
    }

    /// Looks at the server from now on, where only one counts. The first connection may stand already.
    async fn watch(&self, client: &Client) {
        if self.server.is_some()
            && self.client.set(client.clone()).is_ok()
            && client.connection_state() == State::Connected
        {
            self.up().await;
        }
    }

    async fn up(&self) {
        if self.is_ours().await {
            self.state.send_if_modified(|connected| !std::mem::replace(connected, true));
            debug!("nats.up");
        }
    }

    async fn is_ours(&self) -> bool {
        let Some(wanted) = &self.server else { return true };
        let Some(client) = self.client.get() else { return false };
        // A client says that it is connected before it knows to whom; what it is asked then comes after both.
        if client.flush().await.is_err() {
            return false;
        }
        let found = client.server_info().server_name;
        let ours = found == *wanted;
        if !self.stranger.swap(!ours, Ordering::Relaxed) && !ours {
            error!(
                connection = self.name,
                found,
                wanted,
                "nats.stranger: another nats-server has the port of ours: stop it, or name it in NATS_URL"
            );
        }
        ours
    }

    async fn note(&self, event: &Event) {
        match event {
            Event::Connected => self.up().await,
            Event::Disconnected | Event::Closed => {
                if self.state.send_replace(false) && !self.leaving.load(Ordering::Relaxed) {
                    warn!(connection = self.name, "nats.disconnected");
                }
            }
            Event::ServerError(error) => warn!(connection = self.name, %error, "nats.server_error"),
            Event::ClientError(error) => debug!(connection = self.name, %error, "nats.client_error"),
            Event::SlowConsumer(id) => warn!(connection = self.name, id, "nats.slow_consumer"),
            Event::LameDuckMode => info!(connection = self.name, "nats.lame_duck"),
            Event::Draining => self.leaving.store(true, Ordering::Relaxed),
        }
    }
}
