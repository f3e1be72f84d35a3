//! A way to the API on which a stream of events ends after its first bytes: for whoever reads each answer to its end.

use std::net::SocketAddr;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
};
use reqwest::Client;
use tokio::{net::TcpListener, task::JoinHandle};

/// The most that a request may hold.
const BODY: usize = 1 << 20;

/// Passes requests on to a gateway. It ends when it is dropped.
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
        let routes = Router::new().fallback(pass).with_state((Client::new(), api.to_owned()));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
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

async fn pass(State((client, api)): State<(Client, String)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY).await.expect("a short body");
    let url = format!("{api}{}", head.uri);
    let sent = client.request(head.method, url).headers(head.headers).body(body).send().await;
    let mut answer = match sent {
        Ok(answer) => answer,
        Err(error) => return with(StatusCode::BAD_GATEWAY, Body::from(error.to_string())),
    };
    let streams = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    let body = if streams { answer.chunk().await.map(Option::unwrap_or_default) } else { answer.bytes().await };
    let mut response = with(status, Body::from(body.expect("an answer")));
    *response.headers_mut() = headers;
    response
}

fn with(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
