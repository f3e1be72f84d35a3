//! Whatever a body holds, every provider says something of the delivery, and always the same.
#![no_main]

use data_encoding::HEXLOWER;
use libfuzzer_sys::fuzz_target;
use schemas::provider::{self, Received};
use sha2::{Digest, Sha256};

/// The first line, and what follows; what begins with a brace is all body, so that recorded payloads are seeds.
fn parts(input: &[u8]) -> (Option<&str>, &[u8]) {
    let line = input.iter().position(|byte| *byte == b'\n').filter(|_| !input.starts_with(b"{"));
    line.map_or((None, input), |at| (std::str::from_utf8(&input[..at]).ok(), &input[at + 1..]))
}

fuzz_target!(|input: &[u8]| {
    let (header, body) = parts(input);
    let body_sha256 = HEXLOWER.encode(&Sha256::digest(body));
    let own = |_: &str| header;
    let received = Received { header: &own, body, body_sha256: &body_sha256 };
    for provider in provider::ALL {
        let identity = (provider.identify)(&received);
        assert_eq!((provider.identify)(&received), identity);
        assert!(!identity.delivery.is_empty());
        assert!(identity.account.as_deref() != Some("") && identity.event.as_deref() != Some(""));
        assert!(identity.resources.iter().all(|resource| !resource.is_empty()));
        let _time = provider.signed_at.and_then(|read| read(body));
    }
});
