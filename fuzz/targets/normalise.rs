//! Any JSON has a type at every provider, and its normalised event keeps the limits of the contract.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::{provider, significance, source_event::Context};
use serde_json::Value;

/// The first line, and what follows; what begins with a brace is all body, so that recorded payloads are seeds.
fn parts(input: &[u8]) -> (Option<&str>, &[u8]) {
    let line = input.iter().position(|byte| *byte == b'\n').filter(|_| !input.starts_with(b"{"));
    line.map_or((None, input), |at| (std::str::from_utf8(&input[..at]).ok(), &input[at + 1..]))
}

fuzz_target!(|input: &[u8]| {
    let (event, body) = parts(input);
    let Ok(payload) = serde_json::from_slice::<Value>(body) else { return };
    for provider in provider::ALL {
        // The event type as given, and each that the provider has a normaliser for.
        let known = provider.samples.iter().map(|sample| sample.event);
        for event in known.chain([event.unwrap_or_default()]) {
            let key = (provider.type_of)(event, &payload);
            let context = Context { provider: provider.id, delivery: "d", event, received_at: 0 };
            let normalised = (provider.normalise)(context, &payload);
            let weight = provider.event_type(&key).map(|known| known.weight);
            assert!(significance::score(weight, normalised.as_ref()) <= 100);
            if let Some(normalised) = normalised {
                assert!(!normalised.title.is_empty() && !normalised.source_id.is_empty());
                assert!(normalised.references.iter().all(|reference| !reference.id.is_empty()));
                serde_json::to_vec(&normalised).expect("an event is JSON");
            }
        }
    }
});
