//! The promises of the gateway, kept on a real JetStream.

mod architecture;
mod checker;
mod cli;
mod consuming;
mod faults;
mod filters;
mod health;
mod internal;
mod lifecycle;
mod limits;
mod links;
mod outbox;
mod parking;
mod permissions;
mod postgres;
mod providers;
mod raw;
mod releases;
mod roles;
mod routing;
mod server;
mod starting;
mod topology;
mod traffic;
mod webhooks;
mod wire;
