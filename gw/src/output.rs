//! What commands print: lines on standard output, tables, and numbers and times for people.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use schemas::instant;
use time::OffsetDateTime;

use crate::{config, error::Error};

/// Prints one line. That the reader left is an error that ends the command in silence.
pub(crate) fn line(text: impl Display) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Error::Output)
}

/// Prints text as it is, likewise.
pub(crate) fn whole(text: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// Text that others wrote, without what could steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// How to emphasise: not at all where nobody sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// Colours only on a terminal, and only where `NO_COLOR` is not set.
    pub(crate) fn of_stdout() -> Self {
        Self { coloured: io::stdout().is_terminal() && !config::no_color() }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { coloured: false }
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    pub(crate) fn red(self, text: impl Display) -> String {
        self.with("31", text)
    }

    pub(crate) fn green(self, text: impl Display) -> String {
        self.with("32", text)
    }

    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Columns as wide as their widest cell; those of numbers are aligned right.
pub(crate) struct Table {
    right: &'static [usize],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heads: &[&str], right: &'static [usize]) -> Self {
        Self { right, rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let wide =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or_default()).collect();
        let line = |row: &Vec<String>| {
            let cells =
                row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match self.right.contains(&column) {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// `0`, `999`, `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `17 B`, `1.5 KiB`, `16 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 10.0 && value.fract() >= 0.05);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `0.4s`, `12s`, `5m`, `3h`, `6d` of milliseconds.
pub(crate) fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0 => format!("{:.1}s", millis.max(0) as f64 / 1000.0),
        1..120 => format!("{seconds}s"),
        3_600 => "1h".to_owned(),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `HH:MM:SS` in UTC.
pub(crate) fn clock(millis: i64) -> String {
    instant::rfc3339(millis).get(11..19).unwrap_or("--:--:--").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_as_people_write_them() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (16 << 30, "16 GiB"), (1 << 20, "1 MiB")]
        {
            assert_eq!(bytes(number), text);
        }
        for (millis, text) in [
            (-5, "0.0s"),
            (420, "0.4s"),
            (119_000, "119s"),
            (150_000, "2m"),
            (3_600_000, "1h"),
            (7_200_000, "2h"),
            (604_800_000, "7d"),
        ] {
            assert_eq!(span(millis), text);
        }
        assert_eq!(clock(1_700_000_000_123), "22:13:20");
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_has_no_blanks_at_the_end() {
        let mut table = Table::new(&["stream", "messages", ""], &[1]);
        table.row(["GW_EVENT".to_owned(), "1,000".to_owned(), String::new()]);
        assert_eq!(table.lines(), ["stream    messages", "GW_EVENT     1,000"]);
    }

    #[test]
    fn a_title_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2J\nb\u{9b}c"), "a [2J b c");
        assert_eq!(Style::none().red("x"), "x");
    }
}
