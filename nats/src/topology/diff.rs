//! The difference between a stream as it is and as it should be.

use std::{fmt, time::Duration};

use async_nats::jetstream::{
    consumer,
    stream::{Compression, Config},
};

use super::StreamSpec;
use crate::error::Error;

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The setting, as the nats CLI names it.
    pub what: &'static str,
    /// As it is.
    pub from: String,
    /// As it should be.
    pub to: String,
    /// Whether the change drops stored messages.
    pub shrinks: bool,
}

/// What is to be done for one stream.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stream as it should be.
    pub spec: StreamSpec,
    /// Whether it is not there at all.
    pub missing: bool,
    /// What differs where it is there.
    pub differences: Vec<Difference>,
    /// Consumers to be made or changed.
    pub consumers: Vec<consumer::pull::Config>,
}

impl Plan {
    pub(super) fn new(spec: StreamSpec, found: Option<Config>, consumers: Vec<consumer::pull::Config>) -> Self {
        let differences = found.as_ref().map(|found| differences(found, &spec.config)).unwrap_or_default();
        Self { missing: found.is_none(), spec, differences, consumers }
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.missing && self.differences.is_empty() && self.consumers.is_empty()
    }

    pub(super) fn shrinks(&self) -> Option<Error> {
        let difference = self.differences.iter().find(|difference| difference.shrinks)?;
        Some(Error::Shrinks {
            stream: self.spec.config.name.clone(),
            what: difference.what,
            from: difference.from.clone(),
            to: difference.to.clone(),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.spec.config.name;
        if self.is_empty() {
            return write!(f, "  {name}");
        }
        write!(f, "{} {name}", if self.missing { '+' } else { '~' })?;
        for difference in &self.differences {
            write!(f, "\n    {}: {} -> {}", difference.what, difference.from, difference.to)?;
        }
        for consumer in &self.consumers {
            write!(f, "\n    + consumer {}", consumer.durable_name.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// A limit of -1 or 0 is none at all.
fn limit(value: i64) -> i64 {
    if value <= 0 { i64::MAX } else { value }
}

fn age(value: Duration) -> Duration {
    if value.is_zero() { Duration::MAX } else { value }
}

fn differences(found: &Config, wanted: &Config) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut compare = |what, from: String, to: String, shrinks| {
        if from != to {
            list.push(Difference { what, from, to, shrinks });
        }
    };
    let compression = |config: &Config| format!("{:?}", config.compression.clone().unwrap_or(Compression::None));
    compare("max_age", show_age(found.max_age), show_age(wanted.max_age), age(wanted.max_age) < age(found.max_age));
    compare(
        "max_bytes",
        show(found.max_bytes),
        show(wanted.max_bytes),
        limit(wanted.max_bytes) < limit(found.max_bytes),
    );
    compare(
        "max_msgs_per_subject",
        show(found.max_messages_per_subject),
        show(wanted.max_messages_per_subject),
        limit(wanted.max_messages_per_subject) < limit(found.max_messages_per_subject),
    );
    compare(
        "max_msgs",
        show(found.max_messages),
        show(wanted.max_messages),
        limit(wanted.max_messages) < limit(found.max_messages),
    );
    compare("max_msg_size", show(found.max_message_size.into()), show(wanted.max_message_size.into()), false);
    compare("no_ack", found.no_ack.to_string(), wanted.no_ack.to_string(), false);
    compare("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention), false);
    compare("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage), false);
    compare(
        "subject_transform",
        format!("{:?}", found.subject_transform),
        format!("{:?}", wanted.subject_transform),
        false,
    );
    compare("republish", format!("{:?}", found.republish), format!("{:?}", wanted.republish), false);
    compare("subjects", found.subjects.join(" "), wanted.subjects.join(" "), false);
    compare(
        "description",
        found.description.clone().unwrap_or_default(),
        wanted.description.clone().unwrap_or_default(),
        false,
    );
    compare("replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string(), false);
    compare("discard", format!("{:?}", found.discard), format!("{:?}", wanted.discard), false);
    compare("compression", compression(found), compression(wanted), false);
    compare("duplicate_window", show_age(found.duplicate_window), show_age(wanted.duplicate_window), false);
    compare("max_consumers", found.max_consumers.to_string(), wanted.max_consumers.to_string(), false);
    compare("allow_atomic", found.allow_atomic_publish.to_string(), wanted.allow_atomic_publish.to_string(), false);
    compare("allow_batched", found.allow_batch_publish.to_string(), wanted.allow_batch_publish.to_string(), false);
    compare("allow_direct", found.allow_direct.to_string(), wanted.allow_direct.to_string(), false);
    compare("allow_rollup", found.allow_rollup.to_string(), wanted.allow_rollup.to_string(), false);
    compare("allow_msg_ttl", found.allow_message_ttl.to_string(), wanted.allow_message_ttl.to_string(), false);
    compare("deny_delete", found.deny_delete.to_string(), wanted.deny_delete.to_string(), false);
    list
}

fn show(value: i64) -> String {
    if value <= 0 { "unlimited".to_owned() } else { value.to_string() }
}

fn show_age(value: Duration) -> String {
    if value.is_zero() { "unlimited".to_owned() } else { format!("{}s", value.as_secs()) }
}

pub(super) fn same_consumer(found: &consumer::Config, wanted: &consumer::pull::Config) -> bool {
    found.filter_subject == wanted.filter_subject
        && found.ack_wait == wanted.ack_wait
        && found.max_deliver == wanted.max_deliver
        && found.max_ack_pending == wanted.max_ack_pending
        && found.description == wanted.description
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(found: Config) -> Plan {
        let wanted = Config { name: "S".into(), max_age: Duration::from_secs(60), max_bytes: 100, ..Config::default() };
        Plan::new(StreamSpec { config: wanted, consumers: Vec::new() }, Some(found), Vec::new())
    }

    #[test]
    fn a_shorter_age_or_a_smaller_size_shrinks_and_the_reverse_does_not() {
        let same = Config { name: "S".into(), max_age: Duration::from_secs(60), max_bytes: 100, ..Config::default() };
        assert!(plan(same.clone()).is_empty());
        for (found, shrinks) in [
            (Config { max_age: Duration::ZERO, ..same.clone() }, true),
            (Config { max_age: Duration::from_secs(61), ..same.clone() }, true),
            (Config { max_age: Duration::from_secs(59), ..same.clone() }, false),
            (Config { max_bytes: -1, ..same.clone() }, true),
            (Config { max_bytes: 99, ..same }, false),
        ] {
            let plan = plan(found);
            assert!(!plan.is_empty());
            assert_eq!(plan.shrinks().is_some(), shrinks, "{plan}");
        }
    }
}
