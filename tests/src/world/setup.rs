//! What a test chooses of its world.

use std::collections::HashMap;

use super::World;

/// How a world differs from the usual.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Environment variables of the gateway; an empty value removes the usual one.
    pub env: HashMap<String, String>,
}

impl Setup {
    /// The usual world.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Starts it.
    pub async fn start(self) -> World {
        World::start_with(self).await
    }

    /// Starts a gateway on a broker that the test runs, one of several perhaps, and does not wait until it is ready.
    #[must_use]
    pub fn start_on(self, nats_url: &str) -> World {
        World::start_on(self, nats_url)
    }
}

/// A link to be made.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    /// The organisation.
    pub org: &'a str,
    /// The provider.
    pub provider: &'a str,
    /// The account at the provider.
    pub account: &'a str,
    /// `repository`, `installation`, …
    pub kind: &'a str,
    /// The id of the account or resource.
    pub target: &'a str,
    /// The workspace.
    pub workspace: Option<&'a str>,
    /// The filter.
    pub events: Option<&'a [&'a str]>,
}

impl<'a> Link<'a> {
    /// A GitHub repository of installation 1 for an organisation.
    #[must_use]
    pub fn repository(org: &'a str, repository: &'a str) -> Self {
        Self {
            org,
            provider: "github",
            account: "1",
            kind: "repository",
            target: repository,
            workspace: None,
            events: None,
        }
    }
}
