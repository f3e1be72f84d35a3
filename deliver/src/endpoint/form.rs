//! The bodies that `fields` reads, for the description of the API.

use std::{borrow::Cow, collections::BTreeMap};

use schemas::endpoint::{EndpointStatus, Format, Pattern};
use serde::Deserialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type,
        schema::{AnyOfBuilder, SchemaType},
    },
};

use super::fields::{PASSING, SEQUENCE_MAX};

/// An endpoint to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewEndpoint)]
#[expect(dead_code, reason = "a body is read field by field, to say everything that is wrong with it")]
pub(super) struct New {
    /// The organisation whose events it gets; the key's own without it.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    org_id: Option<String>,
    /// Where requests go. `https` and a public address, unless the operator allows others.
    #[schema(format = "uri", min_length = 1, max_length = 2_000)]
    url: String,
    /// Which events; all unless said otherwise.
    #[schema(min_items = 1, max_items = 50, value_type = Option<Vec<Pattern>>)]
    events: Option<Vec<String>>,
    /// How an event is written into a request.
    format: Option<Format>,
    /// Sent with each request. `…` keeps the value that is stored.
    #[schema(value_type = Option<Headers>)]
    headers: Option<BTreeMap<String, String>>,
    /// How long a receiver may take.
    #[schema(minimum = 1, maximum = 60)]
    timeout_seconds: Option<u16>,
    /// Pauses between attempts, seconds, each 1 to 604800.
    #[schema(max_items = 20, value_type = Option<Vec<Pause>>)]
    retry_schedule: Option<Vec<u32>>,
    /// Requests at once; 1 while it is ordered.
    #[schema(minimum = 1, maximum = 100)]
    concurrency: Option<u16>,
    /// Requests a second at most.
    #[schema(minimum = 1, maximum = 10_000)]
    rate_per_second: Option<u32>,
    /// One event at a time, in their order.
    ordered: Option<bool>,
    /// Also backfilled and replayed events.
    history: Option<bool>,
    /// Whether it gets requests now.
    status: Option<EndpointStatus>,
    /// Where to start; now unless said otherwise.
    #[schema(value_type = Option<Start>)]
    start: Option<String>,
    /// The signing secret; one is made unless it is given.
    #[schema(value_type = Option<SigningSecret>)]
    secret: Option<String>,
}

/// A rotation of the signing secret.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SecretRotation)]
#[expect(dead_code, reason = "a body is read field by field, to say everything that is wrong with it")]
pub(super) struct Rotation {
    /// For how long the secret before signs as well, older ones no longer; a day unless said otherwise.
    #[schema(minimum = 0, maximum = 2_592_000)]
    grace_seconds: Option<u32>,
    /// The new secret; one is made unless it is given.
    #[schema(value_type = Option<SigningSecret>)]
    secret: Option<String>,
}

/// A change: everything of [`New`] that can be set at any time, and what an answer shows, sent back as it is.
pub(super) enum Change {}

impl PartialSchema for Change {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut change)) = New::schema() else { return New::schema() };
        change.description = Some("What the body does not name stays, and null is the default again.".to_owned());
        change.required.clear();
        for once in ["start", "secret"] {
            change.properties.remove(once);
        }
        for shown in ["id", "createdAt", "statusReason"] {
            let text = ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .description(Some("As it is shown: it cannot be changed."));
            change.properties.insert(shown.to_owned(), text.into());
        }
        for passing in PASSING {
            let time = ObjectBuilder::new()
                .schema_type(SchemaType::AnyValue)
                .description(Some("As it is shown: passed over."));
            change.properties.insert(passing.to_owned(), time.into());
        }
        change.into()
    }
}

impl ToSchema for Change {
    fn name() -> Cow<'static, str> {
        "EndpointChange".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        New::schemas(schemas);
    }
}

/// A pause of a retry schedule.
enum Pause {}

impl PartialSchema for Pause {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(604_800)).into()
    }
}

impl ToSchema for Pause {}

/// Where an endpoint starts.
enum Start {}

impl PartialSchema for Start {
    fn schema() -> RefOr<Schema> {
        let now = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["now"]));
        let time = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A time that is not in the future."));
        let sequence = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(SEQUENCE_MAX))
            .description(Some("A sequence of `GW_EVENT`, at most the one behind the last."));
        AnyOfBuilder::new().item(now).item(time).item(sequence).into()
    }
}

impl ToSchema for Start {}

/// Custom headers.
enum Headers {}

impl PartialSchema for Headers {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        let value = text(r"^(…|[!-~]([\t -~]*[!-~])?)$").min_length(Some(1)).max_length(Some(2_000));
        ObjectBuilder::new()
            .property_names(Some(text("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$").max_length(Some(100))))
            .additional_properties(Some(Schema::from(value)))
            .max_properties(Some(20))
            .into()
    }
}

impl ToSchema for Headers {}

/// A signing secret: `whsec_` and the base64 of 24 to 64 bytes.
enum SigningSecret {}

impl PartialSchema for SigningSecret {
    fn schema() -> RefOr<Schema> {
        let (any, two, four) = ("[A-Za-z0-9+/]", "[AEIMQUYcgkosw048]", "[AQgw]");
        let form = format!(
            "^whsec_({any}{{4}}){{8}}(({any}{{4}}){{0,12}}({any}{{2}}{two}=)?|({any}{{4}}){{0,13}}({any}{four}==)?)$"
        );
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(form)).into()
    }
}

impl ToSchema for SigningSecret {}
