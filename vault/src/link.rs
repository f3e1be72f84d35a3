//! A link: that an organisation wants what happens to a resource, or to everything of an account.

use schemas::{
    Level, Provider,
    filter::{self, Sync},
    route::Route,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    connection::Connection,
    fields::{Fault, Faults, Fields, OTHER_ACCOUNT, bad_entry},
};

/// Entries an event filter may have.
const EVENTS_MAX: usize = 100;

/// Whether a link counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LinkStatus {
    Active,
    Removed,
}

impl LinkStatus {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "removed" => Some(Self::Removed),
            _ => None,
        }
    }
}

/// A row of `links`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) connection: String,
    pub(crate) level: Level,
    pub(crate) kind: String,
    pub(crate) target: String,
    pub(crate) name: Option<String>,
    pub(crate) workspace: Option<String>,
    pub(crate) sync: Sync,
    pub(crate) status: LinkStatus,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
}

impl Link {
    /// The link's route. It is active only while both the link and its connection are.
    pub(crate) fn route(&self, connection: &Connection) -> Route {
        let events = self.sync.events.as_ref();
        Route {
            version: self.version,
            active: self.status == LinkStatus::Active && connection.is_active(),
            link_id: self.id.clone(),
            org_id: connection.org.clone(),
            connection_id: connection.id.clone(),
            generation: connection.generation,
            provider: connection.provider.clone(),
            account: connection.account.clone(),
            level: self.level.as_str().to_owned(),
            target: self.target.clone(),
            workspace_id: self.workspace.clone(),
            events: events.map(|events| events.iter().map(|entry| entry.as_str().into()).collect()),
        }
    }
}

/// What an organisation wants linked.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
pub(crate) struct NewLink {
    #[schema(ignore)]
    pub(crate) level: Level,
    /// `repository`, `project`, `team`, or an account's kind; without it the provider's resource.
    #[schema(value_type = Option<String>)]
    pub(crate) kind: String,
    /// The id of the resource or account at the provider.
    #[schema(rename = "providerResourceId", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) target: String,
    /// A name for people.
    #[schema(rename = "resourceName", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) name: Option<String>,
    /// The workspace the link is for.
    #[schema(rename = "workspaceId", min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) workspace: Option<String>,
    /// Which events.
    #[schema(value_type = Option<Sync>)]
    pub(crate) sync: Sync,
}

impl NewLink {
    /// Reads `{kind?, providerResourceId, resourceName?, workspaceId?, sync?}`.
    pub(crate) fn parse(body: &Value, connection: &Connection, provider: &Provider) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let kind = match fields.get("kind") {
            None => provider.resource_kinds.first().copied(),
            Some(_) => fields.optional("kind"),
        };
        let kind = kind.and_then(|kind| match provider.level(kind) {
            Some(level) => Some((kind.to_owned(), level)),
            None => fields.fault("kind", Fault::OneOf(kinds(provider))),
        });
        let target = fields.required("providerResourceId");
        if let (Some((_, Level::Account)), Some(target)) = (&kind, target)
            && target != connection.account
        {
            fields.faults.add("providerResourceId", OTHER_ACCOUNT);
        }
        let name = fields.optional("resourceName").map(str::to_owned);
        let workspace = fields.optional("workspaceId").map(str::to_owned);
        let sync = read_sync(&mut fields);
        let read = || {
            let (kind, level) = kind?;
            Some(Self { level, kind, target: target?.to_owned(), name, workspace, sync })
        };
        let read = read();
        fields.faults.none_or(read)
    }
}

fn kinds(provider: &Provider) -> String {
    let kinds: Vec<&str> = provider.resource_kinds.iter().chain(provider.account_kinds).copied().collect();
    kinds.join(", ")
}

fn read_sync(fields: &mut Fields<'_>) -> Sync {
    let mut sync = Sync::default();
    let members = match fields.get("sync") {
        None => return sync,
        Some(Value::Object(members)) => members,
        Some(_) => {
            fields.faults.add("sync", Fault::MustBe("an object"));
            return sync;
        }
    };
    sync.events = match members.get("events") {
        None | Some(Value::Null) => None,
        Some(Value::Array(entries)) => Some(read_events(fields, entries)),
        Some(_) => fields.fault("sync.events", Fault::MustBe("a list of texts")),
    };
    sync.auto_sync = match members.get("autoSync") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(auto)) => Some(*auto),
        Some(_) => fields.fault("sync.autoSync", Fault::MustBe("true or false")),
    };
    sync
}

fn read_events(fields: &mut Fields<'_>, entries: &[Value]) -> Vec<String> {
    if entries.len() > EVENTS_MAX {
        fields.faults.add("sync.events", Fault::TooMany(EVENTS_MAX));
        return Vec::new();
    }
    let mut events = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        match entry.as_str().filter(|entry| filter::is_valid(entry)) {
            Some(entry) => events.push(entry.to_owned()),
            None => fields.faults.add("sync.events", bad_entry(at)),
        }
    }
    events
}

/// A link as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Link)]
pub(crate) struct Shown {
    id: String,
    kind: String,
    level: &'static str,
    provider_resource_id: String,
    resource_name: Option<String>,
    workspace_id: Option<String>,
    sync: Sync,
    status: LinkStatus,
}

impl From<Link> for Shown {
    fn from(link: Link) -> Self {
        Self {
            id: link.id,
            kind: link.kind,
            level: link.level.as_str(),
            provider_resource_id: link.target,
            resource_name: link.name,
            workspace_id: link.workspace,
            sync: link.sync,
            status: link.status,
        }
    }
}
