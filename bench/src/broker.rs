//! The two ways to the broker: ours, and the bare client that ours is measured against.

use async_nats::jetstream;
use clap::Args;
use nats::{Broker, Credentials};

use crate::error::Error;

/// Where the broker is.
#[derive(Clone, Debug, Args)]
pub(crate) struct NatsArgs {
    /// `nats://127.0.0.1:4222`.
    #[arg(long = "nats", value_name = "URL")]
    pub(crate) url: String,
}

impl NatsArgs {
    /// A connection as the gateway makes it; it may wait for the server.
    pub(crate) async fn broker(&self) -> Result<Broker, Error> {
        let config = nats::Config {
            url: self.url.clone(),
            credentials: Credentials::Address,
            name: "gw-bench".into(),
            wait: true,
            server: None,
        };
        Ok(Broker::connect(&config).await?)
    }

    /// A connection as anybody would make it.
    pub(crate) async fn bare(&self) -> Result<async_nats::Client, Error> {
        let options = async_nats::ConnectOptions::new().name("gw-bench raw").client_capacity(16 * 1024);
        options.connect(&self.url).await.map_err(Error::client)
    }

    /// JetStream on a connection as anybody would make it.
    pub(crate) async fn bare_jetstream(&self) -> Result<jetstream::Context, Error> {
        Ok(jetstream::new(self.bare().await?))
    }
}
