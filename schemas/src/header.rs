//! The names of our message headers, and the encoding of their values.

use data_encoding::HEXLOWER_PERMISSIVE;

/// The provider's id, `github`.
pub const PROVIDER: &str = "Gw-Provider";
/// The provider's event type as sent, `Issue:create`. Absent where the provider sent none.
pub const EVENT: &str = "Gw-Event";
/// The delivery id.
pub const DELIVERY: &str = "Gw-Delivery";
/// The account the delivery names.
pub const ACCOUNT: &str = "Gw-Account";
/// A resource the delivery names; repeated.
pub const RESOURCE: &str = "Gw-Resource";
/// When the gateway received the delivery, milliseconds since the epoch.
pub const RECEIVED_AT: &str = "Gw-Received-At";
/// How the delivery came in, see [`crate::Origin`].
pub const ORIGIN: &str = "Gw-Origin";
/// The organisation an event or an internal delivery belongs to.
pub const ORG: &str = "Gw-Org";
/// The connection a delivery is bound to.
pub const CONNECTION: &str = "Gw-Connection";
/// A link that admitted the delivery, on its event; repeated, see [`crate::outcome::MOST_LINKS`].
pub const LINK: &str = "Gw-Link";
/// The backfill run a delivery belongs to.
pub const RUN: &str = "Gw-Run";
/// The correlation id of the request that brought the delivery.
pub const CORRELATION: &str = "Gw-Correlation";
/// Which secret matched: `current` or `previous`.
pub const SIGNATURE_KEY: &str = "Gw-Signature-Key";
/// SHA-256 of the received bytes, lower-case hex.
pub const BODY_SHA256: &str = "Gw-Body-Sha256";
/// Name of the object that holds the body, where the message does not.
pub const PAYLOAD_REF: &str = "Gw-Payload-Ref";
/// Prefix of the provider headers that were kept.
pub const KEPT_PREFIX: &str = "Gw-H-";
/// Place of the delivery in `GW_WEBHOOK`, on what was derived from it.
pub const SEQUENCE: &str = "Gw-Sequence";
/// Why a message is a dead letter.
pub const DLQ_REASON: &str = "Gw-Dlq-Reason";
/// What the failing stage said, for a person.
pub const DLQ_DETAIL: &str = "Gw-Dlq-Detail";
/// The stream a dead letter came from.
pub const DLQ_STREAM: &str = "Gw-Dlq-Stream";
/// The sequence a dead letter had there.
pub const DLQ_SEQUENCE: &str = "Gw-Dlq-Sequence";
/// The subject a dead letter had there.
pub const DLQ_SUBJECT: &str = "Gw-Dlq-Subject";
/// The endpoint a dead letter was for.
pub const ENDPOINT: &str = "Gw-Endpoint";
/// The attempts that were made.
pub const ATTEMPT: &str = "Gw-Attempt";
/// On a timer: how often in a row the receiver refused the push for good.
pub const REFUSALS: &str = "Gw-Refusals";
/// The replay a message belongs to.
pub const REPLAY: &str = "Gw-Replay";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// An ordered list of header names and raw values; names may repeat.
pub type Headers = Vec<(String, String)>;

/// First value of a header, name compared without case.
#[must_use]
pub fn first<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Percent-encodes what is not printable ASCII, and `%` itself, so that a value can neither end a header nor
/// be read two ways.
#[must_use]
pub fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    // A parser may trim the blanks at either end.
    if encoded.starts_with(' ') {
        encoded.replace_range(..1, "%20");
    }
    if encoded.ends_with(' ') {
        encoded.replace_range(encoded.len() - 1.., "%20");
    }
    encoded
}

/// Reads an encoded value; what is not an escape stays as it is.
#[must_use]
pub fn decode(value: &str) -> String {
    if !value.contains('%') {
        return value.to_owned();
    }
    let bytes = value.as_bytes();
    let mut raw = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok()) {
            Some(byte) => {
                raw.extend(byte);
                at += 3;
            }
            None => {
                raw.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&raw).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_break_cannot_end_a_header() {
        assert_eq!(encode("a\r\nNats-TTL: 1s"), "a%0D%0ANats-TTL: 1s");
        assert_eq!(encode(" é% "), "%20%C3%A9%25%20");
    }

    #[test]
    fn only_two_hex_digits_make_an_escape() {
        assert_eq!(decode("%2b%2B%+5%"), "++%+5%");
    }

    proptest! {
        #[test]
        fn every_value_reads_back(raw in any::<String>()) {
            let encoded = encode(&raw);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(decode(&encoded), raw);
        }
    }
}
