//! `gw link` and `gw routes`: links through the API.

use schemas::{Level, Provider, provider};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api_client::{ApiClient, Named},
    config::{LinkAction, LinkArgs, RoutesAction, RoutesArgs},
    error::Error,
    output::{self, Table},
};

/// A connection as the API shows it, as far as it is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    id: String,
    provider: String,
    external_id: String,
    org_id: String,
}

/// A link as the API shows it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    id: String,
    kind: String,
    provider_resource_id: String,
    resource_name: Option<String>,
    workspace_id: Option<String>,
    #[serde(default)]
    sync: Value,
}

#[derive(Deserialize)]
struct Linked {
    resource: Link,
}

#[derive(Deserialize)]
struct Rebuilt {
    connections: u64,
    routes: u64,
    removed: u64,
    impossible: u64,
}

/// What is to be linked.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    kind: String,
    id: String,
}

pub(crate) async fn run(args: LinkArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    match args.action {
        LinkAction::Add { org, provider, account, kind, resource, name, workspace, events } => {
            let target = Target::choose(known(&provider)?, &account, kind, resource)?;
            let connection = json!({ "provider": provider, "externalId": account, "orgId": org });
            let link = json!({
                "kind": target.kind, "providerResourceId": target.id, "resourceName": name, "workspaceId": workspace,
                "sync": events.map(|events| json!({ "events": events })),
            });
            add(&api, &connection, &link).await
        }
        LinkAction::List { org, json } => list(&api, org.as_deref(), json).await,
        LinkAction::Remove { id } => remove(&api, &id).await,
    }
}

/// `gw routes`.
pub(crate) async fn routes(args: RoutesArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    match args.action {
        RoutesAction::Rebuild => {
            let Rebuilt { connections, routes, removed, impossible } = api.post("/routes/rebuild", &json!({})).await?;
            let left = match impossible {
                0 => String::new(),
                _ => format!("; {impossible} impossible rows left out, the gateway's log names them"),
            };
            output::line(format!("rebuilt {routes} routes of {connections} connections; {removed} removed{left}"))
        }
    }
}

async fn add(api: &ApiClient, connection: &Value, link: &Value) -> Result<(), Error> {
    let connection: Connection = api.post("/connections", connection).await?;
    let linked = api.post(&format!("/connections/{}/resources", connection.id), link).await;
    let linked: Linked = linked.map_err(|error| match error {
        Error::Answer { status: status @ 409, code, detail } => {
            Error::Answer { status, code, detail: format!("{detail}; to change it, `gw link remove` it first") }
        }
        other => other,
    })?;
    let link = linked.resource;
    output::line(format!(
        "linked {}: {} {} {} -> {}",
        link.id, connection.provider, link.kind, link.provider_resource_id, connection.org_id
    ))
}

async fn list(api: &ApiClient, org: Option<&str>, as_json: bool) -> Result<(), Error> {
    let mut table =
        Table::new(&["LINK", "ORGANISATION", "PROVIDER", "ACCOUNT", "KIND", "ID", "NAME", "WORKSPACE", "EVENTS"], &[]);
    let mut all = Vec::new();
    for (connection, links) in links(api, org).await? {
        for link in links {
            let text = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| output::plain(text));
            table.row([
                link.id.clone(),
                connection.org_id.clone(),
                connection.provider.clone(),
                connection.external_id.clone(),
                link.kind.clone(),
                link.provider_resource_id.clone(),
                text(link.resource_name.as_ref()),
                text(link.workspace_id.as_ref()),
                events(&link.sync),
            ]);
            all.push(shown(&connection, &link));
        }
    }
    if as_json {
        return output::line(Value::Array(all));
    }
    if all.is_empty() {
        return output::line("no links; `gw link add --help` shows how to make one");
    }
    table.lines().into_iter().try_for_each(output::line)
}

async fn remove(api: &ApiClient, id: &str) -> Result<(), Error> {
    for (connection, links) in links(api, None).await? {
        if links.iter().any(|link| link.id == id) {
            let _removed: Value = api.delete(&format!("/connections/{}/resources/{id}", connection.id)).await?;
            return output::line(format!("removed {id}"));
        }
    }
    Err(Named::LINK.absent(id))
}

