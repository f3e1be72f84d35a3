//! Signing secrets as Standard Webhooks has them: `whsec_` and the base64 of 24 to 64 bytes.

use data_encoding::BASE64;
use schemas::{
    ambient::Random,
    fields::{Fault, Fields},
    secret::Secret,
};

const PREFIX: &str = "whsec_";
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A new secret of 32 bytes.
pub(crate) fn new(random: &Random) -> Secret {
    let bytes = [random.bytes(), random.bytes()].concat();
    Secret::new(format!("{PREFIX}{}", BASE64.encode(&bytes)))
}

/// The secret that a body may bring.
pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Secret> {
    const FORM: Fault =
        Fault::Says(std::borrow::Cow::Borrowed("must be whsec_ and the padded base64 of 24 to 64 bytes"));
    let text = fields.optional("secret")?;
    let bytes = text.strip_prefix(PREFIX).and_then(|text| BASE64.decode(text.as_bytes()).ok());
    match bytes.filter(|bytes| BYTES.contains(&bytes.len())) {
        Some(_) => Some(Secret::new(text)),
        None => fields.fault("secret", FORM),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_good(text: &str) -> bool {
        let body = json!({ "secret": text });
        let mut fields = Fields::of(&body).expect("an object");
        read(&mut fields).is_some_and(|secret| secret.expose() == text) && fields.faults.is_empty()
    }

    #[test]
    fn a_secret_is_the_base64_of_twenty_four_to_sixty_four_bytes() {
        let of = |bytes: usize| format!("whsec_{}", BASE64.encode(&vec![7; bytes]));
        assert!(is_good(new(&Random::new(|| 7)).expose()));
        assert!(is_good(&of(24)) && is_good(&of(64)));
        for bad in [of(23), of(65), of(32).replace("whsec_", ""), of(32).replace('=', ""), "whsec_!".to_owned()] {
            assert!(!is_good(&bad), "{bad}");
        }
    }
}
