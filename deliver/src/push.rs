//! Pushing events to endpoints.

use tokio_util::sync::CancellationToken;

use crate::{Deps, endpoint::Endpoints};

/// Where requests may go: public addresses over https, and what the operator named.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Networks and hosts allowed beside public addresses, as `GW_ENDPOINT_ALLOW` names them.
    pub allow: Vec<String>,
    /// A development gateway: loopback and plain http are allowed.
    pub dev: bool,
}

/// Pushes until told to stop.
pub(crate) async fn run(_deps: Deps, _endpoints: Endpoints, stop: CancellationToken) {
    stop.cancelled().await;
}
