//! The shared language of the gateway: deliveries, events, subjects, headers, and providers as data.
//!
//! Pure: no I/O, no async, no clock, no randomness.

pub mod ambient;
pub mod attempt;
pub mod caller;
pub mod cause;
pub mod connection;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod event_type;
pub mod fields;
pub mod filter;
pub mod header;
pub mod instant;
pub mod json;
pub mod letter;
pub mod outcome;
pub mod problem;
pub mod provider;
pub mod replay;
pub mod route;
pub mod seal;
pub mod secret;
pub mod significance;
pub mod source_event;
pub mod subject;
pub mod token;

pub use delivery::{Bound, Delivery, Origin};
pub use provider::{Level, Provider};
pub use token::SubjectToken;
