//! `gw key`: keys of the API through the API.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_client::{ApiClient, Named, read, segment},
    config::{KeyAction, KeyArgs},
    error::Error,
    output::{self, Table},
};

/// A key as the API shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    id: String,
    name: Option<String>,
    scope: String,
    org_id: Option<String>,
    created_at: String,
    last_used_at: Option<String>,
    key: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: KeyArgs) -> Result<(), Error> {
    let api = ApiClient::new(&args.api)?;
    match args.action {
        KeyAction::Add { name, scope, org } => {
            let body = json!({ "name": name, "scope": scope, "orgId": org });
            let made: Value = api.post("/keys", &body).await?;
            if args.json { output::line(made) } else { added(&read(made)?) }
        }
        KeyAction::List => list(&api, args.json).await,
        KeyAction::Revoke { id } => {
            let revoked = api.delete(&format!("/keys/{}", segment(&id))).await;
            let revoked: Value = revoked.map_err(|error| Named::KEY.or(&id, error))?;
            output::line(if args.json { revoked.to_string() } else { format!("revoked {id}") })
        }
    }
}

fn added(key: &Key) -> Result<(), Error> {
    let whose = key.org_id.as_ref().map(|org| format!(" {}", output::plain(org))).unwrap_or_default();
    output::line(format!("made {}: {}{whose}", key.id, key.scope))?;
    output::line(format!("{}  (shown only now)", key.key.as_deref().unwrap_or("-")))
}

async fn list(api: &ApiClient, as_json: bool) -> Result<(), Error> {
    let keys: Vec<Value> = api.all("/keys", &[], "keys").await?;
    if as_json {
        return output::line(Value::Array(keys));
    }
    if keys.is_empty() {
        return output::line("no keys beside those of GW_API_KEYS; `gw key add --help` shows how to make one");
    }
    let mut table = Table::new(&["KEY", "SCOPE", "ORGANISATION", "NAME", "MADE", "LAST USED"], &[]);
    for key in keys {
        let key: Key = read(key)?;
        let text = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| output::plain(text));
        table.row([
            key.id.clone(),
            key.scope.clone(),
            text(key.org_id.as_ref()),
            text(key.name.as_ref()),
            key.created_at.clone(),
            text(key.last_used_at.as_ref()),
        ]);
    }
    table.lines().into_iter().try_for_each(output::line)
}
