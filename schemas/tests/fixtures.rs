//! Every payload in `fixtures/<provider>/<event>/<case>.json` becomes exactly the event beside it in
//! `<case>.event.json`. `UPDATE_GOLDEN=1 cargo test -p schemas` writes the expected files anew: the difference is
//! a visible decision.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemas::{
    Provider,
    event_type::event_name,
    provider::{self, Identity, Received},
    significance,
    source_event::Context,
};
use serde_json::{Value, json};

const RECEIVED_AT: i64 = 1_767_225_600_000;

struct Fixture {
    provider: &'static Provider,
    event: String,
    path: PathBuf,
    body: Vec<u8>,
}

impl Fixture {
    fn identity(&self) -> Identity {
        let header = |name: &str| (Some(name) == self.provider.event_header).then_some(self.event.as_str());
        (self.provider.identify)(&Received { header: &header, body: &self.body, body_sha256: "0000" })
    }

    /// All that the gateway reads out of the payload.
    fn result(&self) -> Value {
        let identity = self.identity();
        let payload: Value = serde_json::from_slice(&self.body).expect("a fixture is JSON");
        let event = identity.event.clone().expect("a fixture has an event type");
        let context =
            Context { provider: self.provider.id, delivery: "delivery-1", event: &event, received_at: RECEIVED_AT };
        let key = (self.provider.type_of)(&event, &payload);
        let normalised = (self.provider.normalise)(context, &payload);
        let weight = self.provider.event_type(&key).map(|known| known.weight);
        json!({
            "eventType": event,
            "account": identity.account,
            "resources": identity.resources,
            "type": key.of(self.provider.id),
            "significance": significance::score(weight, normalised.as_ref()),
            "event": normalised,
        })
    }
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut fixtures = Vec::new();
    for provider in provider::ALL {
        for event in sorted(&root.join(provider.id)) {
            for path in sorted(&event) {
                let name = path.file_name().and_then(|name| name.to_str()).expect("a readable name");
                if name.ends_with(".json") && !name.ends_with(".event.json") {
                    let event = event.file_name().and_then(|name| name.to_str()).expect("a readable name").to_owned();
                    let body = fs::read(&path).expect("a readable fixture");
                    fixtures.push(Fixture { provider, event, path, body });
                }
            }
        }
    }
    fixtures
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the suite's own switch")]
fn every_fixture_becomes_its_expected_event() {
    for fixture in fixtures() {
        let result = fixture.result();
        let golden = fixture.path.with_extension("event.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, serde_json::to_string_pretty(&result).unwrap() + "\n").unwrap();
        }
        let expected = fs::read(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert_eq!(result, expected, "{}", fixture.path.display());
    }
}

#[test]
fn every_normalised_event_keeps_the_contract() {
    for fixture in fixtures() {
        let path = fixture.path.display();
        let result = fixture.result();
        let event = &result["event"];
        if event.is_null() {
            continue;
        }
        assert_eq!(
            format!("{}:{}", fixture.provider.id, event["sourceType"].as_str().unwrap()),
            result["type"],
            "{path}"
        );
        let title = event["title"].as_str().unwrap().chars().count();
        assert!((1..=200).contains(&title), "{path}: title of {title}");
        assert!(event["body"].as_str().unwrap().chars().count() <= 10_000, "{path}");
        assert_eq!(event["metadata"]["deliveryId"], "delivery-1", "{path}");
        let text = event.to_string();
        for trace in ["undefined", "[object", "null:", ":null", "//null", "/null"] {
            assert!(!text.contains(&format!("{trace}\"")) || trace.contains(':'), "{path}: holds {trace}");
        }
        assert!(!event["sourceId"].as_str().unwrap().contains("null"), "{path}");
    }
}

#[test]
fn every_registered_type_has_a_fixture_and_every_normalised_event_three() {
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for fixture in fixtures() {
        let result = fixture.result();
        *types.entry(result["type"].as_str().unwrap().to_owned()).or_default() += 1;
        if !result["event"].is_null() {
            *names
                .entry(format!("{} {}", fixture.provider.id, event_name(result["eventType"].as_str().unwrap())))
                .or_default() += 1;
        }
    }
    for provider in provider::ALL {
        for known in provider.event_types {
            let key = match known.action {
                Some(action) => format!("{}:{}.{action}", provider.id, known.entity),
                None => format!("{}:{}", provider.id, known.entity),
            };
            assert!(types.contains_key(&key), "no fixture for {key}");
            let name = format!("{} {}", provider.id, known.category);
            // Vercel names every deployment state an event of its own: they are one event type in several states.
            let enough = if known.category.contains('.') { 1 } else { 3 };
            assert!(names.get(&name).is_some_and(|count| *count >= enough), "fewer than {enough} fixtures for {name}");
        }
    }
}

#[test]
fn two_fixtures_never_share_a_source_id() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for fixture in fixtures() {
        let result = fixture.result();
        if let Some(id) = result["event"]["sourceId"].as_str() {
            let path = fixture.path.display().to_string();
            if let Some(other) = seen.insert(id.to_owned(), path.clone()) {
                panic!("{path} and {other} share {id}");
            }
        }
    }
}

#[test]
fn a_payload_that_lost_any_one_field_or_has_it_null_still_becomes_an_event() {
    for fixture in fixtures() {
        let payload: Value = serde_json::from_slice(&fixture.body).unwrap();
        let event = fixture.identity().event.unwrap();
        let context = Context { provider: fixture.provider.id, delivery: "d", event: &event, received_at: RECEIVED_AT };
        let whole = (fixture.provider.normalise)(context, &payload).is_some();
        for pointer in pointers(&payload, String::new()) {
            for replacement in [Value::Null, json!("text"), json!(7), json!([]), json!({})] {
                let mut damaged = payload.clone();
                *damaged.pointer_mut(&pointer).unwrap() = replacement;
                let event = (fixture.provider.normalise)(context, &damaged);
                (fixture.provider.type_of)(context.event, &damaged);
                if whole && pointer.matches('/').count() > 1 {
                    assert!(event.is_some(), "{}: {pointer}", fixture.path.display());
                }
            }
        }
    }
}

fn pointers(value: &Value, at: String) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().take(2).enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    children
        .into_iter()
        .flat_map(|(name, value)| {
            let here = format!("{at}/{name}");
            std::iter::once(here.clone()).chain(pointers(value, here)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_registry_has_forty_three_types_and_no_key_twice() {
    let mut keys: Vec<String> = provider::ALL
        .iter()
        .flat_map(|provider| {
            provider.event_types.iter().map(|known| format!("{}:{}.{:?}", provider.id, known.entity, known.action))
        })
        .collect();
    assert_eq!(keys.len(), 43);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 43);
}
