//! The API is as its description says: a fuzzer reads the description and tries it on a running gateway.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Excerpt, KEY, Link, Webhook, World};

const STREAM: &str = "/events/stream";

/// Schemathesis: where `make tools` puts it.
fn fuzzer() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    Some(root.join(".tools/schemathesis/bin/schemathesis")).filter(|file| file.is_file())
}

async fn description(world: &World) -> Value {
    let answer = world.api(Method::GET, "/openapi.json", None).await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_every_route_with_what_it_takes_and_answers() {
    let world = World::start().await;
    let description = description(&world).await;
    assert_eq!(description["openapi"], json!("3.1.0"));
    let text = description.to_string();
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(description["components"]["schemas"][name].is_object(), "{name} is named and not described");
    }
    let passing = &description["components"]["schemas"]["EndpointChange"]["properties"]["previousSecretUntil"];
    assert!(passing.is_object() && passing.get("type").is_none(), "what is passed over may be anything: {passing}");
    for path in [
        "/openapi.json",
        "/webhooks/{provider}",
        "/endpoints/{id}/secret/rotate",
        "/replays",
        "/dead-letters",
        "/keys",
        "/deliveries",
        "/audit",
    ] {
        assert!(description["paths"][path].is_object(), "{path} is not described");
    }
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let place = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{place} has no summary");
            let answers = operation["responses"].as_object().expect("answers");
            assert!(answers.keys().any(|status| status.starts_with('2')), "{place} never succeeds");
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let named = operation["parameters"].as_array().expect("parameters");
                assert!(named.iter().any(|known| known["name"] == name), "{place} does not describe {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_the_description_allows_or_forbids_is_answered_otherwise_than_it_says() {
    let Some(fuzzer) = fuzzer() else {
        return tests::skip("the API's fuzzer", "schemathesis is not installed: `make tools` says why");
    };
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    world.accept(&Webhook::push(42, 1)).await;
    world.events("org_1", 1).await;
    let api = world.api_url().to_owned();
    fuzz(&fuzzer, &world, &api, ["--exclude-path", STREAM]).await;
    // A stream of events does not end by itself: its first bytes are looked at.
    let excerpt = Excerpt::of(&api).await;
    fuzz(&fuzzer, &world, &excerpt.url(), ["--include-path", STREAM]).await;
    assert_eq!(world.get("/healthz").await.status, 200);
}

/// Lets the fuzzer try some of the API.
async fn fuzz(fuzzer: &Path, world: &World, url: &str, paths: [&str; 2]) {
    let report = world.folder().join("fuzzer.txt");
    let mut command = Command::new(fuzzer);
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.toml");
    command
        .args(["--config-file", &settings.display().to_string()])
        .args(["run", &format!("{url}/openapi.json"), "--header", &format!("X-API-Key: {KEY}")])
        .args(paths)
        .args(["--max-examples", "25", "--seed", "1", "--workers", "1"])
        .args(["--no-color", "--request-timeout", "30"])
        .current_dir(world.folder())
        .stdout(std::fs::File::create(&report).expect("a report"));
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("a thread").expect("it runs");
    let said = std::fs::read_to_string(&report).unwrap_or_default();
    assert!(status.success(), "{said}");
}
