//! What the broker holds of a row: a key in a bucket, and a message that tells subscribers.

use bytes::Bytes;
use nats::Outgoing;
use schemas::{
    connection,
    header::{self, Headers},
    instant,
    route::{ConnectionState, Route},
    subject,
    token::key_segment,
};
use serde::Serialize;

use crate::{
    Vault,
    connection::Connection,
    error::Error,
    link::Link,
    rows::outbox::{Pending, What},
};

/// Brings a route to the bucket, unless the bucket knows something newer.
pub(crate) async fn put_route(vault: &Vault, route: &Route) -> Result<bool, Error> {
    let (key, value) = (route.key(), encode(route)?);
    Ok(match route.active {
        true => vault.routes.put_newer(&key, route.version, value).await?,
        false => vault.routes.put_tombstone(&key, route.version, value).await?,
    })
}

/// Brings a connection to the bucket, unless the bucket knows something newer. What was revoked stays: a key that
/// is not there would say that nothing is known.
pub(crate) async fn put_connection(vault: &Vault, id: &str, state: &ConnectionState) -> Result<bool, Error> {
    Ok(vault.connections.put_newer(&connection_key(id), state.version, encode(state)?).await?)
}

/// The key of a connection in its bucket.
pub(crate) fn connection_key(id: &str) -> String {
    key_segment(id)
}

/// The message that tells of a change. Told again, it has the same id.
pub(crate) fn message(
    change: &Pending,
    what: What,
    connection: &Connection,
    link: Option<&Link>,
) -> Result<Outgoing, Error> {
    let key = &change.key;
    let told = connection::Change {
        org_id: connection.org.clone(),
        connection_id: connection.id.clone(),
        provider: connection.provider.clone(),
        account: connection.account.clone(),
        generation: connection.generation,
        link_id: link.map(|link| link.id.clone()),
        kind: link.map(|link| link.kind.clone()),
        provider_resource_id: link.map(|link| link.target.clone()),
        workspace_id: link.and_then(|link| link.workspace.clone()),
        occurred_at: instant::rfc3339(change.at),
    };
    Ok(Outgoing {
        subject: subject::connection(&connection.org, what.as_str()),
        id: format!("{}:{}:{}", key.kind.as_str(), key.subject, key.version),
        headers: headers(connection),
        payload: encode(&told)?,
        ..Outgoing::default()
    })
}

fn headers(connection: &Connection) -> Headers {
    let pairs = [
        (header::ORG, &connection.org),
        (header::CONNECTION, &connection.id),
        (header::PROVIDER, &connection.provider),
        (header::ACCOUNT, &connection.account),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), header::encode(value))).collect()
}

fn encode(value: &impl Serialize) -> Result<Bytes, Error> {
    Ok(serde_json::to_vec(value).map_err(Error::Encode)?.into())
}
