//! The description of the subjects holds for every message of the golden files.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// A file of the repository, as JSON.
fn read(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).expect("a file")).expect("JSON")
}

fn said_by(arguments: &[&str]) -> Value {
    let output = Command::new(tests::gw_binary()).args(arguments).output().expect("gw runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Whether a subject is one of an address, `gw.event.{org}.…`.
fn is_at(subject: &str, address: &str) -> bool {
    let (said, found): (Vec<&str>, Vec<&str>) = (address.split('.').collect(), subject.split('.').collect());
    said.len() == found.len() && said.iter().zip(&found).all(|(said, found)| said.starts_with('{') || said == found)
}

/// Fails where a name that must be there is not, or one is there that nobody described.
fn holds(what: &str, schema: &Value, names: &[&str]) {
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(names.iter().any(|name| name.eq_ignore_ascii_case(required)), "{what} has no {required}");
    }
    let patterns: Vec<&str> =
        schema["patternProperties"].as_object().into_iter().flatten().map(|(name, _)| &name[1..]).collect();
    for name in names {
        let known = schema["properties"].get(name).is_some() || patterns.iter().any(|prefix| name.starts_with(prefix));
        assert!(known, "{what} has {name}, which is not described");
    }
}

#[test]
fn every_message_is_as_the_description_of_its_subject_says() {
    let description = said_by(&["schema", "asyncapi"]);
    let channels = description["channels"].as_object().expect("channels");
    let mut compared = 0;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/messages")).expect("golden files") {
        let path = file.expect("a file").path();
        let (name, golden) = (path.display().to_string(), read(&path));
        let subject = golden["subject"].as_str().expect("a subject");
        if subject.starts_with("$KV.") {
            continue;
        }
        let here = |(_, channel): &(&String, &Value)| is_at(subject, channel["address"].as_str().expect("an address"));
        let (kind, _) = channels.iter().find(here).unwrap_or_else(|| panic!("{name}: {subject} is not described"));
        let message = &description["components"]["messages"][kind];
        let headers: Vec<&str> =
            golden["headers"].as_array().expect("headers").iter().filter_map(Value::as_str).collect();
        let headers = headers.iter().filter_map(|header| header.split_once(": ").map(|(name, _)| name));
        // What was expected of the stream is between its writer and the server.
        let headers: Vec<&str> = headers.filter(|name| !name.starts_with("Nats-Expected-")).collect();
        holds(&name, &message["headers"], &headers);
        if let Some(body) = message["payload"]["$ref"].as_str() {
            let schema = description.pointer(&body[1..]).expect("a schema");
            let members: Vec<&str> =
                golden["body"].as_object().expect("an object").keys().map(String::as_str).collect();
            holds(&name, schema, &members);
        }
        compared += 1;
    }
    assert!(compared > 15, "{compared} messages");
}
