//! The broker, as the rest of the gateway sees it. The only crate that knows async-nats.
//!
//! [`Broker`] is a connection. [`topology`] says which streams, buckets and consumers exist. [`Publisher`] stores
//! a message and tells which of three outcomes it had. [`consume`] hands messages to a handler that answers
//! [`Verdict::Done`], [`Verdict::Retry`] or [`Verdict::Dead`]. [`Reader`] reads a stream without a trace. [`durable`]
//! makes consumers while the gateway runs, and [`Pull`] reads them. [`job`] is work that survives whoever does it.

mod bucket;
mod connect;
pub mod consume;
pub mod durable;
mod error;
mod follow;
pub mod job;
mod message;
mod payload;
pub mod publish;
mod pull;
mod read;
mod requests;
mod settle;
pub mod topology;
pub mod trace;

pub use bucket::Bucket;
pub use connect::{Broker, Config, Credentials};
pub use consume::Verdict;
pub use error::{Code, Error};
pub use follow::{Follower, Next};
pub use message::{Message, Outgoing, Timer, is_brokers};
pub use payload::Payloads;
pub use publish::{Landing, Mode, PublishError, Publisher, Stored};
pub use pull::Pull;
pub use read::{Reader, Start, batch, count, delete, first_since, get, holds, last, look, next_from, subjects};
pub use settle::{acknowledge, give_back, keep_alive};

/// Under which name the client library logs.
pub const LOG_TARGET: &str = "async_nats";
/// The shipped configuration of a single server.
pub const NATS_CONF: &str = include_str!("../nats.conf");
/// The shipped configuration of a cluster's node.
pub const CLUSTER_CONF: &str = include_str!("../cluster.conf");
