//! Tolerant look-ups in a provider's JSON: whatever is absent, null or of another type reads as absent.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

static NULL: Value = Value::Null;

/// The value at a dotted path, or null. A number is an index into an array.
#[must_use]
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| match value {
        Value::Object(map) => map.get(name).unwrap_or(&NULL),
        Value::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)).unwrap_or(&NULL),
        _ => &NULL,
    })
}

/// The non-empty string at a path.
#[must_use]
pub fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path).as_str().filter(|text| !text.is_empty())
}

/// The id at a path: a non-empty string, or a whole number in decimal. Zero is an id.
#[must_use]
pub fn id(value: &Value, path: &str) -> Option<String> {
    as_id(at(value, path))
}

/// The value as an id, see [`id`].
#[must_use]
pub fn as_id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The elements of the array at a path; none where it is no array.
pub fn items<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    at(value, path).as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// Whether the value at a path is `true`.
#[must_use]
pub fn truth(value: &Value, path: &str) -> bool {
    at(value, path).as_bool().unwrap_or(false)
}

/// The object in a body as `T`; none where it is no JSON or no object. With [`RawValue`] fields, it reads the few
/// that matter in one pass, without building the rest.
#[must_use]
pub fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    // A derived `T` would also take an array, field by field.
    body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten()
}

/// An unread value as `T`, see [`object`].
#[must_use]
pub fn raw_object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    object(raw?.get().as_bytes())
}

/// The id of an unread object, see [`id`]. It is read no further than that: what follows is known to be JSON.
#[must_use]
pub fn raw_id_of(object: Option<&RawValue>) -> Option<String> {
    let mut id = None;
    // It fails where the object was left before its end, and where it is none.
    let _left = serde_json::Deserializer::from_str(object?.get()).deserialize_map(FindId(&mut id)).is_err();
    id
}

struct FindId<'a>(&'a mut Option<String>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Id,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for FindId<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(field) = object.next_key()? {
            match field {
                Field::Id => {
                    *self.0 = raw_id(Some(object.next_value()?));
                    return Ok(());
                }
                Field::Other => object.next_value::<IgnoredAny>()?,
            };
        }
        Ok(())
    }
}

/// An unread value as an id, see [`id`].
#[must_use]
pub fn raw_id(raw: Option<&RawValue>) -> Option<String> {
    let raw = raw?.get();
    if raw.starts_with(['{', '[']) {
        return None;
    }
    as_id(&serde_json::from_str(raw).ok()?)
}
