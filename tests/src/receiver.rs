//! A receiver of pushes that does what a test wants: answers, hangs, trickles, resets, and remembers what it got.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::eventually;

/// How the receiver treats a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with a status.
    Status(u16),
    /// Answers with a status and a header.
    Header(u16, &'static str, String),
    /// Answers with a status after a while.
    After(Duration, u16),
    /// Never answers.
    Hang,
    /// Sends the head of an answer one byte at a time, for ever.
    TrickleHead,
    /// Sends a good head, then the body one byte at a time, for ever.
    TrickleBody,
    /// Resets the connection.
    Reset,
    /// Sends half of a head and closes the connection.
    HalfHead,
    /// Sends 200 and half of the body, and closes the connection.
    HalfBody,
    /// Sends what is no HTTP.
    Garbage,
    /// Answers 200 with a body of this many bytes.
    Large(usize),
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// Lower-case names.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When, milliseconds since the epoch.
    pub at: i64,
}

impl Seen {
    /// The event's id.
    #[must_use]
    pub fn id(&self) -> String {
        self.headers.get("webhook-id").cloned().unwrap_or_default()
    }

    /// The body's JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Whether the signature is right, as the public library sees it.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let mut headers = reqwest::header::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, self.headers[name].parse().expect("a header value"));
        }
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        webhook.verify(&self.body, &headers).is_ok()
    }
}

type Script = Box<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    seen: Mutex<Vec<Seen>>,
    /// Requests under way, and the most there were at once, by path.
    under_way: Mutex<HashMap<String, (usize, usize)>>,
    /// Bytes of large answers that connections took, by path.
    written: Mutex<HashMap<String, usize>>,
}

/// A listening receiver. It answers 200 where no script says otherwise.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    certificate: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().expect("an address"), Arc::default(), None).await
    }

    /// Listens with a certificate that nobody vouches for.
    pub async fn start_self_signed() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _set_before = rustls::crypto::ring::default_provider().install_default().is_err();
        });
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a TLS configuration")));
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut receiver = Self::listen(address, Arc::default(), Some(acceptor)).await;
        let body = data_encoding::BASE64.encode(made.cert.der());
        receiver.certificate = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        receiver
    }

    /// Its certificate in PEM, where it has one.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    async fn listen(address: SocketAddr, shared: Arc<Shared>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, shared.clone(), tls));
        Self { address, scheme, certificate: String::new(), shared, task }
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// How requests of a path are treated: the number of the request, from 0, and the request itself decide.
    pub fn on(&self, path: &str, script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) {
        self.shared.scripts.lock().expect("a lock").insert(path.to_owned(), Box::new(script));
    }

    /// How each request of a path is treated.
    pub fn always(&self, path: &str, reply: Reply) {
        self.on(path, move |_, _| reply.clone());
    }

    /// What came to a path.
    #[must_use]
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.shared.seen.lock().expect("a lock").iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// The most requests of a path that were under way at once.
    #[must_use]
    pub fn most_at_once(&self, path: &str) -> usize {
        self.shared.under_way.lock().expect("a lock").get(path).map_or(0, |(_, most)| *most)
    }

    /// Bytes of large answers to a path that connections took.
    #[must_use]
    pub fn written(&self, path: &str) -> usize {
        self.shared.written.lock().expect("a lock").get(path).copied().unwrap_or_default()
    }

    /// Waits until a path got this many requests.
    pub async fn got(&self, path: &str, count: usize) -> Vec<Seen> {
        eventually(&format!("{path} gets {count} requests"), || async {
            let seen = self.seen(path);
            (seen.len() >= count).then_some(seen)
        })
        .await
    }

    /// Listens no more; connections are reset.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await.is_err();
    }

    /// Listens again, where it did, with all it remembers.
    pub async fn start_again(&mut self) {
        let address = self.address;
        let listener = eventually("the port is free", || async { TcpListener::bind(address).await.ok() }).await;
        self.task = tokio::spawn(accept(listener, self.shared.clone(), None));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, &shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &shared).await;
                    }
                }
            }
        });
    }
}

/// A connection that can be reset.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    fn reset(&self) {}
}

