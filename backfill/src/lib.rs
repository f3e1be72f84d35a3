//! A provider's history, brought through the same pipe as its webhooks.
//!
//! Nothing of it is here yet: it comes with its own change. Until then no route, setting or subcommand offers a
//! backfill, and a link's `autoSync` is stored and given back, but starts nothing.
