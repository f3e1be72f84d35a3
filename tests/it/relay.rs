//! A relay before a server, that does to connections what networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

/// What it does.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Ends each connection after it passed on so many bytes of the server's.
    Cut(u64),
    /// From the first request for a consumer's messages on it holds back what the server sends, once for so long.
    Hold(Duration),
    /// From the first copy of a replay on it holds back what their connection sends, once for so long.
    HoldCopies(Duration),
    /// Loses each so-manieth message that a stream gives.
    Lose(usize),
}

/// Ended when it is dropped; its connections end with their clients.
pub(crate) struct Relay {
    address: SocketAddr,
    faults: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Relay {
    /// Stands before the server at `nats://host:port`.
    pub(crate) async fn before(server: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let faults = Arc::new(AtomicUsize::new(0));
        let (server, counted) = (server.trim_start_matches("nats://").to_owned(), faults.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server");
                tokio::spawn(relay(client, server, fault, counted.clone()));
            }
        });
        Self { address, faults, accepting: accepting.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// How often it did what it does.
    pub(crate) fn faults(&self) -> usize {
        self.faults.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, server: TcpStream, fault: Fault, faults: Arc<AtomicUsize>) {
    let ((asks, mut answers), (said, asked)) = (client.into_split(), server.into_split());
    let (begin, held) = watch::channel(None);
    tokio::select! {
        () = forward(asks, asked, fault, &begin, &faults) => {}
        () = back(said, &mut answers, fault, held, &faults) => {}
    }
}

/// What the client sends. Says until when the answers are held back.
async fn forward(
    mut asks: OwnedReadHalf,
    mut asked: OwnedWriteHalf,
    fault: Fault,
    begin: &watch::Sender<Option<Instant>>,
    faults: &AtomicUsize,
) {
    let (mut bytes, mut of_copies) = (vec![0; 64 << 10], false);
    while let Ok(count @ 1..) = asks.read(&mut bytes).await {
        let says = |what: &[u8]| bytes[..count].windows(what.len()).any(|word| word == what);
        of_copies |= says(br#""name":"gangway-replays""#);
        let first = faults.load(Ordering::Relaxed) == 0;
        match fault {
            Fault::Hold(pause) if first && says(b"CONSUMER.MSG.NEXT") => {
                faults.fetch_add(1, Ordering::Relaxed);
                begin.send_replace(Some(Instant::now() + pause));
            }
            Fault::HoldCopies(pause) if first && of_copies && says(b"PUB gw.replay.") => {
                faults.fetch_add(1, Ordering::Relaxed);
                sleep(pause).await;
            }
            _ => {}
        }
        if asked.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// What the server sends.
async fn back(
    mut said: OwnedReadHalf,
    answers: &mut OwnedWriteHalf,
    fault: Fault,
    held: watch::Receiver<Option<Instant>>,
    faults: &AtomicUsize,
) {
    match fault {
        Fault::Cut(bytes) => {
            let mut said = said.take(bytes);
            let _ended = tokio::io::copy(&mut said, answers).await.is_err();
            if said.limit() == 0 {
                faults.fetch_add(1, Ordering::Relaxed);
            }
        }
        Fault::Hold(_) => {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = said.read(&mut bytes).await {
                let until = *held.borrow();
                sleep_until(until.unwrap_or_else(Instant::now)).await;
                if answers.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        }
        Fault::HoldCopies(_) => {
            let _ended = tokio::io::copy(&mut said, answers).await.is_err();
        }
        Fault::Lose(every) => {
            let _ended = lose(BufReader::new(said), answers, every, faults).await.is_err();
        }
    }
}

/// Passes on the lines and bodies of the protocol, but each so-manieth message of a stream.
async fn lose(
    mut said: BufReader<OwnedReadHalf>,
    answers: &mut (impl AsyncWrite + Unpin),
    every: usize,
    faults: &AtomicUsize,
) -> std::io::Result<()> {
    let mut seen = 0;
    loop {
        let mut part = Vec::new();
        if said.read_until(b'\n', &mut part).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&part).into_owned();
        let of_consumer = line.contains(" $JS.ACK.");
        if line.starts_with("MSG ") || line.starts_with("HMSG ") {
            let length: usize = line.split_whitespace().last().and_then(|word| word.parse().ok()).expect("a length");
            let head = part.len();
            part.resize(head + length + 2, 0);
            said.read_exact(&mut part[head..]).await?;
            let of_stream = of_consumer || part[head..].windows(15).any(|word| word == b"\nNats-Sequence:");
            seen += usize::from(of_stream);
            if of_stream && seen.is_multiple_of(every) {
                faults.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        }
        answers.write_all(&part).await?;
    }
}
