//! The rules of the house, read from its manifests and sources as text: who may import what, who writes which table,
//! where names and literals may stand.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

mod documents;

/// The crates of the product.
const CRATES: [&str; 11] =
    ["schemas", "nats", "store", "web", "ingest", "router", "deliver", "ledger", "vault", "backfill", "gw"];
/// Those of them that do not know one provider from another.
const SERVICES: [&str; 7] = ["nats", "ingest", "router", "deliver", "ledger", "vault", "backfill"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file under a folder, by its path in the repository.
fn rust(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("a file of the repository").display().to_string();
                let text = fs::read_to_string(&path).expect("a source");
                found.push((name, text));
            }
        }
    }
    found
}

/// What of a crate is built into the product: no tests.
fn product(name: &str) -> Vec<(String, String)> {
    let files = rust(&format!("{name}/src")).into_iter().filter(|(path, _)| {
        !path.contains("/tests/") && !path.ends_with("/tests.rs") && !path.ends_with("/testing.rs")
    });
    let files: Vec<_> = files
        .map(|(path, text)| (path, text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()))
        .collect();
    assert!(!files.is_empty(), "{name} has no sources");
    files
}

/// The lines of a file that are no comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Everything that a crate's manifest depends on, for the product or for its tests.
fn dependencies(name: &str) -> BTreeSet<String> {
    let mut wanted = false;
    let mut names = BTreeSet::new();
    for line in text(&format!("{name}/Cargo.toml")).lines() {
        if let Some(section) = line.strip_prefix('[') {
            wanted = section.trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| wanted) {
            names.insert(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn imports_go_from_the_plug_board_to_the_services_to_the_broker_to_the_language() {
    #[track_caller]
    fn check(name: &str, may: &[&str]) {
        let ours = dependencies(name).into_iter().filter(|dependency| CRATES.contains(&dependency.as_str()));
        let wrong: Vec<String> = ours.filter(|dependency| !may.contains(&dependency.as_str())).collect();
        none(&format!("{name} may not import"), &wrong);
    }
    check("schemas", &[]);
    check("nats", &["schemas"]);
    check("store", &[]);
    check("web", &["schemas"]);
    check("ingest", &["nats", "web", "schemas"]);
    for service in ["router", "backfill"] {
        check(service, &["nats", "schemas"]);
    }
    for service in ["deliver", "ledger", "vault"] {
        check(service, &["nats", "store", "web", "schemas"]);
    }
    check("gw", &["ingest", "router", "deliver", "ledger", "vault", "backfill", "nats", "store", "web", "schemas"]);
    check("tests", &["nats", "schemas"]);
}

#[test]
fn a_library_is_named_only_by_the_crates_that_own_its_subject() {
    #[track_caller]
    fn check(library: &str, owners: &[&str]) {
        for name in CRATES.into_iter().chain(["tests", "bench"]).filter(|name| !owners.contains(name)) {
            assert!(!dependencies(name).contains(library), "{name} depends on {library}");
            let word = library.replace('-', "_");
            for (path, text) in rust(&format!("{name}/src")) {
                let line = code(&text).find(|(_, line)| words(line).any(|found| found == word));
                assert!(line.is_none(), "{path} names {library}: {line:?}");
            }
        }
    }
    check("async-nats", &["nats", "bench"]);
    check("aes-gcm", &["vault"]);
    check("sqlx", &["store", "deliver", "ledger", "vault", "gw"]);
    check("axum", &["web", "ingest", "deliver", "ledger", "vault", "gw", "bench"]);
    check("clap", &["gw", "bench"]);
}

#[test]
fn the_language_is_pure() {
    for library in ["tokio", "futures-util", "rand", "reqwest", "tracing"] {
        assert!(!dependencies("schemas").contains(library), "schemas depends on {library}");
    }
    for (path, text) in product("schemas") {
        for effect in ["std::fs", "std::net", "std::thread", "SystemTime::now", "Instant::now", "async fn"] {
            assert!(!text.contains(effect), "{path}: {effect}");
        }
    }
}

#[test]
fn a_table_has_one_writer() {
    let owners = [
        ("connections", "vault"),
        ("links", "vault"),
        ("outbox", "vault"),
        ("endpoints", "deliver"),
        ("endpoint_versions", "deliver"),
        ("api_keys", "vault"),
        ("deliveries", "ledger"),
        ("events", "ledger"),
        ("outcomes", "ledger"),
        ("admitted", "ledger"),
        ("filtered", "ledger"),
        ("pushes", "ledger"),
        ("attempts", "ledger"),
        ("letters", "ledger"),
        ("ledger_positions", "ledger"),
        ("ledger_lease", "ledger"),
        ("ledger_totals", "ledger"),
        ("ledger_sealed", "ledger"),
        ("ledger_endpoints", "ledger"),
    ];
    let mut tables = BTreeSet::new();
    for file in fs::read_dir(root().join("migrations")).expect("migrations") {
        let sql = fs::read_to_string(file.expect("a file").path()).expect("SQL").to_lowercase();
        tables.extend(sql.split("create table ").skip(1).map(|rest| words(rest).next().unwrap_or_default().to_owned()));
    }
    assert_eq!(
        tables,
        owners.iter().map(|(table, _)| (*table).to_owned()).collect(),
        "each table of the migrations has an owner here"
    );
    for name in CRATES {
        for (path, text) in product(name) {
            let sql = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
            for (table, owner) in owners.iter().filter(|(_, owner)| *owner != name) {
                let writes = ["insert into", "update", "delete from", "alter table", "drop table"];
                let write = writes.into_iter().find(|verb| {
                    sql.contains(&format!("{verb} {table} ")) || sql.contains(&format!("{verb} {table}\""))
                });
                assert!(write.is_none(), "{path}: {write:?} {table}, which is written by {owner}");
            }
        }
    }
}

#[test]
fn no_service_knows_a_provider_by_name() {
    let ids: Vec<&str> = schemas::provider::ALL.iter().map(|provider| provider.id).collect();
    assert!(ids.len() >= 4);
    let mut found = Vec::new();
    for (path, text) in SERVICES.into_iter().flat_map(product) {
        let text = text.to_lowercase();
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| words(line).flat_map(|word| word.split('_')).any(|word| ids.contains(&word)));
        found.extend(lines.map(|(at, line)| format!("{path}:{}: {line}", at + 1)));
    }
    none("a provider is data in schemas/src/provider, and is named nowhere else", &found);
}

#[test]
fn a_mechanism_is_matched_in_one_file_of_whoever_performs_it() {
    let matches = |name: &str| {
        product(name)
            .into_iter()
            .filter(|(_, text)| text.contains("Signature::Hmac"))
            .map(|(path, _)| path)
            .collect::<Vec<_>>()
    };
    assert_eq!(matches("ingest"), ["ingest/src/verify.rs"]);
    assert_eq!(matches("gw"), ["gw/src/send/sign.rs"]);
    for name in ["nats", "router", "vault", "backfill"] {
        assert!(matches(name).is_empty(), "{name} has nothing to do with signatures");
    }
}

#[test]
fn the_environment_is_read_where_the_settings_are() {
    // `dev.rs` asks how gw was called, `child.rs` takes PATH apart; neither reads a variable.
    let may = [
        ("gw/src/config.rs", ""),
        ("gw/src/dev.rs", "std::env::args()"),
        ("gw/src/child.rs", "std::env::split_paths("),
    ];
    let mut found = Vec::new();
    for (path, text) in CRATES.into_iter().flat_map(product) {
        let reads = |line: &&str| line.contains("std::env") || line.contains("env::var");
        let allowed = |line: &&str| may.iter().any(|(file, what)| *file == path && line.contains(what));
        found.extend(
            code(&text)
                .filter(|(_, line)| reads(line) && !allowed(line))
                .map(|(at, line)| format!("{path}:{at}: {line}")),
        );
    }
    none("a setting is a flag and a variable in gw/src/config.rs", &found);
}

#[test]
fn a_subject_is_written_in_one_file() {
    const FIRST: [&str; 14] = [
        "webhook",
        "event",
        "history",
        "parked",
        "outcome",
        "retry",
        "attempt",
        "backfill",
        "teardown",
        "replay",
        "job",
        "connection",
        "dlq",
        "probe",
    ];
    let mut found = Vec::new();
    for (path, text) in CRATES.into_iter().flat_map(product).filter(|(path, _)| path != "schemas/src/subject.rs") {
        for (at, line) in code(&text) {
            let subject = |rest: &str| {
                FIRST.iter().any(|first| rest.strip_prefix(first).is_some_and(|rest| rest.starts_with(['.', '"'])))
            };
            if line.split("gw.").skip(1).any(subject) {
                found.push(format!("{path}:{at}: {line}"));
            }
        }
    }
    none("a subject literal belongs into schemas/src/subject.rs", &found);
}

#[test]
fn a_file_is_short_and_finished() {
    let unfinished =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("un", "safe ")];
    let mut found = Vec::new();
    for name in CRATES.into_iter().chain(["tests", "bench", "fuzz"]) {
        for (path, text) in rust(name).into_iter().filter(|(path, _)| !path.contains("/target/")) {
            let lines = text.lines().count();
            if lines > 400 {
                found.push(format!("{path} has {lines} lines, more than 400"));
            }
            let marks = code(&text).filter(|(_, line)| unfinished.iter().any(|mark| line.contains(mark)));
            found.extend(marks.map(|(at, line)| format!("{path}:{at}: {line}")));
        }
    }
    none("split it, finish it, or do without", &found);
}

#[test]
fn every_crate_says_what_it_is_and_takes_the_lints_of_the_house() {
    for name in CRATES.into_iter().chain(["tests", "bench"]) {
        let manifest = text(&format!("{name}/Cargo.toml"));
        let description = manifest.lines().find_map(|line| line.strip_prefix("description = ")).unwrap_or_default();
        assert!(description.split(' ').count() > 2, "{name}: {description}");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own");
    }
}

#[test]
fn there_is_one_tls_stack() {
    let lock = text("Cargo.lock");
    let count = |name: &str| lock.lines().filter(|line| *line == format!("name = \"{name}\"")).count();
    for strange in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "boring"] {
        assert_eq!(count(strange), 0, "{strange} is in Cargo.lock");
    }
    assert_eq!((count("rustls"), count("ring")), (1, 1));
}

#[test]
fn both_shipped_brokers_sync_each_write() {
    for (name, conf) in [("nats.conf", nats::NATS_CONF), ("cluster.conf", nats::CLUSTER_CONF)] {
        assert!(conf.lines().any(|line| line.trim() == "sync_interval: always"), "{name}");
    }
}

#[test]
fn the_container_is_built_from_every_crate_and_runs_every_role() {
    let (ignored, compose) = (text(".dockerignore"), text("compose.yaml"));
    for member in CRATES.iter().chain(&["tests", "bench", "migrations"]) {
        assert!(ignored.lines().any(|line| line == format!("!{member}")), ".dockerignore leaves {member} out");
    }
    for role in ["ingest", "router", "deliver", "ledger", "vault"] {
        assert!(compose.contains(&format!("command: [serve, --role, {role}]")), "compose.yaml runs no {role}");
    }
}
