//! What the broker holds of a row: a key in a bucket, and a message that tells subscribers.

use bytes::Bytes;
use nats::Outgoing;
use schemas::{
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

/// The body of a message on `gw.connection.>`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    org_id: &'a str,
    connection_id: &'a str,
    provider: &'a str,
    account: &'a str,
    generation: i64,
    #[serde(flatten)]
    link: Option<ToldLink<'a>>,
    occurred_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldLink<'a> {
    link_id: &'a str,
    kind: &'a str,
    provider_resource_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a str>,
}

/// The message that tells of a change. Told again, it has the same id.
pub(crate) fn message(
    change: &Pending,
    what: What,
    connection: &Connection,
    link: Option<&Link>,
) -> Result<Outgoing, Error> {
    let key = &change.key;
    let told = Told {
        org_id: &connection.org,
        connection_id: &connection.id,
        provider: &connection.provider,
        account: &connection.account,
        generation: connection.generation,
        link: link.map(|link| ToldLink {
            link_id: &link.id,
            kind: &link.kind,
            provider_resource_id: &link.target,
            workspace_id: link.workspace.as_deref(),
        }),
        occurred_at: instant::rfc3339(change.at),
    };
    Ok(Outgoing {
        subject: subject::connection(&connection.org, what.as_str()),
        id: format!("{}:{}:{}", key.kind.as_str(), key.subject, key.version),
        headers: headers(connection),
        payload: encode(&told)?,
        once: false,
        timer: None,
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
