//! The broker's own protocol, for what the gateway's crates rightly do not offer: any request as any user, and the
//! server's answer to what is forbidden.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
    inbox: String,
}

/// What the server sent.
enum Heard {
    Message(String),
    Pong,
    Refused(String),
}

impl Raw {
    /// Connects to `nats://[user:password@]host:port`.
    pub(crate) async fn connect(url: &str) -> Self {
        let rest = url.strip_prefix("nats://").expect("a NATS address");
        let (login, host) = rest.rsplit_once('@').map_or((None, rest), |(login, host)| (login.split_once(':'), host));
        let stream = BufReader::new(TcpStream::connect(host).await.expect("the server listens"));
        let mut options = serde_json::json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "lang": "tests", "version": "0", "name": "raw",
        });
        let mut inbox = format!("_INBOX.{:016x}", rand::random::<u64>());
        if let Some((user, password)) = login {
            (options["user"], options["pass"]) = (user.into(), password.into());
            inbox = inbox.replace("_INBOX", &format!("_INBOX_{user}"));
        }
        let mut raw = Self { stream, inbox };
        let _info = raw.line().await;
        raw.send(format!("CONNECT {options}\r\nSUB {} 1\r\n", raw.inbox).as_bytes()).await;
        raw.flush().await.expect("the server lets us in");
        raw
    }

    /// Publishes; an error is the server's refusal.
    pub(crate) async fn publish(&mut self, subject: &str, body: &str) -> Result<(), String> {
        self.send(format!("PUB {subject} {}\r\n{body}\r\n", body.len()).as_bytes()).await;
        self.flush().await
    }

    /// Subscribes; an error is the server's refusal.
    pub(crate) async fn subscribe(&mut self, subject: &str) -> Result<(), String> {
        self.send(format!("SUB {subject} 2\r\n").as_bytes()).await;
        self.flush().await
    }

    /// Asks and waits for the answer; an error is the server's refusal, of the request or in the answer.
    pub(crate) async fn request(&mut self, subject: &str, body: &Value) -> Result<Value, String> {
        let body = body.to_string();
        self.send(format!("PUB {subject} {} {}\r\n{body}\r\n", self.inbox, body.len()).as_bytes()).await;
        loop {
            match self.hear().await {
                Heard::Message(text) => {
                    let answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    return if answer["error"].is_null() { Ok(answer) } else { Err(answer["error"].to_string()) };
                }
                Heard::Refused(why) => return Err(why),
                Heard::Pong => {}
            }
        }
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.send(b"PING\r\n").await;
        let mut refused = Ok(());
        loop {
            match self.hear().await {
                Heard::Pong => return refused,
                Heard::Refused(why) => refused = Err(why),
                Heard::Message(_) => {}
            }
        }
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let line = self.line().await;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first().copied() {
                Some("PING") => self.send(b"PONG\r\n").await,
                Some("PONG") => return Heard::Pong,
                Some("-ERR") => return Heard::Refused(line),
                Some(kind @ ("MSG" | "HMSG")) => {
                    let number = |word: &str| word.parse::<usize>().expect("a length");
                    let length = number(words.last().expect("a length"));
                    let headers = if kind == "HMSG" { number(words[words.len() - 2]) } else { 0 };
                    let mut bytes = vec![0; length + 2];
                    tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut bytes))
                        .await
                        .expect("in time")
                        .expect("a message");
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let head = text(&bytes[..headers]);
                    if head.starts_with("NATS/1.0 503") {
                        return Heard::Refused("no responders".to_owned());
                    }
                    return Heard::Message(text(&bytes[headers..length]));
                }
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("the server reads");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("in time").expect("a line");
        line.trim_end().to_owned()
    }
}
