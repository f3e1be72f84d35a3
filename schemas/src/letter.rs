//! Dead letters: what a message of `GW_DLQ` says of itself.

use serde::{Deserialize, Serialize};

use crate::header::{self, Headers};

/// The stage of pushes to endpoints.
pub const ENDPOINT: &str = "endpoint";
/// The stage of routing.
pub const ROUTER: &str = "router";

/// Asks the router to take a dead letter back: the body of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The letter's place in `GW_DLQ`.
    pub sequence: u64,
}

/// The headers of the message that died, without what its death added.
pub fn revive(headers: &mut Headers) {
    const ADDED: [&str; 7] = [
        header::DLQ_REASON,
        header::DLQ_DETAIL,
        header::DLQ_STREAM,
        header::DLQ_SEQUENCE,
        header::DLQ_SUBJECT,
        header::ENDPOINT,
        header::ATTEMPT,
    ];
    headers.retain(|(name, _)| !ADDED.iter().any(|added| added.eq_ignore_ascii_case(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revived_message_has_the_headers_it_died_with() {
        let own = vec![("Gw-Org".to_owned(), "o".to_owned()), ("ce-id".to_owned(), "e".to_owned())];
        let mut headers = own.clone();
        headers.push(("gw-dlq-reason".to_owned(), "exhausted".to_owned()));
        headers.push((header::ENDPOINT.to_owned(), "ep_1".to_owned()));
        revive(&mut headers);
        assert_eq!(headers, own);
    }
}
