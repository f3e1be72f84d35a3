//! Cheap reading of a body that is never built as a whole: a struct of raw fields takes one pass and no copy, and a
//! field of an unexpected type is simply absent.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::json;

/// The struct a body holds, if the body is a JSON object.
pub(super) fn body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    // A derived struct would also be read from an array, by position.
    body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten()
}

/// The struct of a field, if the field is a JSON object.
pub(super) fn object<'a, T: Deserialize<'a>>(field: Option<&'a RawValue>) -> Option<T> {
    let text = field?.get();
    text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// The elements of a field; none if it is no array.
pub(super) fn items(field: Option<&RawValue>) -> Vec<&RawValue> {
    let list = field.map(RawValue::get).filter(|text| text.starts_with('['));
    list.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The scalar of a field; null if it is an array, an object or absent.
pub(super) fn scalar(field: Option<&RawValue>) -> Value {
    let text = field.map(RawValue::get).filter(|text| !text.starts_with(['{', '[']));
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The id of a field, see [`json::id`].
pub(super) fn id(field: Option<&RawValue>) -> Option<String> {
    json::as_id(&scalar(field))
}

/// The non-empty string of a field.
pub(super) fn text(field: Option<&RawValue>) -> Option<String> {
    match scalar(field) {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}