impl Connection for TcpStream {
    fn reset(&self) {
        #[expect(deprecated, reason = "nothing is left to be sent, so closing does not block")]
        self.set_linger(Some(Duration::ZERO)).expect("a socket");
    }
}

impl Connection for tokio_rustls::server::TlsStream<TcpStream> {}

async fn serve(stream: impl Connection, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read(&mut stream).await {
        let reply = shared.begin(&seen);
        let goes_on = match reply {
            Reply::Large(bytes) => large(&mut stream, bytes, &seen.path, shared).await,
            reply => answer(&mut stream, reply).await,
        };
        shared.end(&seen.path);
        if !goes_on {
            return;
        }
    }
}

impl Shared {
    fn begin(&self, seen: &Seen) -> Reply {
        let number = {
            let mut all = self.seen.lock().expect("a lock");
            all.push(seen.clone());
            all.iter().filter(|other| other.path == seen.path).count() - 1
        };
        let mut under_way = self.under_way.lock().expect("a lock");
        let (now, most) = under_way.entry(seen.path.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        drop(under_way);
        let scripts = self.scripts.lock().expect("a lock");
        scripts.get(&seen.path).map_or(Reply::Status(200), |script| script(number, seen))
    }

    fn end(&self, path: &str) {
        if let Some((now, _)) = self.under_way.lock().expect("a lock").get_mut(path) {
            *now -= 1;
        }
    }
}

/// One request, or none when the connection is closed.
async fn read(stream: &mut BufReader<impl Connection>) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { path, headers, body, at: crate::world::now() })
}

/// Answers, and tells whether the connection goes on.
async fn answer(stream: &mut BufReader<impl Connection>, reply: Reply) -> bool {
    let plain = |status: u16, more: &str| format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n{more}\r\nok");
    match reply {
        Reply::Status(status) => write(stream, &plain(status, "")).await,
        Reply::Header(status, name, value) => write(stream, &plain(status, &format!("{name}: {value}\r\n"))).await,
        Reply::After(pause, status) => {
            sleep(pause).await;
            write(stream, &plain(status, "")).await
        }
        Reply::Hang => std::future::pending().await,
        Reply::TrickleHead => {
            let mut goes_on = write(stream, "HTTP/1.1 200 Said\r\nx-slow: ").await;
            while goes_on {
                sleep(Duration::from_millis(100)).await;
                goes_on = write(stream, "x").await;
            }
            false
        }
        Reply::TrickleBody => {
            let mut goes_on = write(stream, "HTTP/1.1 200 Said\r\ncontent-length: 100000\r\n\r\n").await;
            while goes_on {
                sleep(Duration::from_millis(100)).await;
                goes_on = write(stream, "x").await;
            }
            false
        }
        Reply::Reset => {
            stream.get_ref().reset();
            false
        }
        Reply::HalfHead => {
            write(stream, "HTTP/1.1 200 Said\r\ncontent-le").await;
            false
        }
        Reply::HalfBody => {
            write(stream, "HTTP/1.1 200 Said\r\ncontent-length: 1000\r\n\r\nhalf").await;
            false
        }
        Reply::Garbage => {
            write(stream, "SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
            false
        }
        Reply::Large(_) => false,
    }
}

/// Answers with so many bytes, as far as the connection takes them.
async fn large(stream: &mut BufReader<impl Connection>, bytes: usize, path: &str, shared: &Shared) -> bool {
    write(stream, &format!("HTTP/1.1 200 Said\r\ncontent-length: {bytes}\r\n\r\n")).await;
    let chunk = "x".repeat(1024);
    let mut left = bytes;
    while left > 0 && write(stream, &chunk[..chunk.len().min(left)]).await {
        left = left.saturating_sub(chunk.len());
        *shared.written.lock().expect("a lock").entry(path.to_owned()).or_default() += chunk.len();
        // Slower than it is read: what nobody reads stays here.
        sleep(Duration::from_millis(5)).await;
    }
    left == 0
}

async fn write(stream: &mut BufReader<impl Connection>, text: &str) -> bool {
    stream.write_all(text.as_bytes()).await.is_ok() && stream.flush().await.is_ok()
}
