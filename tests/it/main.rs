//! The promises of the gateway, kept on a real JetStream.

mod webhooks;
