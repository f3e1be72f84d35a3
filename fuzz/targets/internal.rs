//! The internal form is read, or its wrong fields are named; the payload is a part of the bytes as they came.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match ingest::fuzz::internal(body) {
        Ok(payload) => {
            assert!(payload.starts_with(b"{"));
            assert!(body.windows(payload.len()).any(|part| part == payload));
        }
        Err(fields) => assert!(fields.iter().all(|field| !field.is_empty())),
    }
});
