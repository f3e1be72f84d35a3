//! Headers are those of a delivery or not; a delivery survives its headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::{Delivery, header, subject};

/// A line is a header; a number in the place of its name stands for one of ours.
fn headers(text: &str) -> header::Headers {
    const OURS: [&str; 14] = [
        header::PROVIDER,
        header::EVENT,
        header::DELIVERY,
        header::ACCOUNT,
        header::RESOURCE,
        header::RECEIVED_AT,
        header::ORIGIN,
        header::ORG,
        header::CONNECTION,
        header::CORRELATION,
        header::SIGNATURE_KEY,
        header::BODY_SHA256,
        header::PAYLOAD_REF,
        header::KEPT_PREFIX,
    ];
    let name = |name: &str| name.parse().ok().and_then(|at: usize| OURS.get(at).copied()).unwrap_or(name).to_owned();
    text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (name(key), value.to_owned())).collect()
}

fuzz_target!(|text: &str| {
    let usual = format!("0:github\n2:d-1\n5:1\n6:live\n11:00\n{text}");
    for text in [text, usual.as_str()] {
        if let Ok(delivery) = Delivery::from_headers(&headers(text)) {
            assert_eq!(Delivery::from_headers(&delivery.headers()).as_ref(), Ok(&delivery));
            assert!(subject::webhook(&delivery).split('.').count() <= 6);
            assert!(subject::parked(&delivery).split('.').count() == 5);
        }
    }
});
