//! The edge: webhooks and internal deliveries in, limits, and the wire contract.

mod internal;
mod limits;
mod webhooks;
mod wire;
