//! What is sent: a sample made new each time, or a file's bytes as they are.

use std::path::Path;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use schemas::{
    Provider,
    event_type::event_name,
    provider::{Received, Sample},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{Webhook, guess, signed_time};
use crate::{config::SendArgs, error::Error};

/// Signed times older than this are renewed.
const OLD: i64 = 3_600_000;

/// Where webhooks come from.
#[derive(Debug)]
pub(super) enum Source {
    Sample { provider: &'static Provider, sample: &'static Sample },
    File { provider: &'static Provider, event: Option<String>, bytes: Bytes, exact: bool },
}

impl Source {
    pub(super) async fn new(provider: &'static Provider, args: &SendArgs) -> Result<Self, Error> {
        let Some(path) = &args.file else {
            let sample = choose(provider, args.event.as_deref(), args.sample.as_deref())?;
            return Ok(Self::Sample { provider, sample });
        };
        let bytes = read(path).await?;
        let event = event_of(provider, args.event.as_deref(), &bytes)?;
        if !args.exact && is_old(provider, &bytes, crate::output::now()) {
            eprintln!("gw: the signed time in the file has passed and is set to now; --exact keeps it");
        }
        Ok(Self::File { provider, event, bytes, exact: args.exact })
    }

    /// The next webhook.
    pub(super) fn webhook(&self, now: i64, nonce: &str) -> Result<Webhook, Error> {
        match self {
            Self::Sample { provider, sample } => {
                let unreadable = |error| Error::Usage(format!("the sample {} cannot be read: {error}", sample.name));
                let mut payload: Value = serde_json::from_str(sample.body).map_err(unreadable)?;
                (provider.refresh)(&mut payload, now, nonce);
                Ok(Webhook { event: Some(sample.event.to_owned()), body: payload.to_string().into() })
            }
            Self::File { provider, event, bytes, exact } => {
                let body =
                    if *exact || !is_old(provider, bytes, now) { bytes.clone() } else { renew(provider, bytes, now)? };
                Ok(Webhook { event: event.clone(), body })
            }
        }
    }
}

fn is_old(provider: &Provider, bytes: &[u8], now: i64) -> bool {
    provider.signed_at.and_then(|read| read(bytes)).is_some_and(|signed_at| signed_at < now - OLD)
}

fn renew(provider: &Provider, bytes: &Bytes, now: i64) -> Result<Bytes, Error> {
    let renewed = provider.signed_at.and_then(|read| signed_time::renew(bytes, read, now));
    renewed.ok_or_else(|| {
        Error::Usage("the signed time in the file cannot be set to now; --exact sends it as it is".to_owned())
    })
}

async fn read(path: &Path) -> Result<Bytes, Error> {
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    if path.as_os_str() != "-" {
        return tokio::fs::read(path).await.map(Bytes::from).map_err(failed);
    }
    let mut bytes = Vec::new();
    tokio::io::stdin().read_to_end(&mut bytes).await.map_err(failed)?;
    Ok(bytes.into())
}

/// The sample of an event as the provider names it, with or without its action, or as the gateway does.
fn choose(provider: &'static Provider, event: Option<&str>, name: Option<&str>) -> Result<&'static Sample, Error> {
    let fits = |sample: &&Sample| {
        let named = |event: &str| {
            sample.event == event || event_name(sample.event) == event || is_type(provider, sample, event)
        };
        event.is_none_or(named) && name.is_none_or(|name| sample.name == name)
    };
    provider.samples.iter().find(fits).ok_or_else(|| {
        let what = [event, name].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let id = provider.id;
        Error::Usage(format!(
            "there is no sample {what} of {}: `gw send {id} --list` names all, --file sends your own",
            provider.name
        ))
    })
}

fn is_type(provider: &Provider, sample: &Sample, event: &str) -> bool {
    let payload: Value = serde_json::from_str(sample.body).unwrap_or_default();
    let key = (provider.type_of)(sample.event, &payload);
    key.source_type() == event || key.of(provider.id) == event
}

/// The event type of a file: as given, as the payload says, or as it looks.
fn event_of(provider: &Provider, given: Option<&str>, bytes: &Bytes) -> Result<Option<String>, Error> {
    let sha256 = HEXLOWER.encode(&Sha256::digest(bytes));
    let own = (provider.identify)(&Received { header: &|_| None, body: bytes, body_sha256: &sha256 }).event;
    let name = provider.name;
    match (provider.event_header, given, own) {
        (None, Some(given), Some(own)) if own != given && event_name(&own) != given => {
            Err(Error::Usage(format!("the file is {own}: {name} names the event in the payload; leave out --event")))
        }
        (None, Some(_), None) => Err(Error::Usage(format!("the file names no event, and {name} has no header for it"))),
        (_, Some(given), _) => Ok(Some(given.to_owned())),
        (None, None, own) | (Some(_), None, own @ Some(_)) => Ok(own),
        (Some(_), None, None) => {
            let guessed = serde_json::from_slice(bytes).ok().and_then(|payload| guess::event(provider, &payload));
            let event = guessed
                .ok_or_else(|| Error::Usage(format!("{name} names the event in a header: say which with --event")))?;
            eprintln!("gw: the file looks like {event} and is sent as that; --event chooses another");
            Ok(Some(event))
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::provider;

    use super::*;

    #[test]
    fn each_sample_is_found_by_its_event_and_name_and_the_first_without() {
        for provider in provider::ALL {
            assert!(std::ptr::eq(choose(provider, None, None).expect("a sample"), &provider.samples[0]));
            for sample in provider.samples {
                let found = choose(provider, Some(sample.event), Some(sample.name)).expect("a sample");
                assert_eq!((found.event, found.name), (sample.event, sample.name));
                let found = choose(provider, Some(event_name(sample.event)), None).expect("a sample");
                assert_eq!(event_name(found.event), event_name(sample.event));
            }
            let error = choose(provider, Some("no_such_event"), None).expect_err("none");
            assert!(error.to_string().contains("--list"), "{error}");
        }
    }

    #[test]
    fn a_sample_is_also_found_by_its_normalised_type() {
        let sample = choose(provider::ALL[0], Some("pull-request.merged"), None).expect("a sample");
        assert_eq!(sample.name, "merged");
    }

    #[test]
    fn a_sample_is_another_delivery_each_time_and_identified_as_its_event() {
        for provider in provider::ALL {
            for sample in provider.samples.iter().filter(|_| provider.event_header.is_none()) {
                let source = Source::Sample { provider, sample };
                let webhook = source.webhook(1_900_000_000_000, "one").expect("a webhook");
                let found = event_of(provider, None, &webhook.body).expect("an event");
                assert_eq!(found.as_deref(), Some(sample.event));
                assert!(!is_old(provider, &webhook.body, 1_900_000_000_000));
                assert_ne!(webhook.body, source.webhook(1_900_000_000_000, "two").expect("another").body);
            }
        }
    }

    #[test]
    fn an_old_file_gets_a_new_time_and_keeps_all_else() {
        let signing =
            provider::ALL.iter().find(|provider| provider.signed_at.is_some()).expect("a provider that signs a time");
        let bytes = Bytes::from_static(signing.samples[0].body.as_bytes());
        let file = |exact| Source::File { provider: signing, event: None, bytes: bytes.clone(), exact };
        let now = 1_900_000_000_000;
        assert_eq!(file(true).webhook(now, "").expect("a webhook").body, bytes);
        let renewed = file(false).webhook(now, "").expect("a webhook").body;
        assert_eq!(signing.signed_at.and_then(|read| read(&renewed)), Some(now));
        assert_eq!(renewed.len(), bytes.len());
    }

    #[test]
    fn an_event_in_the_payload_cannot_be_overruled() {
        let provider = provider::ALL.iter().find(|provider| provider.event_header.is_none()).expect("such a provider");
        let bytes = Bytes::from_static(provider.samples[0].body.as_bytes());
        assert!(event_of(provider, Some("other"), &bytes).is_err_and(|error| error.to_string().contains("--event")));
    }
}
