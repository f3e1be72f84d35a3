//! Doors for the fuzz targets: what reads bytes that strangers send.

use bytes::Bytes;
use schemas::{provider::Signature, secret::Secret};

use crate::{internal::Form, verify::Keys};

/// Reads a signature header and verifies a body with it; tells which secret matched.
#[must_use]
pub fn verify(signature: Signature, secret: &str, header: &str, body: &[u8]) -> Option<&'static str> {
    let keys = Keys::new(signature, &Secret::new(secret), None);
    let claimed = keys.claim(|_| Some(header))?;
    keys.verify(&claimed, Bytes::copy_from_slice(body)).map(|verified| verified.key().as_str())
}

/// Reads the internal form of a delivery and gives its payload, or the fields that are wrong.
pub fn internal(body: &[u8]) -> Result<Bytes, Vec<&'static str>> {
    let body = Bytes::copy_from_slice(body);
    let form: Form<'_> = serde_json::from_slice(&body).map_err(|_| Vec::new())?;
    let internal =
        form.check(&body).map_err(|errors| errors.into_iter().map(|(field, _)| field).collect::<Vec<_>>())?;
    Ok(internal.payload)
}
