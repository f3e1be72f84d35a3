use super::*;
use crate::endpoint::{fields::Rotation, rows, wanted::Wanted};

#[tokio::test]
async fn an_endpoint_is_made_with_defaults_and_shows_its_secret_once() {
    on_each(async |house: House| {
        let made = house.create(&anyone(), json!({ "orgId": "org_1", "url": "https://example.com/a" })).await;
        let mut made = made.expect("made");
        let secret = made.as_object_mut().expect("an object").remove("secret").expect("a secret");
        assert!(secret.as_str().is_some_and(|secret| secret.starts_with("whsec_") && secret.len() == 50));
        let id = made["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            made,
            json!({
                "id": id, "orgId": "org_1", "url": "https://example.com/a", "events": ["*"], "format": "envelope",
                "headers": {}, "timeoutSeconds": 15,
                "retrySchedule": [5, 30, 120, 900, 3600, 10800, 21600, 43200, 86400], "concurrency": 4,
                "ratePerSecond": null, "ordered": false, "history": false, "status": "active",
                "createdAt": "2023-11-14T22:13:20.000Z",
            })
        );
        assert_eq!(house.show(&id).await, made);
        let row = rows::get(house.pool(), &id).await.expect("an answer").expect("a row");
        assert_eq!(row.start, crate::endpoint::StartAt::Sequence(LAST + 1), "now is behind the last event");
        let sealed: Vec<(String,)> =
            sqlx::query_as("select secret_sealed from endpoints").fetch_all(house.pool()).await.expect("rows");
        assert!(!sealed[0].0.contains(secret.as_str().expect("a text")));
    })
    .await;
}

