//! `gw send`: what it sends arrives, and what is refused comes with what to do.

use std::fs;

use schemas::{Provider, provider, provider::Received};
use serde_json::{Value, json};
use tests::{Link, World};

use super::{gw, run};

/// The account that a payload names.
fn account(provider: &Provider, body: &str) -> Option<String> {
    (provider.identify)(&Received { header: &|_| None, body: body.as_bytes(), body_sha256: "" }).account
}

/// An organisation with everything of the samples' accounts, named after the provider.
async fn link_samples(world: &mut World) {
    for provider in provider::ALL {
        let mut accounts: Vec<String> =
            provider.samples.iter().filter_map(|sample| account(provider, sample.body)).collect();
        accounts.sort();
        accounts.dedup();
        for account in accounts {
            let kind = provider.account_kinds[0];
            let org = format!("org_{}", provider.id);
            let link = Link {
                org: &org,
                provider: provider.id,
                account: &account,
                kind,
                target: &account,
                workspace: None,
                events: Some(&["*"]),
            };
            world.link(&link).await;
        }
    }
}

/// A payload of each provider unlike any in the repository, for the account of the first sample; the event type where
/// gw cannot see it; and the type of the event it becomes.
fn unseen(provider: &Provider) -> (Value, Option<&'static str>, &'static str) {
    let account = account(provider, provider.samples[0].body).expect("an account");
    let number: Option<u64> = account.parse().ok();
    match provider.id {
        "github" => {
            let user = json!({ "id": 9, "login": "mona" });
            let body = json!({
                "action": "created",
                "issue": { "id": 5, "number": 1, "title": "t", "user": user, "state": "open" },
                "comment": { "id": 6, "body": "b", "user": user },
                "repository": { "id": 77, "full_name": "o/r" }, "installation": { "id": number }, "sender": user,
            });
            (body, None, "github:issue-comment.created")
        }
        "vercel" => {
            let payload =
                json!({ "team": { "id": account }, "project": { "id": "prj_new" }, "extra": [1, { "a": null }] });
            (
                json!({ "id": "evt_new", "type": "firewall.attack", "createdAt": 1_700_000_000_000_i64, "payload": payload }),
                None,
                "vercel:firewall.attack",
            )
        }
        "linear" => {
            let data = json!({ "id": "c-1", "name": "A customer" });
            let body = json!({ "action": "create", "type": "Customer", "organizationId": account, "webhookTimestamp": 1_700_000_000_000_i64, "data": data });
            (body, None, "linear:customer.created")
        }
        "sentry" => {
            let body = json!({ "action": "started", "installation": { "uuid": account }, "data": { "run_id": 7 }, "actor": { "type": "application" } });
            (body, Some("seer"), "sentry:seer.started")
        }
        other => panic!("{other} needs a payload here"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gw_send_sends_becomes_an_event_for_every_provider() {
    let mut world = World::start().await;
    link_samples(&mut world).await;
    for provider in provider::ALL {
        let accepted = |out: &str| assert!(out.starts_with("200 accepted "), "{out}");
        accepted(&gw(&world, &["send", provider.id]).await.ok());
        // An app's ping, say, names no account, and nobody can claim it.
        let last = provider.samples.iter().rfind(|sample| account(provider, sample.body).is_some()).expect("a sample");
        accepted(&gw(&world, &["send", provider.id, "--event", last.event, "--sample", last.name]).await.ok());
        let (payload, event, _) = unseen(provider);
        let file = world.folder().join(format!("{}.json", provider.id));
        fs::write(&file, serde_json::to_vec_pretty(&payload).expect("JSON")).expect("a file");
        let file = file.display().to_string();
        let mut arguments = vec!["send", provider.id, "--file", &file];
        arguments.extend(event.iter().flat_map(|event| ["--event", *event]));
        accepted(&gw(&world, &arguments).await.ok());
    }
    for provider in provider::ALL {
        let events = world.events(&format!("org_{}", provider.id), 3).await;
        let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert!(types.contains(&unseen(provider).2), "{types:?}");
        assert!(events[0]["event"]["title"].is_string(), "the first sample is normalised: {}", events[0]);
    }
    // The same delivery again is said to be one.
    let twice = gw(&world, &["send", "github", "--delivery", "d-1", "--count", "2"]).await.ok();
    assert!(twice.starts_with("200 accepted d-1\n200 duplicate d-1 (sequence "), "{twice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_send_says_what_to_do_when_it_is_refused() {
    let mut world = World::start().await;
    gw(&world, &["send", "github", "--secret", "a-wrong-secret"])
        .await
        .fails(1, &["401", "GW_GITHUB_WEBHOOK_SECRET", "refused 1 of 1"]);
    let mut bare = world.command(&["send", "linear"]);
    bare.env_remove("GW_LINEAR_WEBHOOK_SECRET");
    run(bare).await.fails(64, &["GW_LINEAR_WEBHOOK_SECRET"]);
    gw(&world, &["send", "github", "--event", "no_such_event"]).await.fails(64, &["--list"]);
    gw(&world, &["send", "sentry", "--delivery", "d-1"]).await.fails(64, &["--delivery"]);
    gw(&world, &["send", "github", "--file", "absent.json"]).await.fails(1, &["absent.json"]);
    for provider in provider::ALL {
        let list = gw(&world, &["send", provider.id, "--list"]).await.ok();
        let named = provider
            .samples
            .iter()
            .all(|sample| list.lines().any(|line| line.contains(sample.event) && line.contains(sample.name)));
        assert!(named && list.lines().count() == provider.samples.len() + 1, "{list}");
    }
    world.stop_gateway();
    gw(&world, &["send", "github"]).await.fails(1, &["does the gateway run"]);
}
