//! The settings of providers, read from the list of providers: a new one brings its own.

use std::{collections::HashMap, num::NonZeroU32};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::Error};
use schemas::{Provider, provider, secret::Secret};

use super::{ProviderSettings, parse::secret};

const HEADING: &str = "Providers";

/// Settings of all providers, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderArgs {
    settings: HashMap<&'static str, ProviderSettings>,
}

impl ProviderArgs {
    pub(crate) fn get(&self, provider: &str) -> ProviderSettings {
        self.settings.get(provider).cloned().unwrap_or_default()
    }

    /// Gives a provider secrets where it has none.
    pub(crate) fn default_secret(&mut self, provider: &'static str, secret: Secret) {
        let settings = self.settings.entry(provider).or_default();
        if settings.secrets.is_empty() {
            settings.secrets.push(secret);
        }
    }

    /// What ingest is told: only providers with a secret may send.
    pub(crate) fn configured(&self) -> Vec<ingest::ProviderConfig> {
        provider::ALL.iter().filter_map(|provider| configured(provider, self.settings.get(provider.id)?)).collect()
    }
}

fn configured(provider: &'static Provider, settings: &ProviderSettings) -> Option<ingest::ProviderConfig> {
    let mut secrets = settings.secrets.iter().cloned();
    let secret = secrets.next()?;
    Some(ingest::ProviderConfig { provider, secret, previous: secrets.next(), rate_limit: settings.rate_limit })
}

/// The environment variable that holds a provider's secrets.
pub(crate) fn secret_variable(provider: &str) -> String {
    format!("GW_{}_WEBHOOK_SECRET", provider.to_ascii_uppercase())
}

fn secret_flag(provider: &str) -> String {
    format!("{provider}-webhook-secret")
}

fn rate_flag(provider: &str) -> String {
    format!("{provider}-rate-limit")
}

impl Args for ProviderArgs {
    fn augment_args(command: Command) -> Command {
        provider::ALL.iter().fold(command, |command, provider| {
            let secret = Arg::new(secret_flag(provider.id))
                .long(secret_flag(provider.id))
                .env(secret_variable(provider.id))
                .hide_env_values(true)
                .value_name("SECRET[,PREVIOUS]")
                .value_delimiter(',')
                .num_args(1)
                .value_parser(secret)
                .help_heading(HEADING)
                .help(format!(
                    "The secret {} signs with, then maybe the one before; without it the provider is off",
                    provider.name
                ));
            let rate = Arg::new(rate_flag(provider.id))
                .long(rate_flag(provider.id))
                .env(format!("GW_{}_RATE_LIMIT", provider.id.to_ascii_uppercase()))
                .value_name("PER SECOND")
                .value_parser(clap::value_parser!(NonZeroU32))
                .help_heading(HEADING)
                .help(format!("Webhooks a second from {}; beyond it 429", provider.name));
            command.arg(secret).arg(rate)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProviderArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let settings = provider::ALL.iter().map(|provider| {
            let secrets = matches.get_many::<Secret>(&secret_flag(provider.id));
            let rate_limit = matches.get_one::<NonZeroU32>(&rate_flag(provider.id)).copied();
            let secrets = secrets.into_iter().flatten().filter(|secret| !secret.expose().is_empty()).cloned().collect();
            (provider.id, ProviderSettings { secrets, rate_limit })
        });
        Ok(Self { settings: settings.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
