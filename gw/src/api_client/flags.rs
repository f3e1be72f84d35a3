//! The commands' flags for the API's fields: what the API says of a field is told of the flag that was typed.

/// Fields whose flag has another name.
const OTHERS: [(&str, &str); 17] = [
    ("orgId", "org"),
    ("endpointId", "endpoint"),
    ("endpointIds", "endpoint"),
    ("fromSequence", "from"),
    ("toSequence", "up-to"),
    ("ratePerSecond", "rate"),
    ("onlyFailed", "only-failed"),
    ("onlyUndelivered", "only-undelivered"),
    ("timeoutSeconds", "timeout"),
    ("retrySchedule", "retry"),
    ("headers", "header"),
    ("graceSeconds", "grace"),
    ("externalId", "account"),
    ("providerResourceId", "resource"),
    ("resourceName", "name"),
    ("workspaceId", "workspace"),
    ("sync.events", "events"),
];
/// Fields whose flag has the same name.
const SAME: [&str; 22] = [
    "all",
    "at",
    "concurrency",
    "cursor",
    "events",
    "format",
    "history",
    "kind",
    "limit",
    "name",
    "ordered",
    "provider",
    "reason",
    "scope",
    "since",
    "stage",
    "start",
    "status",
    "to",
    "type",
    "until",
    "url",
];

/// The flag of a field; the field itself where no flag sets it.
pub(super) fn of(field: &str) -> String {
    let other = OTHERS.iter().find(|(name, _)| *name == field).map(|(_, flag)| *flag);
    let flag = other.or_else(|| SAME.into_iter().find(|name| *name == field));
    // What the flag takes with any unit, the API names in seconds.
    let unit = if field.ends_with("Seconds") || field == "retrySchedule" { " in seconds" } else { "" };
    flag.map_or_else(|| field.to_owned(), |flag| format!("--{flag}{unit}"))
}

/// What is said of a field, with the flags of the fields that it names. Only names that are no words of the language are
/// known for sure.
pub(super) fn within(text: &str) -> String {
    let text = text.replace("\"all\": true", "--all");
    let mut said = String::with_capacity(text.len());
    for part in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let is_name =
            word.bytes().any(|byte| byte.is_ascii_uppercase()) && OTHERS.iter().any(|(name, _)| *name == word);
        said.push_str(&if is_name { part.replacen(word, &of(word), 1) } else { part.to_owned() });
    }
    said
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;
    use crate::cli::Cli;

    fn has(command: &Command, flag: &str) -> bool {
        command.get_arguments().any(|argument| argument.get_long() == Some(flag))
            || command.get_subcommands().any(|command| has(command, flag))
    }

    #[test]
    fn every_flag_that_is_named_is_there() {
        let command = Cli::command();
        for flag in OTHERS.into_iter().map(|(_, flag)| flag).chain(SAME) {
            assert!(has(&command, flag), "--{flag}");
        }
    }

    #[test]
    fn a_field_is_told_as_its_flag_and_what_has_none_as_it_is() {
        assert_eq!((of("toSequence"), of("since"), of("body")), ("--up-to".into(), "--since".into(), "body".into()));
        assert_eq!(of("timeoutSeconds"), "--timeout in seconds");
        for (said, told) in [
            ("must not be before fromSequence", "must not be before --from"),
            ("are required, or a filter, or \"all\": true", "are required, or a filter, or --all"),
            ("give orgId, type; or (endpointIds)", "give --org, type; or (--endpoint)"),
            ("must be later than since, é", "must be later than since, é"),
        ] {
            assert_eq!(within(said), told);
        }
    }
}
