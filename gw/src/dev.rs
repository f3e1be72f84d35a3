//! `gw serve --dev`: random secrets and keys kept in the data folder, a demo organisation with links, a guide, and a
//! first event.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::PathBuf, time::Duration};

use schemas::{Level, Provider, ambient::Random, provider, provider::Received, secret::Secret, subject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    api_client::ApiClient,
    config::{ApiArgs, BrokerArgs, DataArgs, DevEnv, ProviderArgs, SendArgs, ServeArgs, TailArgs, secret_variable},
    error::{self, Error},
    output, send, tail,
};

/// The demo organisation.
const ORG: &str = "org_demo";
/// How long the first event may take.
const FIRST: Duration = Duration::from_secs(20);
/// A subscriber needs a moment before what it waits for is sent.
const SUBSCRIBED: Duration = Duration::from_millis(500);

/// A development gateway's choices.
#[derive(Debug)]
pub(crate) struct Dev {
    env: DevEnv,
    data: DataArgs,
    key: Secret,
}

/// Fills what was not given: from `dev.env`, or at random.
pub(crate) fn prepare(args: &mut ServeArgs) -> Result<Dev, Error> {
    let data_dir: PathBuf = args.data.data_dir.clone();
    fs::create_dir_all(&data_dir).map_err(|source| Error::DataDir { path: data_dir.clone(), source })?;
    let mut env = DevEnv::load(&data_dir);
    let random = Random::new(rand::random);
    for provider in provider::ALL {
        let variable = secret_variable(provider.id);
        let kept = env.secret(&variable).unwrap_or_else(|| Secret::new(random.id("whs_")));
        args.providers.default_secret(provider.id, kept);
        if let Some(secret) = args.providers.get(provider.id).secrets.first() {
            env.set(&variable, secret.expose());
        }
    }
    args.api_keys.retain(|key| !key.expose().is_empty());
    if args.api_keys.is_empty() {
        args.api_keys.push(env.secret("GW_API_KEY").unwrap_or_else(|| Secret::new(random.id("gwk_"))));
    }
    let key = args.api_keys[0].clone();
    env.set("GW_API_KEY", key.expose());
    env.set("GW_DEV_ORG", ORG);
    Ok(Dev { env, data: args.data.clone(), key })
}

impl Dev {
    /// Links the demo organisation, prints the guide and sends a first webhook.
    pub(crate) async fn welcome(
        mut self,
        (public, api): (Option<SocketAddr>, Option<SocketAddr>),
        nats_url: String,
        stop: CancellationToken,
    ) {
        let url = |address: Option<SocketAddr>| address.map(|address| format!("http://{address}"));
        self.env.set("NATS_URL", nats_url);
        for (name, url) in [("GW_PUBLIC_URL", url(public)), ("GW_API_URL", url(api))] {
            if let Some(url) = url {
                self.env.set(name, url);
            }
        }
        if let Err(error) = self.env.save(&self.data.data_dir) {
            warn!(%error, "dev.env");
        }
        let demonstration = async {
            if let Err(error) = self.demonstrate().await {
                warn!(error = error::chain(&error), "dev.demo");
            }
        };
        stop.run_until_cancelled(Box::pin(demonstration)).await;
        stop.cancelled().await;
    }

    async fn demonstrate(&self) -> Result<(), Error> {
        self.link_samples().await?;
        output::line(self.guide())?;
        let Some(first) = provider::ALL.first() else { return Ok(()) };
        let send = async {
            tokio::time::sleep(SUBSCRIBED).await;
            send::run(self.send_args(first)).await
        };
        let event = tokio::time::timeout(FIRST, tail::run(self.tail_args()));
        let (sent, seen) = tokio::join!(send, event);
        sent?;
        match seen {
            Ok(seen) => seen,
            Err(_elapsed) => {
                warn!("the first event did not arrive: `gw doctor` says what is wrong");
                Ok(())
            }
        }
    }

    /// The demo organisation gets whatever the samples are about.
    async fn link_samples(&self) -> Result<(), Error> {
        let api = ApiClient::new(&ApiArgs { api_url: None, api_key: Some(self.key.clone()), data: self.data.clone() })?;
        for provider in provider::ALL {
            for account in accounts(provider) {
                let body = json!({ "provider": provider.id, "externalId": account, "orgId": ORG });
                let connection: Value = api.post("/connections", &body).await?;
                let id = connection["id"].as_str().unwrap_or_default().to_owned();
                let kind = provider.account_kinds.iter().find(|kind| provider.level(kind) == Some(Level::Account));
                let link = json!({ "kind": kind, "providerResourceId": account, "resourceName": "demo", "sync": { "events": ["*"] } });
                match api.post::<Value>(&format!("/connections/{id}/resources"), &link).await {
                    Ok(_) | Err(Error::Answer { status: 409, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn guide(&self) -> String {
        let get = |name| self.env.get(name).unwrap_or("-");
        // dev.env holds the whole address; a password in it is not for the screen.
        let nats =
            get("NATS_URL").split(',').map(|url| url.rsplit('@').next().unwrap_or(url).trim_start_matches("nats://"));
        let nats = nats.map(|host| format!("nats://{host}")).collect::<Vec<_>>().join(",");
        let names: Vec<&str> = provider::ALL.iter().map(|provider| provider.id).collect();
        // As it was called, so that the lines can be typed as they stand.
        let gw = std::env::args().next().unwrap_or_else(|| "gw".to_owned());
        format!(
            "\n  Gangway runs. Webhooks come in at {public}/webhooks/{{{names}}}\n\
             \x20 The API is {api}, the broker {nats}\n\
             \x20 Secrets and keys are in {env}; the demo organisation is {ORG}\n\n\
             \x20 In a second shell:\n\
             \x20   {gw} tail             events as they come\n\
             \x20   {gw} send {first}      a sample, signed as the provider signs; --list shows all\n\
             \x20   {gw} trace            what became of the newest delivery\n\
             \x20   {gw} status           streams, lag, routes, rates\n\
             \x20   {gw} endpoint add --org {ORG} --url http://127.0.0.1:9000/hook --events '{first}:*'\n\
             \x20   {gw} link add --org {ORG} --provider {first} --account <id>\n\
             \x20   nats -s {nats} sub '{events}'\n\n\
             \x20 Its first event:\n",
            public = get("GW_PUBLIC_URL"),
            api = get("GW_API_URL"),
            env = DevEnv::path(&self.data.data_dir).display(),
            events = subject::EVENTS,
            names = names.join(","),
            first = names.first().unwrap_or(&"-"),
        )
    }

    fn send_args(&self, provider: &Provider) -> SendArgs {
        SendArgs {
            provider: provider.id.to_owned(),
            event: None,
            sample: None,
            file: None,
            delivery: None,
            count: 1,
            exact: false,
            list: false,
            public_url: None,
            secret: None,
            data: self.data.clone(),
            providers: ProviderArgs::default(),
        }
    }

    fn tail_args(&self) -> TailArgs {
        let broker = BrokerArgs { nats_url: None, nats_creds: None };
        let org = Some(ORG.to_owned());
        TailArgs {
            org,
            provider: None,
            since: None,
            history: false,
            json: false,
            count: Some(1),
            broker,
            data: self.data.clone(),
        }
    }
}

/// The accounts that a provider's samples belong to.
fn accounts(provider: &Provider) -> BTreeSet<String> {
    let account = |body: &str| {
        (provider.identify)(&Received { header: &|_| None, body: body.as_bytes(), body_sha256: "" }).account
    };
    provider.samples.iter().filter_map(|sample| account(sample.body)).collect()
}
