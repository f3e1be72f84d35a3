//! Receivers of pushes: as little of an HTTP server as they need, since they share the cores with what is measured.

use std::{
    collections::HashSet,
    io::{self, Write as _},
    net::Ipv4Addr,
    str,
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout},
};

use crate::{error::Error, usage::Watch};

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
/// Requests to this path fail.
const FAILING: &str = "/fail";

/// `gw-bench receive`.
#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Receivers, a port each; they are printed first, as one line of JSON.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Requests to wait for; those to paths that begin with /fail do not count.
    #[arg(long)]
    expect: usize,
    /// Give up when nothing came for so many seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Processes whose use of the processors is told, `name=pid`.
    #[arg(long)]
    watch: Vec<String>,
}

/// A request that came.
#[derive(Debug)]
pub(crate) struct Push {
    /// `webhook-id` of the request.
    pub(crate) id: String,
    /// `deliveryId` of its body.
    pub(crate) delivery: String,
    /// Whether it was taken.
    pub(crate) taken: bool,
}

/// Ports on which pushes are taken, and what came there.
#[derive(Debug)]
pub(crate) struct Receivers {
    pub(crate) ports: Vec<u16>,
    pub(crate) pushes: UnboundedReceiver<Push>,
}

impl Receivers {
    /// Listens on so many free ports.
    pub(crate) async fn open(count: usize) -> Result<Self, Error> {
        let (sender, pushes) = unbounded_channel();
        let mut ports = Vec::with_capacity(count);
        for _ in 0..count {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.push(listener.local_addr()?.port());
            tokio::spawn(accept(listener, sender.clone()));
        }
        Ok(Self { ports, pushes })
    }

    /// Prints the ports, for who makes the endpoints.
    pub(crate) fn announce(&self) -> Result<(), Error> {
        let mut out = io::stdout();
        writeln!(out, "{}", json!({ "ports": self.ports }))?;
        Ok(out.flush()?)
    }
}

/// Counts from the first request on.
pub(crate) async fn run(args: ReceiveArgs) -> Result<Value, Error> {
    let mut receivers = Receivers::open(args.count).await?;
    receivers.announce()?;
    let patience = Duration::from_secs(args.patience);
    let (mut taken, mut failed, mut ids) = (0, 0, HashSet::new());
    let mut begun = None;
    while taken < args.expect {
        let Ok(Some(push)) = timeout(patience, receivers.pushes.recv()).await else { break };
        begun.get_or_insert_with(|| (Instant::now(), Watch::begin(&args.watch, "receiver")));
        if push.taken {
            taken += 1;
            ids.insert(push.id);
        } else {
            failed += 1;
        }
    }
    let (seconds, cores) =
        begun.map_or((0.0, Value::Null), |(begun, watch)| (begun.elapsed().as_secs_f64(), watch.cores()));
    Ok(json!({
        "expected": args.expect,
        "received": taken,
        "different": ids.len(),
        "failed": failed,
        "seconds": seconds,
        "per_second": (f64::from(taken as u32) / seconds.max(1e-9)).round(),
        "cores": cores,
    }))
}

async fn accept(listener: TcpListener, pushes: UnboundedSender<Push>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, pushes.clone()));
    }
}

/// Answers one request after the other until the sender leaves.
async fn serve(mut stream: TcpStream, pushes: UnboundedSender<Push>) {
    let mut bytes = Vec::with_capacity(16 * 1024);
    if stream.set_nodelay(true).is_err() {
        return;
    }
    loop {
        let Some((head, end)) = request(&bytes) else {
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let push = read(&bytes[..head], &bytes[head..end]);
        bytes.drain(..end);
        let answer = if push.taken { TAKEN } else { FAILED };
        if stream.write_all(answer).await.is_err() || pushes.send(push).is_err() {
            return;
        }
    }
}

/// Where the head of a request ends and where its body does, once all of it is there.
fn request(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = value(str::from_utf8(&bytes[..head]).ok()?, "content-length")?.parse::<usize>().ok()?;
    (bytes.len() >= head + length).then_some((head, head + length))
}

fn read(head: &[u8], body: &[u8]) -> Push {
    const DELIVERY: &[u8] = br#""deliveryId":""#;
    let head = str::from_utf8(head).unwrap_or_default();
    let begins = body.windows(DELIVERY.len()).position(|window| window == DELIVERY).map(|at| at + DELIVERY.len());
    let delivery = begins.and_then(|at| body[at..].split(|byte| *byte == b'"').next()).unwrap_or_default();
    let path = head.split(' ').nth(1).unwrap_or_default();
    Push {
        id: value(head, "webhook-id").unwrap_or_default().to_owned(),
        delivery: String::from_utf8_lossy(delivery).into_owned(),
        taken: !path.starts_with(FAILING),
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_all_of_it_is_there() {
        let bytes = b"POST /fail/1 HTTP/1.1\r\nWebhook-Id: e1\r\nContent-Length: 20\r\n\r\n{\"deliveryId\":\"d-1\"}";
        for part in 0..bytes.len() {
            assert_eq!(request(&bytes[..part]), None);
        }
        let (head, end) = request(bytes).unwrap();
        let push = read(&bytes[..head], &bytes[head..end]);
        assert_eq!((push.id.as_str(), push.delivery.as_str(), push.taken, end), ("e1", "d-1", false, bytes.len()));
    }
}
