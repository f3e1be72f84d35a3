//! Whose signature counts, and how little is said where it does not.

use nats::topology;
use schemas::{Provider, header, provider};
use serde_json::{Value, json};
use tests::{PREVIOUS, SECRET, Webhook, World, sign};

use super::marks;

const BODY: &str = r#"{"a":1}"#;

/// A webhook of a provider whose body nobody sent before.
fn fresh(provider: &Provider) -> Webhook {
    let event = provider.samples[0].event;
    Webhook::new(provider.id, event, json!({ "nonce": format!("{:032x}", rand()), "a": 1 }).to_string())
}

fn rand() -> u128 {
    u128::from_str_radix(&Webhook::push(1, 1).delivery(), 16).expect("a hex number")
}

fn signed(webhook: Webhook, provider: &Provider, value: &str) -> Webhook {
    webhook.with(provider.signature.header(), value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_counts_in_every_form_and_by_both_secrets() {
    let mut world = World::start().await;
    for provider in provider::ALL {
        let forms: [fn(&str) -> String; 3] = [
            str::to_owned,
            |value| value.rsplit('=').next().unwrap_or_default().to_owned(),
            |value| match value.split_once('=') {
                Some((prefix, hex)) => format!("{prefix}={}", hex.to_uppercase()),
                None => value.to_uppercase(),
            },
        ];
        for (secret, slot) in [(SECRET, "current"), (PREVIOUS, "previous")] {
            for form in forms {
                let webhook = fresh(provider);
                let value = form(&sign(provider, secret, &webhook.body));
                world.accept(&signed(webhook.clone(), provider, &value)).await;
                let stored = world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await;
                let stored = stored.last().expect("a message");
                assert_eq!(stored.payload, webhook.body);
                assert_eq!(stored.header(header::SIGNATURE_KEY), Some(slot), "{} {value}", provider.id);
            }
        }
    }
}

/// Signature values of this body that no provider would send.
fn wrong(provider: &Provider) -> Vec<Option<String>> {
    let right = sign(provider, SECRET, BODY.as_bytes());
    let (prefix, hex) = right.split_at(right.find('=').map_or(0, |at| at + 1));
    let flipped = hex.chars().next_back().map(|last| if last == '0' { '1' } else { '0' }).expect("a digit");
    let other =
        provider::ALL.iter().find(|other| sign(other, SECRET, b"").trim_start_matches("sha256=").len() != hex.len());
    let other = sign(other.expect("another algorithm"), SECRET, BODY.as_bytes());
    let strange = [
        sign(provider, "another secret", BODY.as_bytes()),
        sign(provider, "", BODY.as_bytes()),
        sign(provider, &format!("{SECRET},{PREVIOUS}"), BODY.as_bytes()),
        sign(provider, SECRET, b"{\"a\":1} "),
        sign(provider, SECRET, b"{\"a\":2}"),
        sign(provider, SECRET, b""),
        format!("{prefix}{}", &hex[..hex.len() - 1]),
        format!("{prefix}{}", &hex[..hex.len() - 2]),
        format!("{prefix}{hex}00"),
        format!("{prefix}{}{flipped}", &hex[..hex.len() - 1]),
        format!("{prefix}{}zz", &hex[..hex.len() - 2]),
        format!("sha1={hex}"),
        format!("sha512={hex}"),
        format!("{hex}{hex}"),
        "0".repeat(hex.len()),
        prefix.to_owned(),
        "sha256=".to_owned(),
        String::new(),
        other,
    ];
    strange.into_iter().map(Some).chain([None]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_is_refused_without_a_reason_and_leaves_only_a_counter() {
    let mut world = World::start().await;
    let before = marks(&mut world).await;
    for provider in provider::ALL {
        let wrong = wrong(provider);
        let event = provider.samples[0].event;
        for value in &wrong {
            let webhook = Webhook::new(provider.id, event, BODY).without(provider.signature.header());
            let webhook = value.iter().fold(webhook, |webhook, value| signed(webhook, provider, value));
            let answer = world.post(&webhook).await;
            let bare = json!({ "type": "about:blank", "title": "Signature missing or wrong", "status": 401, "code": "invalid_signature" });
            assert_eq!((answer.status, &answer.body), (401, &bare), "{} {value:?}", provider.id);
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
        let metric = format!(r#"gw_ingest_rejected_total{{provider="{}",reason="invalid_signature"}}"#, provider.id);
        assert_eq!(world.metric(&metric).await, wrong.len() as f64, "{}", provider.id);
    }
    assert_eq!(marks(&mut world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_one_provider_does_not_open_another() {
    let world = tests::Setup::new()
        .with("GW_LINEAR_WEBHOOK_SECRET", "linears-own")
        .with("GW_SENTRY_WEBHOOK_SECRET", "sentrys-own")
        .start()
        .await;
    for (provider, secret, status) in [
        ("linear", SECRET, 401),
        ("linear", "sentrys-own", 401),
        ("linear", "linears-own", 200),
        ("sentry", "linears-own", 401),
        ("sentry", "sentrys-own", 200),
    ] {
        let known = provider::find(provider).expect("a provider");
        let answer = world.post(&fresh(known).signed_with(secret)).await;
        assert_eq!(answer.status, status, "{provider} {secret}: {:?}", answer.body);
        assert!(answer.body["deliveryId"].is_string() || answer.body["detail"] == Value::Null);
    }
}
