//! A way to the API on which a stream of events ends after its first bytes: for whoever reads each answer to its end.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// Passes requests on to a gateway, one a connection. It ends when it is dropped.
#[derive(Debug)]
pub struct Excerpt {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Excerpt {
    /// Listens before the API at this URL.
    pub async fn of(api: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let api = api.strip_prefix("http://").expect("an address without TLS").to_owned();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let api = api.clone();
                tokio::spawn(async move { pass(client, &api).await });
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Excerpt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request and its answer. Whoever leaves in the middle ends it.
async fn pass(client: TcpStream, api: &str) -> Option<()> {
    let (request, mut to_client) = client.into_split();
    let (answer, mut to_server) = TcpStream::connect(api).await.ok()?.into_split();
    let mut request = BufReader::new(request);
    // The next request has a connection of its own, and an answer that is looked at.
    let head = head(&mut request).await?;
    let (first, rest) = head.split_once("\r\n")?;
    to_server.write_all(format!("{first}\r\nconnection: close\r\n{rest}").as_bytes()).await.ok()?;
    tokio::select! {
        answered = excerpt(BufReader::new(answer), &mut to_client) => answered,
        Err(_gone) = copy(&mut request, &mut to_server) => None,
    }
}

/// An answer whole, but of a stream the first chunk.
async fn excerpt(mut answer: BufReader<OwnedReadHalf>, client: &mut OwnedWriteHalf) -> Option<()> {
    let head = head(&mut answer).await?;
    client.write_all(head.as_bytes()).await.ok()?;
    if !head.to_ascii_lowercase().contains("content-type: text/event-stream") {
        return copy(&mut answer, client).await.ok().map(drop);
    }
    let mut size = String::new();
    answer.read_line(&mut size).await.ok()?;
    let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).ok()? + 2];
    answer.read_exact(&mut chunk).await.ok()?;
    client.write_all(&[size.as_bytes(), &chunk, b"0\r\n\r\n"].concat()).await.ok()
}

/// The head of a request or an answer, with the empty line behind it.
async fn head(from: &mut BufReader<OwnedReadHalf>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(head).ok()
}
