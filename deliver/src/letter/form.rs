//! The body that names letters, for the description of the API.

use schemas::instant::Moment;
use serde::Deserialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::AnyOfBuilder},
};

/// Letters by their ids, or by what they have in common, or all.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChosenLetters)]
#[expect(dead_code, reason = "a body is read field by field, to say everything that is wrong with it")]
pub(super) struct Chosen {
    /// These letters, and no filter.
    #[schema(max_items = 1_000, value_type = Option<Vec<Number>>)]
    ids: Option<Vec<u64>>,
    /// All, where no filter is given.
    all: Option<bool>,
    /// What gave up.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    stage: Option<String>,
    /// Why.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    reason: Option<String>,
    /// One endpoint's only.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    endpoint_id: Option<String>,
    /// One organisation's only.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    org_id: Option<String>,
    /// Stored at or after this time.
    #[schema(value_type = Option<Moment>)]
    since: Option<String>,
    /// Stored before this time, not before `since`.
    #[schema(value_type = Option<Moment>)]
    until: Option<String>,
    /// The `nextCursor` of the answer before.
    #[schema(pattern = "^[0-9]{1,19}$")]
    cursor: Option<String>,
}

/// A letter's number, or the text of it.
enum Number {}

impl PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(i64::MAX));
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,19}$"));
        AnyOfBuilder::new().item(number).item(text).into()
    }
}

impl ToSchema for Number {
    fn name() -> std::borrow::Cow<'static, str> {
        "LetterNumber".into()
    }
}
