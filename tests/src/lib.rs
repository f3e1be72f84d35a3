//! The harness: a whole gateway, its own broker and database, and what a sender and a subscriber see of it.
//!
//! [`World`] runs the real binary in its own folder on free ports. [`Webhook`] is signed as a provider signs.
//! [`eventually`] waits for a condition. Nothing a world started outlives it.

mod broker;
mod database;
mod eventually;
mod excerpt;
mod process;
mod receiver;
mod webhook;
mod world;

pub use broker::Isolation;
pub use database::Postgres;
pub use eventually::{eventually, eventually_within, never};
pub use excerpt::Excerpt;
pub use process::{Gateway, gw_binary, kill, memory};
pub use receiver::{Receiver, Reply, Seen};
pub use webhook::{Webhook, sign};
pub use world::{Answer, KEY, Link, PREVIOUS, SECRET, Setup, World, connect, nats_server};

/// Says on standard output that a part of the suite cannot run here.
#[expect(clippy::print_stdout, reason = "a skip is for whoever reads the test run")]
pub fn skip(what: &str, why: &str) {
    println!("skipped: {what}: {why}");
}
