//! Replays: events sent again, or made anew from stored deliveries.
//!
//! A request becomes a command, a command a durable job, and the worker of the job's mode walks through the range:
//! [`redeliver`] here, the other in the router. `wish` reads a request, `start` makes the job, `http` is the API.

mod form;
mod http;
mod redeliver;
mod shown;
mod start;
mod wish;

pub(crate) use http::api;
pub(crate) use redeliver::run;
pub(crate) use start::commands;
