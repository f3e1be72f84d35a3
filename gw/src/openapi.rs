//! The description of the API: made from the routes that run here, at `/openapi.json`.

use axum::{Json, Router, routing::get};
use utoipa::openapi::{
    InfoBuilder, LicenseBuilder, OpenApi,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

/// Routes that need no key.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The route of the description.
pub(crate) fn route(description: OpenApi) -> Router {
    let description = Json(complete(description));
    Router::new().route("/openapi.json", get(|| std::future::ready(description)))
}

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
    for (_, item) in api.paths.paths.iter_mut().filter(|(path, _)| OPEN.contains(&path.as_str())) {
        if let Some(operation) = &mut item.get {
            operation.security = Some(Vec::new());
        }
    }
    api
}
