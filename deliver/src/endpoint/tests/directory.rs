use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::endpoint::{Directory, fields::Rotation, watch::Keeper};

impl House {
    /// Keeps the directory until the guard is dropped.
    fn keep(&self) -> (Receiver<Directory>, tokio_util::sync::DropGuard) {
        let stop = CancellationToken::new();
        let known = self.records.endpoints.watch();
        let keeper = Keeper::new(self.records.endpoints.clone(), self.records.sealer.clone());
        tokio::spawn(keeper.run(stop.clone()));
        (known, stop.drop_guard())
    }

    async fn rotate(&self, id: &str, body: Value) -> Value {
        let rotation = Rotation::read(&body).expect("a rotation");
        let rotated = self.records.rotate(&anyone(), id, &rotation).await.expect("rotated");
        serde_json::to_value(rotated).expect("JSON")
    }
}

/// The directory as soon as it is like this.
async fn until(known: &mut Receiver<Directory>, is: impl Fn(&Directory) -> bool) -> Directory {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), known.wait_for(|known| is(known))).await;
    waited.expect("the directory follows").expect("a directory").clone()
}

fn secrets(known: &Directory, id: &str) -> Vec<String> {
    known.get(id).map(|live| live.secrets.iter().map(|secret| secret.expose().to_owned()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn the_directory_follows_changes_made_here_and_elsewhere() {
    on_each(async |house: House| {
        let (mut known, _guard) = house.keep();
        known.changed().await.expect("the first look is a change, though there is nothing");
        let id = house.made("org_1", json!({ "headers": { "authorization": "Bearer x" } })).await;
        let directory = until(&mut known, |known| known.len() == 1).await;
        assert_eq!(directory[&id].endpoint.headers["authorization"], "Bearer x");
        // Another process has other endpoints of the same rows: nothing tells this one but the rows.
        let elsewhere = House {
            records: Records {
                endpoints: Endpoints::new(house.records.endpoints.db.clone(), house.records.endpoints.clock.clone()),
                ..house.records.clone()
            },
            ..house.clone()
        };
        elsewhere.change(&id, json!({ "timeoutSeconds": 2 })).await.expect("changed");
        until(&mut known, |known| known[&id].endpoint.timeout_seconds == 2).await;
        elsewhere.records.delete(&anyone(), &id).await.expect("deleted");
        until(&mut known, |known| known.is_empty()).await;
    })
    .await;
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_until_the_grace_ends() {
    on_each(async |house: House| {
        let (mut known, _guard) = house.keep();
        let id = house.made("org_1", json!({ "secret": format!("whsec_{}", BASE64.encode(&[1; 24])) })).await;
        let first = secrets(&until(&mut known, |known| known.len() == 1).await, &id);
        let rotated = house.rotate(&id, json!({ "graceSeconds": 60 })).await;
        assert_eq!(rotated["previousSecretUntil"], "2023-11-14T22:14:20.000Z");
        assert_eq!(house.show(&id).await["previousSecretUntil"], rotated["previousSecretUntil"]);
        let both = [rotated["secret"].as_str().expect("a secret").to_owned(), first[0].clone()];
        until(&mut known, |known| secrets(known, &id) == both).await;
        house.pass(60_000);
        until(&mut known, |known| secrets(known, &id) == both[..1]).await;
        let at_once = house.rotate(&id, json!({ "graceSeconds": 0 })).await;
        until(&mut known, |known| secrets(known, &id) == [at_once["secret"].as_str().expect("a secret")]).await;
        let same = Rotation::read(&json!({ "secret": at_once["secret"] })).expect("a rotation");
        assert!(matches!(house.records.rotate(&anyone(), &id, &same).await, Err(Error::Invalid(_))));
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_whose_key_is_lost_waits_and_says_so_until_it_gets_new_secrets() {
    on_each(async |house: House| {
        let id = house.made("org_1", json!({ "headers": { "x-team": "a" } })).await;
        let house = house.with_key("k2");
        let (mut known, _guard) = house.keep();
        let directory = until(&mut known, |known| known.len() == 1).await;
        assert_eq!(directory[&id].endpoint.status, schemas::endpoint::EndpointStatus::Paused);
        assert!(directory[&id].secrets.is_empty());
        let shown = house.show(&id).await;
        assert_eq!(shown["status"], "active");
        assert!(
            shown["statusReason"]
                .as_str()
                .is_some_and(|reason| reason.contains("k1") && reason.contains("GW_ENDPOINT_KEY"))
        );
        house.rotate(&id, json!({})).await;
        house.change(&id, json!({ "headers": null })).await.expect("changed");
        let directory = until(&mut known, |known| !known[&id].secrets.is_empty()).await;
        assert_eq!(directory[&id].secrets.len(), 1, "what cannot be opened signs no more");
        assert_eq!(house.show(&id).await.get("statusReason"), None);
    })
    .await;
}

#[tokio::test]
async fn what_is_known_goes_on_while_the_database_is_away() {
    on_each(async |house: House| {
        let (mut known, _guard) = house.keep();
        house.made("org_1", json!({})).await;
        until(&mut known, |known| known.len() == 1).await;
        let rename = async |from: &str, to: &str| {
            let sql = format!("alter table {from} rename to {to}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(house.pool()).await.expect("renamed");
        };
        rename("endpoints", "elsewhere").await;
        // It may be told of the same once more.
        let forgotten = known.wait_for(|known| known.len() != 1);
        let forgotten = tokio::time::timeout(std::time::Duration::from_millis(1_500), forgotten).await.is_ok();
        assert!(!forgotten);
        rename("elsewhere", "endpoints").await;
        house.made("org_1", json!({})).await;
        until(&mut known, |known| known.len() == 2).await;
    })
    .await;
}
