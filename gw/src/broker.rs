//! How a command or the gateway connects to the broker.

use std::path::Path;

use nats::{Broker, Credentials};

use crate::{
    child,
    config::{BrokerArgs, DevEnv},
    error::Error,
};

/// Connects as the settings say, or to the development gateway's broker.
pub(crate) async fn connect(args: &BrokerArgs, data_dir: &Path, name: &str) -> Result<Broker, Error> {
    let dev = DevEnv::load(data_dir);
    let given = args.nats_url.as_ref().map(|url| url.expose().to_owned());
    let url = given.or_else(|| dev.get("NATS_URL").map(str::to_owned)).or_else(|| child::recorded_url(data_dir));
    let url = url.ok_or_else(|| Error::NoBroker { data_dir: data_dir.to_owned() })?;
    Broker::connect(&config(args, url, name)).await.map_err(|error| match error {
        nats::Error::Connect { .. } => Error::BrokerAway(error),
        other => Error::Broker(other),
    })
}

/// A command's connection.
pub(crate) fn config(args: &BrokerArgs, url: String, name: &str) -> nats::Config {
    let credentials = args.nats_creds.clone().map_or(Credentials::Address, Credentials::File);
    nats::Config { url, credentials, name: name.to_owned(), wait: false, server: None }
}
