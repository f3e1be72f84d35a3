//! `gw tail`: prints events as they come, straight from the stream.

use std::time::Duration;

use nats::{
    Broker, Code, Message, Reader, Start,
    topology::{self, GW_EVENT},
};
use schemas::{event::Event, instant, subject};

use crate::{
    broker,
    config::TailArgs,
    error::{Error, chain},
    lifecycle::Signals,
    output::{self, Style},
};

/// Between two tries to open the stream again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is read, and from where on.
struct Tail<'a> {
    broker: &'a Broker,
    filters: Vec<String>,
    start: Start,
    /// When the stream was made.
    made: i64,
    /// How many lines are to be printed still.
    left: u64,
    /// Whether it was said that the stream is lost.
    said: bool,
}

pub(crate) async fn run(args: TailArgs) -> Result<(), Error> {
    let since = args.since.as_deref().map(|since| moment(since, output::now())).transpose()?;
    let broker = broker::connect(&args.broker, &args.data.data_dir, "gw tail").await?;
    let mut signals = Signals::install().map_err(Error::Signals)?;
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        ended = follow(&broker, &args, since) => ended,
    };
    broker.close().await;
    ended
}

/// `15m` before now, or a point in time.
fn moment(text: &str, now: i64) -> Result<i64, Error> {
    instant::moment(text, now).ok_or_else(|| {
        Error::Usage(format!("--since {text:?} is neither a duration, 15m or 2h, nor a time, 2026-01-31T12:00:00Z"))
    })
}

/// Prints until there were enough.
async fn follow(broker: &Broker, args: &TailArgs, since: Option<i64>) -> Result<(), Error> {
    Tail::open(broker, args, since).await?.follow(args).await
}

impl Tail<'_> {
    async fn open<'a>(broker: &'a Broker, args: &TailArgs, since: Option<i64>) -> Result<Tail<'a>, Error> {
        let info = topology::stream_info(broker, GW_EVENT).await.map_err(|error| match error.code() {
            Some(Code::StreamNotFound) => Error::Topology,
            _ => Error::Broker(error),
        })?;
        let start = since.map_or(Start::Sequence(info.state.last_sequence + 1), Start::Since);
        let lanes: &[bool] = if args.history { &[false, true] } else { &[false] };
        let filter = |history| subject::events_of(args.org.as_deref(), args.provider.as_deref(), history);
        let filters = lanes.iter().map(|history| filter(*history)).collect();
        let (made, left) = (topology::made(&info), args.count.unwrap_or(u64::MAX));
        Ok(Tail { broker, filters, start, made, left, said: false })
    }

    async fn follow(&mut self, args: &TailArgs) -> Result<(), Error> {
        while let Some(lost) = self.print(args).await? {
            if !std::mem::replace(&mut self.said, true) {
                eprintln!("gw: the stream is lost and will be opened again: {}", chain(&lost));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Prints until there were enough. Otherwise says why the stream has to be opened again.
    async fn print(&mut self, args: &TailArgs) -> Result<Option<nats::Error>, Error> {
        let style = Style::of_stdout();
        let mut reader = match self.reader().await {
            Ok(reader) => reader,
            Err(error) => return Ok(Some(error)),
        };
        while self.left > 0 {
            let message = match reader.next().await {
                Ok(message) => message,
                Err(error) => return Ok(Some(error)),
            };
            (self.left, self.said) = (self.left - 1, false);
            self.start = Start::Sequence(message.sequence + 1);
            output::line(if args.json { one_line(&message.payload) } else { human(&message, style) })?;
        }
        Ok(None)
    }

    /// In another stream of this name all is new, and in one that lost its end what comes behind that.
    async fn reader(&mut self) -> Result<Reader, nats::Error> {
        let info = topology::stream_info(self.broker, GW_EVENT).await?;
        let made = topology::made(&info);
        self.start = match self.start {
            _ if made != self.made => Start::First,
            Start::Sequence(next) => Start::Sequence(next.min(info.state.last_sequence + 1)),
            start => start,
        };
        self.made = made;
        Reader::open(self.broker, GW_EVENT, &self.filters, self.start, false).await
    }
}

/// The body as one line: a line break in JSON only ever stands between its parts.
fn one_line(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace(['\n', '\r'], " ")
}

fn human(message: &Message, style: Style) -> String {
    match serde_json::from_slice::<Event>(&message.payload) {
        Ok(event) => sentence(&event, style),
        Err(_unreadable) => {
            let place = output::plain(&message.subject);
            format!(
                "{} {place} (sequence {}) cannot be read as an event",
                output::clock(message.stored_at),
                message.sequence
            )
        }
    }
}

/// `HH:MM:SS org type  title (significance) sourceId/delivery`.
fn sentence(event: &Event, style: Style) -> String {
    let title = event.event.as_ref().map_or("-", |source| source.title.as_str());
    let source = event.event.as_ref().map_or("-", |source| source.source_id.as_str());
    let weight = match event.significance {
        70.. => style.red(event.significance),
        50..70 => style.yellow(event.significance),
        _ => event.significance.to_string(),
    };
    format!(
        "{} {:<14} {} {} ({weight}) {}",
        style.dim(output::clock(event.received_at)),
        output::plain(&event.org_id),
        style.bold(format!("{:<34}", output::plain(&event.kind))),
        output::plain(title),
        style.dim(format!("{}/{}", output::plain(source), output::plain(&event.delivery_id))),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn since_is_a_duration_back_or_a_point_in_time() {
        let now = 1_700_000_000_000;
        assert_eq!(moment("15m", now).expect("a time"), now - 900_000);
        assert_eq!(moment("2h", now).expect("a time"), now - 7_200_000);
        assert_eq!(moment("2023-11-14T23:13:20+01:00", now).expect("a time"), now);
        for wrong in ["", "yesterday", "15", "2023-11-14"] {
            assert!(moment(wrong, now).is_err_and(|error| error.to_string().contains("15m")), "{wrong}");
        }
    }

    #[test]
    fn an_event_is_a_line_that_says_who_what_and_how_much() {
        let event: Event = serde_json::from_value(json!({
            "deliveryId": "d-1", "connectionId": "con_1", "connectionIds": ["con_1"], "orgId": "org_demo", "provider": "p",
            "eventType": "thing", "type": "p:thing.opened", "sequence": 1, "receivedAt": 1_700_000_000_000_i64,
            "occurredAt": "2023-11-14T22:13:20.000Z", "correlationId": null, "origin": "live", "workspaces": [],
            "significance": 50, "event": null, "payload": {},
        }))
        .expect("an event");
        let expected = format!("22:13:20 org_demo       {:<34} - (50) -/d-1", "p:thing.opened");
        assert_eq!(sentence(&event, Style::none()), expected);
    }

    #[test]
    fn a_body_with_line_breaks_is_still_one_line() {
        assert_eq!(one_line(b"{\n  \"a\": \"x\\ny\"\r\n}"), "{   \"a\": \"x\\ny\"  }");
    }
}
