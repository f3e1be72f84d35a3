//! Every provider, with every sample it has: signed, posted, and read as the event of the right organisation.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use nats::topology;
use schemas::{
    Provider, event, provider,
    provider::{Identity, Received},
    secret::Secret,
    subject,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Link, PREVIOUS, SECRET, Webhook, World};

/// What the provider reads of its own webhook.
fn identify(provider: &Provider, webhook: &Webhook) -> Identity {
    let body_sha256 = HEXLOWER.encode(&Sha256::digest(&webhook.body));
    (provider.identify)(&Received {
        header: &|name| webhook.header(name),
        body: &webhook.body,
        body_sha256: &body_sha256,
    })
}

/// A sample that was posted, and what must come of it.
struct Posted {
    webhook: Webhook,
    identity: Identity,
    kind: String,
    name: String,
}

fn samples(provider: &'static Provider) -> Vec<Posted> {
    let posted = provider.samples.iter().map(|sample| {
        let webhook = Webhook::of(provider, sample);
        let identity = identify(provider, &webhook);
        let payload: Value = serde_json::from_slice(&webhook.body).expect("JSON");
        let event = identity.event.clone().expect("an event type");
        let kind = (provider.type_of)(&event, &payload).of(provider.id);
        Posted { webhook, identity, kind, name: format!("{} {}/{}", provider.id, sample.event, sample.name) }
    });
    posted.collect()
}

/// One organisation an account. A sample without an account is parked.
async fn link_accounts(world: &mut World, provider: &'static Provider, samples: &[Posted]) -> BTreeMap<String, String> {
    let mut orgs = BTreeMap::new();
    for account in samples.iter().filter_map(|sample| sample.identity.account.clone()) {
        if orgs.contains_key(&account) {
            continue;
        }
        let org = format!("org_{}_{}", provider.id, orgs.len());
        let kind = provider.account_kinds[0];
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
        orgs.insert(account, org);
    }
    orgs
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_of_every_provider_is_the_right_event_of_the_right_organisation() {
    let mut world = World::start().await;
    for provider in provider::ALL {
        let samples = samples(provider);
        let orgs = link_accounts(&mut world, provider, &samples).await;
        assert!(!orgs.is_empty(), "{} has samples of an account", provider.id);
        let mut expected: BTreeMap<&str, Vec<&Posted>> = BTreeMap::new();
        for sample in &samples {
            let answer = world.accept(&sample.webhook).await;
            assert_eq!(answer.body["deliveryId"], json!(sample.identity.delivery), "{}", sample.name);
            match &sample.identity.account {
                Some(account) => expected.entry(&orgs[account]).or_default().push(sample),
                None => drop(world.stored(topology::GW_PARKED, &subject::parked_of(provider.id), 1).await),
            }
        }
        world.settled().await;
        for (org, samples) in expected {
            let events = world.events(org, samples.len()).await;
            assert_eq!(events.len(), samples.len(), "{org}");
            for (event, sample) in events.iter().zip(samples) {
                assert_eq!(event["type"], json!(sample.kind), "{}", sample.name);
                assert_eq!(
                    (&event["orgId"], &event["provider"]),
                    (&json!(org), &json!(provider.id)),
                    "{}",
                    sample.name
                );
                assert_eq!(
                    event["payload"],
                    serde_json::from_slice::<Value>(&sample.webhook.body).expect("JSON"),
                    "{}",
                    sample.name
                );
                let known =
                    provider.event_types.iter().any(|known| format!("{}:{}", provider.id, key(known)) == sample.kind);
                assert!(
                    !known || event["event"]["sourceId"].is_string(),
                    "{}: a registered type is normalised",
                    sample.name
                );
            }
        }
    }
    assert_eq!(world.count(topology::GW_DLQ, subject::DEAD).await, 0);
}

fn key(known: &schemas::event_type::EventType) -> String {
    known.action.map_or_else(|| known.entity.to_owned(), |action| format!("{}.{action}", known.entity))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_refused_and_a_repeated_webhook_is_published_once() {
    let mut world = World::start().await;
    for provider in provider::ALL {
        let samples = samples(provider);
        let sample = samples.iter().find(|sample| sample.identity.account.is_some()).expect("a sample with an account");
        let orgs = link_accounts(&mut world, provider, &samples).await;
        let org = &orgs[sample.identity.account.as_deref().expect("an account")];
        for at in [0, sample.webhook.body.len() / 2, sample.webhook.body.len() - 1] {
            let mut changed = sample.webhook.clone();
            changed.body[at] ^= 1;
            let answer = world.post(&changed).await;
            assert_eq!(answer.status, 401, "{}: byte {at}: {answer:?}", provider.id);
        }
        let accepted = world.accept(&sample.webhook).await;
        for previous in [false, true] {
            let again = if previous { sample.webhook.clone().signed_with(PREVIOUS) } else { sample.webhook.clone() };
            let again = world.post(&again).await;
            assert_eq!((again.status, &again.body["status"]), (200, &json!("duplicate")), "{}: {again:?}", provider.id);
            assert_eq!(again.body["deliveryId"], accepted.body["deliveryId"]);
        }
        world.settled().await;
        let events = world.messages(topology::GW_EVENT, &subject::events_of(Some(org), None, false)).await;
        let delivery = accepted.body["deliveryId"].as_str().expect("an id");
        let id = event::id(provider.id, delivery, org, None);
        assert_eq!((events.len(), events[0].id()), (1, Some(id.as_str())), "{}", provider.id);
    }
    assert_eq!(world.count(topology::GW_WEBHOOK, subject::WEBHOOKS).await, provider::ALL.len() as u64);
}

#[test]
fn nothing_that_can_be_printed_shows_a_secret() {
    let printed = format!("{:?} {:?}", Secret::new(SECRET), Some(vec![Secret::new(PREVIOUS)]));
    assert!(!printed.contains(SECRET) && !printed.contains(PREVIOUS), "{printed}");
    for provider in provider::ALL {
        for sample in samples(provider) {
            let shown = format!("{provider:?} {:?} {:?}", sample.identity, sample.kind);
            assert!(!shown.contains(SECRET), "{}", sample.name);
        }
    }
}
