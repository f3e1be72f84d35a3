//! Dead letters: found, read, sent back where they came from, dropped; and nothing dies outside them.

mod advisories;
mod endpoints;
mod router;
