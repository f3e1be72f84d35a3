//! Whatever the broker answers is one of three outcomes; stored is only said with a sequence.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    let read = nats::publish::read_ack(answer);
    if let Ok(stored) = read {
        assert!(stored.sequence() > 0, "stored, without a place");
    }
});
