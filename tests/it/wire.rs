//! The wire contract, held by golden files: a change to one is a visible decision.

mod answers;
mod described;
mod golden;
mod messages;
