//! What the API tells of breakers: they stand in the metadata of the endpoints' consumers.

use futures_util::{StreamExt, stream};
use nats::{
    Broker,
    topology::{self, GW_EVENT},
};
use schemas::{cause::Chain, endpoint};
use tracing::debug;

use super::shown::Shown;

/// Consumers asked at once.
const AT_ONCE: usize = 32;

/// Says of each endpoint whether it is left alone. Where the broker does not tell, nothing is said.
pub(super) async fn told(broker: &Broker, endpoints: Vec<Shown>) -> Vec<Shown> {
    let told = stream::iter(endpoints).map(|shown| async move {
        let until = if shown.is_active() { left_alone_until(broker, shown.id()).await } else { None };
        shown.with_breaker(until)
    });
    told.buffered(AT_ONCE).collect().await
}

async fn left_alone_until(broker: &Broker, id: &str) -> Option<i64> {
    match topology::find_consumer(broker, GW_EVENT, id).await {
        Ok(info) => endpoint::left_alone_until(info?.config.metadata.get(endpoint::BREAKER)?),
        Err(error) => {
            debug!(error = %Chain(&error), endpoint = id, "endpoint.breaker_unknown");
            None
        }
    }
}
