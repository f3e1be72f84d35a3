//! The documents are true: the settings they list are those there are, and what they point to is there.

use std::{collections::BTreeSet, fs, process::Command};

use tests::gw_binary;

use super::{CRATES, root, rust, text, words};

/// The settings that the help of a command names.
fn settings(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(gw_binary()).args(arguments).arg("--help").env_clear().output().expect("gw runs");
    assert!(output.status.success(), "{arguments:?}");
    let help = String::from_utf8(output.stdout).expect("text");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    help.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_example_of_settings_names_each_setting_and_no_other() {
    let commands: [&[&str]; 19] = [
        &["serve"],
        &["send"],
        &["tail"],
        &["status"],
        &["doctor"],
        &["migrate"],
        &["topology"],
        &["link"],
        &["endpoint"],
        &["key"],
        &["routes"],
        &["trace"],
        &["deliveries"],
        &["audit"],
        &["ledger"],
        &["replay"],
        &["dlq"],
        &["schema"],
        &["completions"],
    ];
    let wanted: BTreeSet<String> = commands.into_iter().flat_map(settings).collect();
    assert!(
        wanted.contains("GW_API_KEYS") && wanted.contains("RUST_LOG") && wanted.contains("GW_SEND_SECRET"),
        "{wanted:?}"
    );
    let example = text(".env.example");
    let names =
        example.lines().filter_map(|line| line.trim_start_matches('#').trim().split_once('=')).map(|(name, _)| name);
    let variable = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let listed: BTreeSet<String> = names.filter(variable).map(str::to_owned).collect();
    assert_eq!(listed, wanted);
}

#[test]
fn what_a_document_points_to_is_there() {
    let mut documents: Vec<String> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).into();
    let decisions = fs::read_dir(root().join("docs/decisions")).expect("decisions");
    documents.extend(decisions.map(|file| format!("docs/decisions/{}", file.expect("a file").file_name().display())));
    assert!(documents.len() > 10, "{documents:?}");
    let sources: String = CRATES.into_iter().chain(["tests"]).flat_map(rust).map(|(_, text)| text).collect();
    for document in documents {
        let markdown = text(&document);
        let folder = root().join(&document).parent().expect("a folder").to_owned();
        for link in markdown.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let there = link.is_empty() || link.starts_with("http") || folder.join(link).exists();
            assert!(there, "{document} points to {link}");
        }
        // A test or metric that a document names is written in backquotes, as the code has it.
        for name in markdown
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.matches('_').count() > 3 && words(name).count() == 1)
        {
            let metric =
                name.starts_with("gw_") && sources.contains(&format!("\"{}\"", name.trim_end_matches("_total")));
            assert!(
                metric || sources.contains(&format!("fn {name}(")),
                "{document} names {name}, a test or metric that is not there"
            );
        }
    }
}