/// Every connection the key may see, with its links.
async fn links(api: &ApiClient, org: Option<&str>) -> Result<Vec<(Connection, Vec<Link>)>, Error> {
    let query: Vec<(&str, &str)> = org.map(|org| ("orgId", org)).into_iter().collect();
    let connections: Vec<Connection> = api.all("/connections", &query, "connections").await?;
    let mut all = Vec::with_capacity(connections.len());
    for connection in connections {
        let links = api.all(&format!("/connections/{}/resources", connection.id), &[], "resources").await?;
        all.push((connection, links));
    }
    Ok(all)
}

fn shown(connection: &Connection, link: &Link) -> Value {
    let mut value = json!({
        "orgId": connection.org_id, "provider": connection.provider,
        "externalId": connection.external_id, "connectionId": connection.id,
    });
    if let (Some(all), Ok(Value::Object(own))) = (value.as_object_mut(), serde_json::to_value(link)) {
        all.extend(own);
    }
    value
}

fn events(sync: &Value) -> String {
    let entries = sync.get("events").and_then(Value::as_array);
    let names = entries.map(|entries| entries.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","));
    names.unwrap_or_else(|| "defaults".to_owned())
}

fn known(id: &str) -> Result<&'static Provider, Error> {
    let names = || provider::ALL.iter().map(|provider| provider.id).collect::<Vec<_>>().join(", ");
    provider::find(id).ok_or_else(|| Error::Usage(format!("there is no provider {id}: it is one of {}", names())))
}

impl Target {
    /// The resource where one is given, else the account.
    fn choose(
        provider: &Provider,
        account: &str,
        kind: Option<String>,
        resource: Option<String>,
    ) -> Result<Self, Error> {
        let first = |kinds: &[&str]| kinds.first().map(|kind| (*kind).to_owned()).unwrap_or_default();
        let kind = kind.unwrap_or_else(|| match resource {
            Some(_) => first(provider.resource_kinds),
            None => first(provider.account_kinds),
        });
        let wrong = |text: String| Err(Error::Usage(text));
        match (provider.level(&kind), resource) {
            (None, _) => {
                let kinds: Vec<&str> = provider.resource_kinds.iter().chain(provider.account_kinds).copied().collect();
                wrong(format!("{} has no {kind} to link: --kind is one of {}", provider.name, kinds.join(", ")))
            }
            (Some(Level::Resource), None) => wrong(format!("which {kind}? --resource names its id")),
            (Some(Level::Account), Some(resource)) if resource != account => {
                wrong(format!("a link of the {kind} is about the account itself: leave out --resource"))
            }
            (Some(Level::Account), _) => Ok(Self { kind, id: account.to_owned() }),
            (Some(Level::Resource), Some(id)) => Ok(Self { kind, id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(kind: Option<&str>, resource: Option<&str>) -> Result<Target, Error> {
        Target::choose(provider::ALL[0], "7", kind.map(str::to_owned), resource.map(str::to_owned))
    }

    #[test]
    fn without_a_kind_the_resource_is_linked_or_else_the_account() {
        let provider = provider::ALL[0];
        let (account, resource) = (provider.account_kinds[0].to_owned(), provider.resource_kinds[0].to_owned());
        assert_eq!(choose(None, Some("42")).expect("a target"), Target { kind: resource, id: "42".into() });
        assert_eq!(choose(None, None).expect("a target"), Target { kind: account, id: "7".into() });
    }

    #[test]
    fn a_kind_that_does_not_fit_is_refused_with_what_would() {
        let provider = provider::ALL[0];
        let (account, resource) = (provider.account_kinds[0], provider.resource_kinds[0]);
        for (kind, id, says) in
            [("planet", None, resource), (resource, None, "--resource"), (account, Some("42"), "leave out")]
        {
            let error = choose(Some(kind), id).expect_err("it does not fit");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_filter_is_shown_as_its_entries() {
        assert_eq!(events(&json!({ "events": ["a", "b.*"] })), "a,b.*");
        assert_eq!(events(&json!({})), "defaults");
    }
}
