//! Which broker a world gets: its own nats-server, started by the gateway; or one that was named or runs in a
//! container, used by one world at a time.

use std::sync::OnceLock;

use testcontainers::{ContainerAsync, GenericImage, ImageExt, core::WaitFor, runners::AsyncRunner};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// The image of the server that the suite is pinned to.
const IMAGE: (&str, &str) = ("nats", "2.15.1");

/// How worlds are kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each has a server of its own, which tests may kill.
    OwnServer,
    /// All use this server, one after the other.
    Shared(String),
}

/// The turn of a world on the shared server.
pub(crate) type Turn = MutexGuard<'static, ()>;

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
static CHOSEN: OnceCell<(Isolation, Option<Container>)> = OnceCell::const_new();
static SAID: OnceLock<()> = OnceLock::new();

/// Ends the container with the test run: a static is never dropped.
struct Container {
    _running: ContainerAsync<GenericImage>,
}

/// `GW_TEST_NATS_URL` if set, a container where an engine answers, else a server a world.
pub(crate) async fn choose() -> (Isolation, Option<Turn>) {
    let (isolation, _) = CHOSEN.get_or_init(find).await;
    let turn = match isolation {
        Isolation::OwnServer => None,
        Isolation::Shared(_) => Some(ONE_AT_A_TIME.lock().await),
    };
    (isolation.clone(), turn)
}

#[expect(clippy::disallowed_methods, reason = "the suite is chosen by its environment")]
async fn find() -> (Isolation, Option<Container>) {
    if let Ok(url) = std::env::var("GW_TEST_NATS_URL") {
        return (Isolation::Shared(url), None);
    }
    if !engine_answers() {
        SAID.get_or_init(|| {
            crate::skip("nats-server in a container", "no container engine answers; the local nats-server is used")
        });
        return (Isolation::OwnServer, None);
    }
    let image = GenericImage::new(IMAGE.0, IMAGE.1)
        .with_exposed_port(4222.into())
        .with_wait_for(WaitFor::message_on_stderr("Server is ready"))
        .with_copy_to("/gangway.conf", nats::NATS_CONF.replace("host: 127.0.0.1", "host: 0.0.0.0").into_bytes())
        .with_cmd(["-c", "/gangway.conf", "-sd", "/data"]);
    let running = image.start().await.expect("the container starts");
    let host = running.get_host().await.expect("a host");
    let port = running.get_host_port_ipv4(4222).await.expect("a port");
    (Isolation::Shared(format!("nats://{host}:{port}")), Some(Container { _running: running }))
}

/// Whether a container engine listens where its client would look for it.
#[expect(clippy::disallowed_methods, reason = "the client's own environment variable")]
pub(crate) fn engine_answers() -> bool {
    match std::env::var("DOCKER_HOST") {
        Ok(host) => !host.is_empty(),
        Err(_) => std::os::unix::net::UnixStream::connect("/var/run/docker.sock").is_ok(),
    }
}
