//! The description of the API: made from the routes that run here, at `/openapi.json`.

use axum::{Json, Router, routing::get};
use utoipa::{
    OpenApi as _,
    openapi::{
        InfoBuilder, LicenseBuilder, OpenApi, PathItem, RefOr, Schema, Type,
        schema::SchemaType,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

/// Routes that need no key.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/openapi.json"];

/// The route of the description.
pub(crate) fn route(description: OpenApi) -> Router {
    let description = Json(complete(description.merge_from(Itself::openapi())));
    Router::new().route("/openapi.json", get(|| std::future::ready(description)))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(itself))]
struct Itself;

/// What this API takes and answers.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value))
)]
#[expect(dead_code, reason = "the answer is made once, of all routes")]
fn itself() {}

/// Says whose API it is, and which keys it takes.
fn complete(mut api: OpenApi) -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    api.info = InfoBuilder::new()
        .title("Gangway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Webhooks in, durable events out. Errors are RFC 9457 problems with a stable `code`."))
        .license(Some(license))
        .build();
    let components = api.components.get_or_insert_default();
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    components.add_security_scheme("key", key);
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.add_security_scheme("bearer", bearer);
    let none: [&str; 0] = [];
    api.security = Some(vec![SecurityRequirement::new("key", none), SecurityRequirement::new("bearer", none)]);
    api.paths.paths.values_mut().for_each(without_null);
    for (_, item) in api.paths.paths.iter_mut().filter(|(path, _)| OPEN.contains(&path.as_str())) {
        if let Some(operation) = &mut item.get {
            operation.security = Some(Vec::new());
        }
    }
    api
}

/// A parameter that may be left out is described as one that may be null, which no query can say.
fn without_null(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    let parameters = operations.into_iter().flatten().filter_map(|operation| operation.parameters.as_mut()).flatten();
    for schema in parameters.filter_map(|parameter| parameter.schema.as_mut()) {
        let known = match schema {
            RefOr::T(Schema::OneOf(either)) => either.items.iter().find(|item| !is_null(item)).cloned(),
            RefOr::T(Schema::Object(object)) => {
                if let SchemaType::Array(types) = &mut object.schema_type {
                    types.retain(|known| *known != Type::Null);
                }
                None
            }
            _ => None,
        };
        if let Some(known) = known {
            *schema = known;
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}
