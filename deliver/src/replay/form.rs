//! The body that `wish` reads, for the description of the API.

use schemas::{
    endpoint::Pattern,
    instant::Moment,
    provider::ProviderId,
    replay::{Mode, Rate, Target},
};
use serde::Deserialize;
use utoipa::ToSchema;

/// What is to be replayed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewReplay)]
#[expect(dead_code, reason = "a body is read field by field, to say everything that is wrong with it")]
pub(super) struct Wish {
    /// An id of one's own, so that asking twice begins it once.
    #[schema(pattern = "^[A-Za-z0-9_]{1,64}$")]
    id: Option<String>,
    /// From what to what.
    mode: Mode,
    /// Where the events of a redelivery go.
    to: Option<Target>,
    /// One organisation only.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    org_id: Option<String>,
    /// One provider only.
    #[schema(value_type = Option<ProviderId>)]
    provider: Option<String>,
    /// One type or pattern only.
    #[serde(rename = "type")]
    #[schema(value_type = Option<Pattern>)]
    kind: Option<String>,
    /// These endpoints only, in a redelivery to endpoints.
    #[schema(min_items = 1, max_items = 200)]
    endpoint_ids: Option<Vec<String>>,
    /// Must be true for a redelivery to endpoints that names no orgId, provider, type, endpointIds, since, until,
    /// fromSequence or toSequence; `onlyFailed` does not narrow it. A dry run and a key of one organisation do not need
    /// it, and elsewhere it says nothing.
    all: Option<bool>,
    /// What was stored at or after this time.
    #[schema(value_type = Option<Moment>)]
    since: Option<String>,
    /// What was stored before this time, later than `since`.
    #[schema(value_type = Option<Moment>)]
    until: Option<String>,
    /// What has this sequence or a later one.
    #[schema(minimum = 1)]
    from_sequence: Option<i64>,
    /// What has this sequence or an earlier one.
    #[schema(minimum = 1)]
    to_sequence: Option<i64>,
    /// Only pushes whose last attempt failed, in a redelivery to endpoints.
    only_failed: Option<bool>,
    /// Only deliveries that were stored and never routed, in a reroute.
    only_undelivered: Option<bool>,
    /// Count, and publish nothing.
    dry_run: Option<bool>,
    /// How fast.
    rate_per_second: Option<Rate>,
}
