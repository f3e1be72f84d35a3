//! Deliveries from services of ours: bound to a connection, whose organisation and provider are checked.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::Request,
    response::Response,
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use nats::{Bucket, PublishError, Stored};
use schemas::{
    Bound, Delivery, Origin, Provider,
    caller::{Caller, RequestIds},
    delivery::{bounded, named},
    header, instant,
    problem::{Problem, Refusal},
    provider,
    provider::{ProviderId, Received},
    route::{ConnectionState, Status},
    token::key_segment,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{Ingest, Inner, body, error::Error, http::Answer};

type Fields = Vec<(&'static str, String)>;

/// The body as it comes, each member of any type.
#[derive(Deserialize, ToSchema)]
#[schema(as = InternalDelivery)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Form<'a> {
    /// The connection it belongs to.
    #[serde(default)]
    #[schema(value_type = String, required)]
    connection_id: Value,
    /// The connection's organisation.
    #[serde(default)]
    #[schema(value_type = String, required)]
    org_id: Value,
    /// Unique for the provider.
    #[serde(default)]
    #[schema(value_type = String, required)]
    delivery_id: Value,
    /// As the provider names it.
    #[serde(default)]
    #[schema(value_type = String, required)]
    event_type: Value,
    /// What it is about; without it what the payload names.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    resource_id: Value,
    /// The provider's JSON.
    #[serde(borrow)]
    #[schema(value_type = Object, required)]
    payload: Option<&'a RawValue>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    #[schema(value_type = i64, required)]
    received_at: Value,
}

/// The body as it must be.
pub(crate) struct Internal {
    bound: Bound,
    id: String,
    event: String,
    resource: Option<String>,
    pub(crate) payload: Bytes,
    received_at: i64,
}

/// Hands in a delivery of a service of ours, for a connection.
#[utoipa::path(
    post,
    path = "/deliveries/{provider}",
    tag = "deliveries",
    params(("provider" = ProviderId, Path, description = "The provider's id")),
    request_body = Form<'_>,
    responses((status = 200, description = "It is stored", body = Answer<'_>), (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"), Refusal)
)]
pub(crate) async fn delivery(
    State(ingest): State<Ingest>,
    name: Result<Path<String>, PathRejection>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    let begun = Instant::now();
    let Some(provider) = name.ok().and_then(|Path(name)| provider::find(&name)) else {
        return ingest.0.refuse(None, Error::UnknownProvider);
    };
    match ingest.0.receive_internal(provider, &caller, request).await {
        Ok((delivery, stored)) => ingest.0.accept(provider.id, &delivery, stored, begun),
        Err(error) => ingest.0.refuse(Some(provider.id), error),
    }
}

/// Hands in a delivery of a service of ours: another name of `POST /deliveries/{provider}`.
#[utoipa::path(
    post,
    path = "/webhooks/{provider}",
    tag = "deliveries",
    params(("provider" = ProviderId, Path, description = "The provider's id")),
    request_body = Form<'_>,
    responses((status = 200, description = "It is stored", body = Answer<'_>), (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"), Refusal)
)]
pub(crate) async fn webhook(
    ingest: State<Ingest>,
    name: Result<Path<String>, PathRejection>,
    caller: Extension<Caller>,
    request: Request<Body>,
) -> Response {
    delivery(ingest, name, caller, request).await
}

impl Inner {
    async fn receive_internal(
        &self,
        provider: &'static Provider,
        caller: &Caller,
        request: Request<Body>,
    ) -> Result<(String, Stored), Error> {
        let (head, body) = request.into_parts();
        let held = body::read(&self.budget, &head.headers, body, self.body_timeout).await?;
        let internal = Form::read(&held.bytes)?.check(&held.bytes).map_err(Error::InvalidBody)?;
        let deadline = Instant::now() + provider.ack_budget;
        let found = tokio::time::timeout_at(deadline, self.connection(provider, caller, &internal.bound)).await;
        let connection = found.map_err(|_elapsed| Error::NotStored(PublishError::Unconfirmed))??;
        let body_sha256 = HEXLOWER.encode(&Sha256::digest(&internal.payload));
        let resources = match internal.resource {
            Some(resource) => vec![resource],
            None => {
                (provider.identify)(&Received { header: &|_| None, body: &internal.payload, body_sha256: &body_sha256 })
                    .resources
            }
        };
        let id = bounded(internal.id);
        let delivery = Delivery {
            provider: provider.id.to_owned(),
            event: Some(bounded(internal.event)),
            id: id.clone(),
            account: Some(connection.account),
            resources: named(resources),
            received_at: internal.received_at,
            origin: Origin::Service,
            bound: Some(internal.bound),
            correlation: head.extensions.get::<RequestIds>().map(|ids| ids.correlation.clone()),
            signature_key: None,
            body_sha256,
            payload_ref: None,
            kept: Vec::new(),
        };
        let traceparent = head.headers.get(header::TRACEPARENT).and_then(|value| value.to_str().ok());
        let stored = self.store(delivery, internal.payload, held, traceparent, deadline).await?;
        Ok((id, stored))
    }

    /// The connection, if it is there, in use, of this provider and of this organisation.
    async fn connection(&self, provider: &Provider, caller: &Caller, bound: &Bound) -> Result<ConnectionState, Error> {
        let found = match &self.connections {
            Some(bucket) => find(bucket, &bound.connection).await.map_err(Error::Broker)?,
            None => None,
        };
        let Some(found) = found.filter(|found| caller.sees(&found.org_id)) else {
            return Err(Error::InvalidBody(vec![("connectionId", "no such connection".to_owned())]));
        };
        let mut errors = Fields::new();
        if found.status != Status::Active {
            errors.push(("connectionId", format!("the connection is {}", found.status.as_str())));
        }
        if found.provider != provider.id {
            errors.push(("connectionId", format!("the connection belongs to {}", found.provider)));
        }
        if found.org_id != bound.org {
            errors.push(("orgId", "the connection belongs to another organisation".to_owned()));
        }
        if errors.is_empty() { Ok(found) } else { Err(Error::InvalidBody(errors)) }
    }
}

async fn find(bucket: &Bucket, connection: &str) -> Result<Option<ConnectionState>, nats::Error> {
    let value = bucket.get(&key_segment(connection)).await?;
    Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
}

impl<'a> Form<'a> {
    /// A list would be read as the members in their order, so it is looked at first.
    fn read(body: &'a [u8]) -> Result<Self, Error> {
        if body.trim_ascii_start().first() == Some(&b'{') {
            return serde_json::from_slice(body).map_err(|_| Error::InvalidJson);
        }
        serde_json::from_slice::<IgnoredAny>(body).map_err(|_| Error::InvalidJson)?;
        Err(Error::InvalidBody(vec![("body", "a JSON object is needed".to_owned())]))
    }

    /// All that is wrong at once.
    pub(crate) fn check(&self, whole: &Bytes) -> Result<Internal, Fields> {
        let mut errors = Fields::new();
        let mut text = |name: &'static str, value: &Value| match value.as_str() {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => {
                errors.push((name, "a non-empty string is needed".to_owned()));
                String::new()
            }
        };
        let connection = text("connectionId", &self.connection_id);
        let org = text("orgId", &self.org_id);
        let id = text("deliveryId", &self.delivery_id);
        let event = text("eventType", &self.event_type);
        let resource = match &self.resource_id {
            Value::Null => None,
            given => Some(text("resourceId", given)),
        };
        let received_at = instant::of_json(&self.received_at).filter(|_| self.received_at.is_number());
        if received_at.is_none() {
            errors.push(("receivedAt", "a number of milliseconds since the epoch is needed".to_owned()));
        }
        let payload = self.payload.filter(|payload| payload.get().starts_with('{'));
        if payload.is_none() {
            errors.push(("payload", "a JSON object is needed".to_owned()));
        }
        match (payload, received_at) {
            (Some(payload), Some(received_at)) if errors.is_empty() => {
                // The bytes of the payload as they stand in the request.
                let payload = whole.slice_ref(payload.get().as_bytes());
                Ok(Internal { bound: Bound { connection, org }, id, event, resource, payload, received_at })
            }
            _ => Err(errors),
        }
    }
}
