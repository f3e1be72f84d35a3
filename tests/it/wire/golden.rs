//! Golden files: what goes over the wire, with stable names in the place of what differs each time.
//!
//! `UPDATE_GOLDEN=1` writes them anew; what then differs is a change of the contract, to be decided on.

use std::{collections::BTreeSet, fs, path::PathBuf};

use nats::Message;
use schemas::instant;
use serde_json::{Value, json};
use tests::Answer;

/// Members that count or place something, and so differ.
const COUNTED: [&str; 8] =
    ["sequence", "routeRevision", "version", "instance", "instanceUptimeSeconds", "connections", "routes", "removed"];
/// Headers of that kind; that there was nothing before is always said as 0.
const COUNTED_HEADERS: [&str; 3] = ["Gw-Sequence", "Gw-Dlq-Sequence", "Nats-Expected-Last-Subject-Sequence"];
/// Letters of an id behind its prefix.
const ID: usize = 26;

/// The golden files of a folder, and how they differ from what was found.
pub(super) struct Golden {
    folder: PathBuf,
    now: i64,
    update: bool,
    seen: BTreeSet<String>,
    differences: Vec<String>,
}

impl Golden {
    #[expect(clippy::disallowed_methods, reason = "the suite lives in real time, and a developer asks for new files")]
    pub(super) fn open(folder: &str) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after the epoch");
        Self {
            folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder),
            now: i64::try_from(since.as_millis()).expect("in range"),
            update: std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| !value.is_empty()),
            seen: BTreeSet::new(),
            differences: Vec::new(),
        }
    }

    /// A stored message: subject, headers by name, body.
    pub(super) fn message(&mut self, name: &str, message: &Message) {
        let body = serde_json::from_slice(&message.payload)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&message.payload)));
        self.message_with(name, message, body);
    }

    /// The same with another body in its place.
    pub(super) fn message_with(&mut self, name: &str, message: &Message, body: Value) {
        // Which messages share a batch is a matter of moments.
        let headers = message.headers().filter(|(name, _)| !name.starts_with("Nats-Batch-"));
        let mut headers: Vec<String> = headers.map(|(name, value)| self.header(name, value)).collect();
        headers.sort();
        let found =
            json!({ "subject": self.text(&message.subject), "headers": headers, "body": self.stable("", body) });
        self.check(name, &found);
    }

    /// An answer: status, the headers that mean something, body.
    pub(super) fn answer(&mut self, name: &str, answer: &Answer) {
        let named = |name: &&str| answer.headers.contains_key(*name);
        let headers = ["allow", "content-type", "retry-after", "www-authenticate"].into_iter().filter(named);
        let headers: Vec<String> = headers.map(|name| format!("{name}: {}", answer.headers[name])).collect();
        let found =
            json!({ "status": answer.status, "headers": headers, "body": self.stable("", answer.body.clone()) });
        self.check(name, &found);
    }

    /// Fails the test with all differences, and with files that nothing was compared to.
    #[track_caller]
    pub(super) fn finish(mut self) {
        for file in fs::read_dir(&self.folder).expect("golden files") {
            let path = file.expect("a file").path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !self.seen.contains(&name) {
                match self.update {
                    true => fs::remove_file(&path).expect("removed"),
                    false => self.differences.push(format!("{name}: nothing is compared to this file")),
                }
            }
        }
        assert!(
            self.differences.is_empty(),
            "the wire differs; UPDATE_GOLDEN=1 accepts it:\n{}",
            self.differences.join("\n")
        );
    }

    fn check(&mut self, name: &str, found: &Value) {
        assert!(self.seen.insert(name.to_owned()), "{name} is compared twice");
        let path = self.folder.join(format!("{name}.json"));
        let found = format!("{}\n", serde_json::to_string_pretty(found).expect("JSON"));
        if self.update {
            fs::create_dir_all(&self.folder).expect("a folder");
            fs::write(&path, &found).expect("written");
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let lines = found
                .lines()
                .filter(|line| !expected.lines().any(|known| known == *line))
                .map(|line| format!("  + {line}"));
            let gone = expected
                .lines()
                .filter(|line| !found.lines().any(|known| known == *line))
                .map(|line| format!("  - {line}"));
            self.differences.push(format!("{name}:\n{}", gone.chain(lines).collect::<Vec<_>>().join("\n")));
        }
    }

    fn header(&self, name: &str, value: &str) -> String {
        match COUNTED_HEADERS.contains(&name) && value != "0" {
            true => format!("{name}: <number>"),
            false => format!("{name}: {}", self.text(value)),
        }
    }

    fn stable(&self, member: &str, value: Value) -> Value {
        match value {
            Value::Number(_) if COUNTED.contains(&member) => json!("<number>"),
            Value::String(_) if COUNTED.contains(&member) => json!("<text>"),
            Value::Number(number) if number.as_i64().is_some_and(|millis| self.is_now(millis)) => {
                json!("<milliseconds>")
            }
            Value::String(text) => json!(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.stable("", item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (name.clone(), self.stable(&name, value))).collect()
            }
            other => other,
        }
    }

    fn text(&self, text: &str) -> String {
        let moment = instant::parse(text).or_else(|| text.parse().ok());
        if moment.is_some_and(|millis| self.is_now(millis)) {
            return "<time>".to_owned();
        }
        const PREFIXES: [(&str, &str); 5] = [
            ("con_", "<connection>"),
            ("lnk_", "<link>"),
            ("ep_", "<endpoint>"),
            ("gwk_", "<api key>"),
            ("key_", "<key>"),
        ];
        PREFIXES.iter().fold(text.to_owned(), |text, (prefix, name)| ids(&text, prefix, name))
    }

    fn is_now(&self, millis: i64) -> bool {
        (self.now - 600_000..self.now + 600_000).contains(&millis)
    }
}

/// The text with every id of this prefix replaced.
fn ids(text: &str, prefix: &str, name: &str) -> String {
    let mut parts = text.split(prefix);
    let mut stable = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..ID).filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            Some(_) => stable.push_str(&format!("{name}{}", &part[ID..])),
            None => stable.push_str(&format!("{prefix}{part}")),
        }
    }
    stable
}
