//! Any text survives the encoding of header values, and cannot end a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::header::{decode, encode};

fuzz_target!(|text: &str| {
    let encoded = encode(text);
    assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert_eq!(encoded.trim(), encoded);
    assert_eq!(decode(&encoded), text);
    // A stranger's value is read somehow.
    let _read = decode(text);
});