#[tokio::test]
async fn everything_wrong_with_an_endpoint_is_said_at_once() {
    on_each(async |house: House| {
        let bad = json!({
            "orgId": "", "url": "http://x", "events": ["nobody:*", 7], "format": "xml", "headers": { "Host": "x" },
            "timeoutSeconds": 61, "retrySchedule": [0], "concurrency": 0, "ratePerSecond": 1.5, "ordered": "yes",
            "history": 1, "status": "on", "secret": "whsec_x", "start": "yesterday", "color": "red",
        });
        let (code, mut fields) = refused(house.create(&anyone(), bad).await);
        fields.sort();
        let mut wanted = [
            "body",
            "concurrency",
            "events",
            "format",
            "headers",
            "history",
            "ordered",
            "orgId",
            "ratePerSecond",
            "retrySchedule",
            "secret",
            "start",
            "status",
            "timeoutSeconds",
            "url",
        ];
        wanted.sort_unstable();
        assert_eq!((code.as_str(), fields), ("invalid_body", wanted.map(str::to_owned).to_vec()));
        let with = |name: &str, value: Value| {
            let mut body = json!({ "orgId": "o", "url": "https://example.com" });
            body[name] = value;
            body
        };
        for (name, value) in [
            ("events", json!([])),
            ("events", json!(vec!["*"; 51])),
            ("retrySchedule", json!(vec![1; 21])),
            ("url", json!(null)),
            ("start", json!("2999-01-01T00:00:00Z")),
            ("start", json!(0)),
            ("start", json!(true)),
        ] {
            assert_eq!(refused(house.create(&anyone(), with(name, value)).await).1, [name]);
        }
        let ordered = json!({ "orgId": "o", "url": "https://example.com", "ordered": true, "concurrency": 2 });
        assert_eq!(refused(house.create(&anyone(), ordered).await).1, ["concurrency"]);
        assert_eq!(
            refused(house.create(&anyone(), json!([])).await),
            ("invalid_body".to_owned(), vec!["body".to_owned()])
        );
    })
    .await;
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_null_is_the_default_again() {
    on_each(async |house: House| {
        let id = house
            .made("org_1", json!({ "concurrency": 9, "timeoutSeconds": 3, "headers": { "Authorization": "Bearer x", "x-team": "a" } }))
            .await;
        let before = house.show(&id).await;
        assert_eq!(before["headers"], json!({ "authorization": "…", "x-team": "…" }));
        assert_eq!(house.change(&id, before.clone()).await.expect("the same"), before, "what is shown may be sent back");
        let told = json!({ "breakerOpenUntil": "then", "previousSecretUntil": "then" });
        assert_eq!(house.change(&id, told).await.expect("the same"), before, "what is shown for a while, too");
        assert_eq!(rows::changes(house.pool()).await.expect("a count"), 1, "no change is none");
        let changed = house.change(&id, json!({ "ordered": true, "timeoutSeconds": null, "headers": { "Authorization": "…" } }));
        let changed = changed.await.expect("changed");
        assert_eq!(
            (&changed["ordered"], &changed["concurrency"], &changed["timeoutSeconds"]),
            (&json!(true), &json!(1), &json!(15))
        );
        let row = rows::get(house.pool(), &id).await.expect("an answer").expect("a row");
        let headers = row.headers(&house.records.sealer).expect("opened");
        assert_eq!(headers.into_iter().collect::<Vec<_>>(), [("authorization".to_owned(), "Bearer x".to_owned())]);
        for (name, value) in [
            ("id", json!("ep_x")), ("orgId", json!("org_2")), ("createdAt", json!("now")), ("start", json!("now")),
            ("secret", json!("whsec_x")), ("url", json!(null)), ("concurrency", json!(2)), ("headers", json!({ "x-new": "…" })),
        ] {
            assert_eq!(refused(house.change(&id, json!({ name: value })).await).1, [name]);
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_admitted_when_is_kept_beyond_the_endpoint() {
    on_each(async |house: House| {
        let id = house.made("org_1", json!({ "events": ["*"] })).await;
        house.change(&id, json!({ "timeoutSeconds": 3 })).await.expect("changed");
        house.change(&id, json!({ "history": true })).await.expect("changed");
        house.records.delete(&anyone(), &id).await.expect("deleted");
        let all = "[\"*\"]".to_owned();
        assert_eq!(house.admitted(&id).await, [(1, all.clone(), 0), (3, all, 1), (4, "[]".to_owned(), 1)]);
        assert_eq!(refused(house.change(&id, json!({})).await).0, "not_found");
        assert!(matches!(house.records.delete(&anyone(), &id).await, Err(Error::NotFound)));
        let left: (Option<String>, Option<String>) =
            sqlx::query_as("select secret_sealed, headers_sealed from endpoints")
                .fetch_one(house.pool())
                .await
                .expect("a row");
        assert_eq!(left, (None, None));
    })
    .await;
}

#[tokio::test]
async fn an_organisation_sees_and_makes_only_its_own() {
    on_each(async |house: House| {
        let (own, other) = (narrowed("org_1"), narrowed("org_2"));
        let id = house.made("org_1", json!({})).await;
        assert!(house.records.show(&own, &id).await.is_ok());
        assert!(matches!(house.records.show(&other, &id).await, Err(Error::NotFound)));
        assert!(matches!(house.records.change(&other, &id, &json!({})).await, Err(Error::NotFound)));
        assert!(matches!(house.records.delete(&other, &id).await, Err(Error::NotFound)));
        let rotation = Rotation::read(&json!({})).expect("a rotation");
        assert!(matches!(house.records.rotate(&other, &id, &rotation).await, Err(Error::NotFound)));
        let url = json!({ "url": "https://example.com" });
        assert_eq!(house.create(&other, url.clone()).await.expect("made")["orgId"], "org_2");
        assert_eq!(refused(house.create(&anyone(), url).await).1, ["orgId"]);
        let foreign = json!({ "url": "https://example.com", "orgId": "org_1" });
        assert_eq!(refused(house.create(&other, foreign).await).0, "other_organisation");
        let wanted = |query: Value| Wanted::read(&query).expect("parameters");
        assert_eq!(house.records.list(&other, wanted(json!({}))).await.expect("a page").0.len(), 1);
        let foreign = house.records.list(&other, wanted(json!({ "orgId": "org_1" }))).await;
        assert!(matches!(foreign, Err(Error::NotFound)));
        assert_eq!(house.records.list(&anyone(), wanted(json!({}))).await.expect("a page").0.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap() {
    on_each(async |house: House| {
        for at in 0..7 {
            let status = if at % 2 == 0 { "active" } else { "paused" };
            house.made("org_1", json!({ "status": status })).await;
            house.pass(at % 3);
        }
        for (status, count) in [("", 7), ("active", 4), ("paused", 3), ("disabled", 0)] {
            let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
            loop {
                let query = json!({ "status": status, "limit": "2", "cursor": cursor });
                let query = query.as_object().expect("an object").iter().filter(|(_, value)| *value != "");
                let query = Value::Object(query.map(|(name, value)| (name.clone(), value.clone())).collect());
                let wanted = Wanted::read(&query).expect("parameters");
                let (page, next) = house.records.list(&anyone(), wanted).await.expect("a page");
                for shown in page {
                    let shown = serde_json::to_value(shown).expect("JSON");
                    assert!(seen.insert(shown["id"].as_str().expect("an id").to_owned()), "each is seen once");
                }
                let Some(next) = next else { break };
                cursor = next;
            }
            assert_eq!(seen.len(), count, "{status}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_many_who_make_endpoints_at_once_none_exceeds_the_limit() {
    on_each(async |house: House| {
        for _ in 0..95 {
            house.made("org_1", json!({})).await;
        }
        let body = json!({ "orgId": "org_1", "url": "https://example.com" });
        let caller = anyone();
        let tries = (0..20).map(|_| house.create(&caller, body.clone()));
        let tried = futures_util::future::join_all(tries).await;
        assert_eq!(tried.iter().filter(|tried| tried.is_ok()).count(), 5);
        let codes = tried.into_iter().filter_map(Result::err).map(|error| error.problem().code);
        assert!(codes.into_iter().all(|code| code == "too_many_endpoints"));
        house.made("org_2", json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn changes_that_meet_are_all_kept() {
    on_each(async |house: House| {
        let id = house.made("org_1", json!({})).await;
        let bodies = [
            json!({ "timeoutSeconds": 7 }),
            json!({ "concurrency": 7 }),
            json!({ "ratePerSecond": 7 }),
            json!({ "retrySchedule": [7] }),
            json!({ "format": "cloudevents" }),
            json!({ "status": "paused" }),
        ];
        let changes = bodies.iter().map(|body| house.change(&id, body.clone()));
        for changed in futures_util::future::join_all(changes).await {
            changed.expect("changed");
        }
        let shown = house.show(&id).await;
        for body in bodies {
            for (name, value) in body.as_object().expect("an object") {
                assert_eq!(&shown[name], value, "{name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_disabled_endpoint_says_why_until_somebody_activates_it() {
    on_each(async |house: House| {
        let id = house.made("org_1", json!({})).await;
        let endpoints = &house.records.endpoints;
        assert!(endpoints.disable(&id, 1, "it answered 410 Gone").await.expect("disabled"));
        assert!(endpoints.disable(&id, 1, "again").await.expect("an answer"), "it is disabled already");
        assert!(!endpoints.disable("ep_none", 1, "again").await.expect("an answer"));
        let shown = house.show(&id).await;
        assert_eq!((&shown["status"], &shown["statusReason"]), (&json!("disabled"), &json!("it answered 410 Gone")));
        assert!(house.change(&id, shown).await.is_ok());
        let active = house.change(&id, json!({ "status": "active" })).await.expect("changed");
        assert_eq!((&active["status"], active.get("statusReason")), (&json!("active"), None));
        assert!(!endpoints.disable(&id, 1, "late").await.expect("an answer"), "it has changed since");
    })
    .await;
}
