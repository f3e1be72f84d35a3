//! As little of an HTTP client as a generator needs: it shares the cores with what it measures.

use std::{net::SocketAddr, str};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    error::Error,
    sample::{ID_LENGTH, Sample},
};

const ACCEPTED: &[u8] = br#""status":"accepted""#;

/// A connection that posts one webhook after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    id_at: usize,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, sample: &Sample, secret: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (request, id_at) = sample.request(&address.to_string(), secret)?;
        Ok(Self { stream, request, id_at, answer: Vec::with_capacity(4096) })
    }

    /// Posts the webhook under this id. Gives what was answered where it is anything but accepted.
    pub(crate) async fn post(&mut self, id: &str) -> Result<Option<String>, Error> {
        self.request[self.id_at..self.id_at + ID_LENGTH].copy_from_slice(id.as_bytes());
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let end = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(Error::Wrong("the edge closed the connection".into()));
            }
            if let Some(end) = end(&self.answer)? {
                break end;
            }
        };
        if self.answer.len() != end {
            return Err(Error::Wrong("the edge sent more than one answer".into()));
        }
        let accepted = self.answer.starts_with(b"HTTP/1.1 200 ") && find(&self.answer, ACCEPTED).is_some();
        Ok((!accepted).then(|| String::from_utf8_lossy(&self.answer).into_owned()))
    }
}

/// Where the answer ends, once its head is there and all of its body.
fn end(answer: &[u8]) -> Result<Option<usize>, Error> {
    let Some(head) = find(answer, b"\r\n\r\n") else { return Ok(None) };
    let text = str::from_utf8(&answer[..head]).map_err(|_| Error::Wrong("the answer's head is no text".into()))?;
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| Error::Wrong(format!("the answer has no length: {text}")))?;
    let end = head + 4 + length;
    Ok((answer.len() >= end).then_some(end))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        for part in 0..answer.len() {
            assert_eq!(end(&answer[..part]).unwrap(), None);
        }
        assert_eq!(end(answer).unwrap(), Some(answer.len()));
        assert!(end(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
