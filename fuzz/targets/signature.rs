//! No header verifies but the right one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::provider;

fuzz_target!(|input: (&str, &[u8])| {
    let (header, body) = input;
    for provider in provider::ALL {
        // Nobody guesses the digest, and the fuzzer does not know the secret.
        assert_eq!(ingest::fuzz::verify(provider.signature, "a secret of the fuzz target", header, body), None);
    }
});
