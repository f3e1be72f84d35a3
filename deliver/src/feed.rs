//! Events over HTTP: `GET /events/stream`, server-sent events from any point that the stream still holds; and the payload
//! of an event.
//!
//! A reader's place is the sequence of the last event it saw. Nothing is jumped over in silence: what expired before
//! it could be read is answered with 410, and ends a stream that has begun.

use std::time::Duration;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use nats::{Broker, Follower, Next, Payloads, topology};
use schemas::{
    caller::Caller,
    endpoint::Pattern,
    header as names,
    instant::Moment,
    problem::{Problem, Refusal},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Error;

mod ask;
mod frame;
mod line;
mod payload;
mod place;
mod seats;

use ask::Ask;
use line::Line;
use seats::{Limits, Seat, Seats};

/// How long a reader may hear nothing.
const QUIET: Duration = Duration::from_secs(15);
/// A stream ends after so long: its reader comes back where it was, and its key is looked at again.
const LASTS: Duration = Duration::from_secs(300);
/// Streams of one key, and of all.
const STREAMS: Limits = Limits { per_key: 10, in_all: 500 };
/// Payloads that one key reads at once, and all do: each is held until it is read.
const PAYLOADS: Limits = Limits { per_key: 4, in_all: 16 };

/// Reads events for those who ask over HTTP. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    broker: Broker,
    payloads: Payloads,
    clock: schemas::ambient::Clock,
    streams: Seats,
    reads: Seats,
    /// Ends all streams at a stop.
    stop: CancellationToken,
}

impl Feed {
    pub(crate) fn new(broker: Broker, clock: schemas::ambient::Clock) -> Self {
        Self {
            payloads: Payloads::new(&broker),
            broker,
            clock,
            streams: Seats::new(STREAMS),
            reads: Seats::new(PAYLOADS),
            stop: CancellationToken::new(),
        }
    }

    /// Ends all streams when told to stop: their readers come back to another process.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        stop.cancelled().await;
        self.stop.cancel();
    }
}

/// The routes.
pub(crate) fn api(feed: Feed) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(stream)).routes(routes!(payload::payload)).with_state(feed)
}

/// Events as they come, and from any point that the stream still holds: server-sent events.
///
/// The id of an event is its sequence; who comes back sends it as `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/events/stream",
    tag = "events",
    params(
        ("orgId" = Option<String>, Query, description = "The organisation; the key's own without it", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("types" = inline(Option<Vec<Pattern>>), Query, style = Form, explode = false, description = "Only these types; all of them without it", min_items = 1, max_items = 50),
        ("history" = Option<bool>, Query, description = "Also backfilled and replayed events"),
        ("from" = Option<String>, Query, description = "`now`, `first`, or a sequence to begin with", pattern = "^(now|first|[0-9]{1,19})$"),
        ("since" = inline(Option<Moment>), Query, description = "A time to begin with"),
        ("lastEventId" = Option<String>, Query, description = "In the place of the header", pattern = "^[0-9]{1,19}$"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen", pattern = "^ *[0-9]{1,19} *$")
    ),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = String),
        (status = 410, description = "What comes next is not held any more", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The key has too many streams open", body = Problem, content_type = "application/problem+json"),
        Refusal
    )
)]
async fn stream(
    State(feed): State<Feed>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let ask = Ask::read(query.as_deref().unwrap_or_default(), &headers, &caller, feed.clock.now())?;
    let seat = feed.streams.take(&caller)?;
    let place = feed.place(&ask).await?;
    let follower = Follower::after(&feed.broker, topology::GW_EVENT, ask.filters(), place);
    let (line, taken) = Line::open(LASTS, feed.stop.clone());
    tokio::spawn(tell(follower, place, ask, line, seat));
    let mut response = Response::new(Line::body(taken));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Sends what follows a place until the line is over, or what the reader should read next has expired. No more is read
/// while a frame waits for the connection.
async fn tell(mut follower: Follower, place: u64, ask: Ask, mut line: Line, _seat: Seat) {
    if let Some(why) = follow(&mut follower, place, &ask, &mut line).await {
        let words = serde_json::to_vec(&why.problem()).unwrap_or_default();
        let _given = line.give(frame::last_words("error", &words)).await;
    }
    line.close().await;
}

/// Sends what follows, and says why nothing follows where the reader is to be told. A reader knows its place from the
/// start, and where the stream is whenever it heard nothing for a while: whoever comes back goes on there.
async fn follow(follower: &mut Follower, mut place: u64, ask: &Ask, line: &mut Line) -> Option<Error> {
    if !line.give(frame::place(place)).await {
        return None;
    }
    loop {
        let next = follower.next(QUIET);
        tokio::pin!(next);
        let next = loop {
            tokio::select! {
                next = &mut next => break next,
                () = line.quiet(QUIET) => {}
                () = line.over() => return None,
            }
            if !line.give(frame::place(place)).await {
                return None;
            }
        };
        match next {
            Ok(Next::Quiet { sequence }) => place = sequence,
            Ok(Next::Message(message)) => {
                place = message.sequence;
                let kind = message.header("ce-type").map(names::decode).unwrap_or_default();
                if ask.admits(&kind) && !line.give(frame::event(place, &kind, &message.payload)).await {
                    return None;
                }
            }
            Ok(Next::Expired { first }) => return Some(Error::Expired { first }),
            Ok(Next::Unknown { last }) => return Some(Error::Unknown { last }),
            Err(error) => {
                warn!(error = %schemas::cause::Chain(&error), "feed.ended");
                return None;
            }
        }
    }
}
