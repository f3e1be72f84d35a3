//! The screen: 100 columns, the most urgent in colour, and what to do about it.

use super::{Consumer, FULL, Gateway, Status, Stream};
use crate::output::{self, Style, Table};

pub(super) fn lines(status: &Status, style: Style) -> Vec<String> {
    let mut lines = gateway(&status.gateway, style);
    lines.push(format!(
        "broker   {} nats-server {}",
        output::plain(&status.broker.name),
        output::plain(&status.broker.version)
    ));
    lines.push(String::new());
    lines.extend(headed(streams(&status.streams), style));
    lines.push(String::new());
    lines.extend(headed(consumers(&status.consumers), style));
    lines.push(String::new());
    lines.push(totals(status));
    lines.extend(hints(status).into_iter().map(|hint| style.yellow(hint)));
    lines
}

pub(super) fn gateway(gateway: &Gateway, style: Style) -> Vec<String> {
    let Some(version) = &gateway.version else {
        let why = output::plain(&gateway.reasons.join("; "));
        return vec![
            format!("gateway  {} at {}: {why}", style.red("not reached"), gateway.url),
            "         is `gw serve` running? GW_API_URL names where its API listens".to_owned(),
        ];
    };
    let uptime = gateway
        .uptime_seconds
        .and_then(|seconds| i64::try_from(seconds * 1000).ok())
        .map_or_else(String::new, |up| format!(", up {}", output::span(up)));
    let state = if gateway.ready { style.green("ready") } else { style.red("not ready") };
    let mut lines = vec![format!("gateway  {state}  {} gw {}{uptime}", gateway.url, output::plain(version))];
    lines.extend(
        gateway
            .reasons
            .iter()
            .flat_map(|reason| reason.lines())
            .map(|reason| format!("         {}", output::plain(reason))),
    );
    lines
}

fn headed(lines: Vec<String>, style: Style) -> Vec<String> {
    lines.into_iter().enumerate().map(|(at, line)| if at == 0 { style.dim(line) } else { line }).collect()
}

fn streams(streams: &[Stream]) -> Vec<String> {
    let mut table =
        Table::new(&["STREAM", "MESSAGES", "SIZE", "LIMIT", "FULL", "PER SECOND", "OLDEST"], &[1, 2, 3, 4, 5, 6]);
    for stream in streams {
        table.row([
            stream.name.clone(),
            output::count(stream.messages),
            output::bytes(stream.bytes),
            stream.max_bytes.map_or_else(|| "-".to_owned(), output::bytes),
            stream.full().map_or_else(|| "-".to_owned(), |full| format!("{full:.0}%")),
            rate(stream.rate),
            stream.oldest_age_ms.map_or_else(|| "-".to_owned(), output::span),
        ]);
    }
    table.lines()
}

fn consumers(consumers: &[Consumer]) -> Vec<String> {
    let mut table = Table::new(&["CONSUMER", "PENDING", "IN FLIGHT", "REDELIVERED", "LAG"], &[1, 2, 3, 4]);
    for consumer in consumers {
        table.row([
            consumer.name.clone(),
            output::count(consumer.pending),
            output::count(consumer.ack_pending),
            output::count(consumer.redelivered),
            consumer.lag_ms.map_or_else(|| "-".to_owned(), output::span),
        ]);
    }
    table.lines()
}

fn rate(rate: f64) -> String {
    if rate == 0.0 {
        "-".to_owned()
    } else if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        output::count(rate.round() as u64)
    }
}

fn totals(status: &Status) -> String {
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), output::count);
    format!(
        "routes {}   connections {}   parked {}   dead letters {}",
        shown(status.routes),
        shown(status.connections),
        shown(status.parked),
        shown(status.dead_letters)
    )
}

/// What is out of the ordinary, and what to do.
fn hints(status: &Status) -> Vec<String> {
    let mut hints = Vec::new();
    if status.streams.is_empty() {
        hints.push("there are no streams: start `gw serve`, or run `gw topology apply`".to_owned());
    }
    if status.routes == Some(0) {
        hints.push("nothing is linked, so every delivery is parked: `gw link add --help`".to_owned());
    }
    if let Some(parked) = status.parked.filter(|parked| *parked > 0) {
        let parked = output::count(parked);
        hints.push(format!("{parked} parked: no link claims them; `gw link add` releases those it claims"));
    }
    if let Some(dead) = status.dead_letters.filter(|dead| *dead > 0) {
        let dead = output::count(dead);
        hints.push(format!("{dead} dead letters: `gw dlq list` shows them with their reasons"));
    }
    for stream in status.streams.iter().filter(|stream| stream.full().is_some_and(|full| full > FULL)) {
        hints.push(format!(
            "{} is nearly full: raise it with GW_MAX_BYTES={}=… and `gw topology apply`",
            stream.name, stream.name
        ));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::{super::Server, *};

    fn status() -> Status {
        let stream = |name: &str, messages, bytes| Stream {
            name: name.to_owned(),
            messages,
            bytes,
            max_bytes: Some(16 << 30),
            rate: 2_999.6,
            oldest_age_ms: Some(604_799_000),
        };
        Status {
            gateway: Gateway {
                url: "http://127.0.0.1:4110".into(),
                version: Some("0.1.0".into()),
                uptime_seconds: Some(59),
                ready: false,
                reasons: vec!["router: routes are stale".into()],
            },
            broker: Server { name: "gangway-1".into(), version: "2.15.1".into() },
            streams: vec![stream("GW_WEBHOOK", 1_234_567_890, 15 << 30), stream("KV_gw_connections", 0, 0)],
            consumers: vec![Consumer {
                name: "router".into(),
                pending: 12_345_678,
                ack_pending: 10_000,
                redelivered: 3,
                waiting: 1,
                lag_ms: Some(420),
            }],
            routes: Some(3),
            connections: Some(1),
            parked: Some(2),
            dead_letters: Some(1),
        }
    }

    #[test]
    fn a_busy_gateway_fits_in_a_hundred_columns() {
        for line in lines(&status(), Style::none()) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn what_is_out_of_the_ordinary_comes_with_what_to_do() {
        let text = lines(&status(), Style::none()).join("\n");
        for part in
            ["not ready", "routes are stale", "gw link add", "gw dlq list", "GW_MAX_BYTES=GW_WEBHOOK", "94%", "3,000"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let quiet = Status { parked: Some(0), dead_letters: Some(0), streams: vec![], ..status() };
        assert!(!lines(&quiet, Style::none()).join("\n").contains("gw link add"));
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_said_with_the_reason() {
        let away = Gateway { version: None, reasons: vec!["cannot reach it".into()], ..status().gateway };
        let lines = gateway(&away, Style::none());
        assert_eq!(lines[0], "gateway  not reached at http://127.0.0.1:4110: cannot reach it");
        assert!(lines[1].contains("GW_API_URL"));
    }
}
