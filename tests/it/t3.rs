//! Faults, lifecycle, topology and permissions.

mod checker;
mod consuming;
mod faults;
mod health;
mod lifecycle;
mod permissions;
mod raw;
mod roles;
mod server;
mod starting;
mod topology;
