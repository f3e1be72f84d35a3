//! Any text becomes one subject token that reads back; what reads back is what the encoder writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::token::{SubjectToken, decode, key_segment};

fuzz_target!(|text: &str| {
    let token = SubjectToken::new(text);
    let form = |byte: u8| byte.is_ascii_alphanumeric() || b"_-~".contains(&byte);
    assert!((1..=64).contains(&token.as_str().len()) && token.as_str().bytes().all(form));
    if !token.as_str().contains("~h") {
        assert_eq!(decode(token.as_str()).as_deref(), Some(text));
    }
    assert_eq!(key_segment(text), token.as_str().replace('~', "="));
    if let Some(raw) = decode(text) {
        assert_eq!(SubjectToken::new(&raw).as_str(), text);
    }
});
