//! Reads the values of settings.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use clap::builder::PossibleValuesParser;
use schemas::{replay::Rate, secret::Secret};

#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers return a Result")]
pub(super) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim()))
}

/// `250ms`, `10s`, `5m`, `8h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    schemas::instant::duration(text).ok_or_else(|| format!("{text:?} is no duration: 250ms, 10s, 5m, 8h or 7d"))
}

/// One of the providers.
pub(super) fn provider() -> PossibleValuesParser {
    PossibleValuesParser::new(schemas::provider::ALL.iter().map(|provider| provider.id))
}

/// `250`, or `max`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "max" => Ok(Rate::MAX),
        number => number.parse().map(Rate::PerSecond).map_err(|_| format!("{number:?} is neither a number nor max")),
    }
}

/// How many servers can keep a majority when one fails.
pub(super) fn replicas(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("streams have 1, 3 or 5 copies".to_owned()),
    }
}

/// `1024`, `512KiB`, `256MiB`, `4GiB`.
pub(super) fn size(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no size: 1048576, 512KiB, 256MiB or 4GiB");
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// `GW_WEBHOOK=32GiB,GW_EVENT=32GiB`.
pub(super) fn sizes(text: &str) -> Result<HashMap<String, i64>, String> {
    let known = nats::topology::specs(&nats::topology::Settings::default());
    let one = |part: &str| {
        let (stream, bytes) = part.split_once('=').ok_or_else(|| format!("{part:?} is not STREAM=SIZE"))?;
        if !known.iter().any(|spec| spec.config.name == stream) {
            return Err(format!("there is no stream {stream}; `gw topology show` lists them"));
        }
        Ok((stream.to_owned(), size(bytes)?))
    };
    text.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_or_refused_with_an_example() {
        assert_eq!(duration("8h"), Ok(Duration::from_secs(8 * 3600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "8", "h", "8 h", "-1s", "99999999999999999999d"] {
            assert!(duration(wrong).is_err_and(|error| error.contains("10s")), "{wrong}");
        }
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("7"), Ok(7));
        for wrong in ["", "0", "1TB", "GiB", "9999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(sizes("GW_EVENT=1GiB"), Ok(HashMap::from([("GW_EVENT".to_owned(), 1 << 30)])));
        assert!(sizes("GW_NONE=1GiB").is_err());
    }
}
