//! What can be seen without asking anyone: the data folder, the settings, the ports.

use std::{fs, io, net::SocketAddr, path::Path};

use schemas::provider;
use serde_json::Value;
use tokio::net::TcpListener;

use super::Check;
use crate::{
    api_client::ApiClient,
    config::{ApiArgs, DevEnv, Role, ServeArgs, secret_variable},
    error::Error,
    output,
};

/// Shorter secrets can be guessed.
const SHORT: usize = 16;
const MIB: u64 = 1 << 20;

/// The data folder, and the room it has.
pub(super) fn folder(args: &ServeArgs) -> Vec<Check> {
    let path = &args.data.data_dir;
    let shown = path.display();
    if !path.exists() {
        return vec![Check::ok(format!("the data folder {shown} is not there yet: `gw serve` makes it"))];
    }
    let trial = path.join(format!(".doctor-{}", std::process::id()));
    let written = fs::write(&trial, b"gw").and_then(|()| fs::remove_file(&trial));
    let writable = match written {
        Ok(()) => Check::ok(format!("the data folder {shown} is writable")),
        Err(error) => Check::fail(
            format!("the data folder {shown} cannot be written ({error})"),
            "give this user the right to, or choose another with GW_DATA_DIR",
        ),
    };
    [Some(writable), room(path)].into_iter().flatten().collect()
}

fn room(path: &Path) -> Option<Check> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let what = format!("{} free on its disk", output::bytes(free));
    let mend = "make room: without it the broker stores nothing and webhooks are answered 503";
    Some(match free / MIB {
        0..512 => Check::fail(what, mend),
        512..5_120 => Check::warn(what, mend),
        _ => Check::ok(what),
    })
}

/// Keys and secrets, given or of the development gateway. None is shown.
pub(super) fn settings(args: &ServeArgs, dev: &DevEnv) -> Vec<Check> {
    let mut checks = Vec::new();
    if args.encryption_key.is_some() && !args.runs(Role::Vault) {
        checks.push(Check::fail("GW_ENCRYPTION_KEY is set but the vault role does not run here", "unset it"));
    }
    if args.needs_database() {
        let lengths: Vec<usize> =
            args.api_keys.iter().map(|key| key.expose().len()).filter(|length| *length > 0).collect();
        let kept = dev.get("GW_API_KEY").map(str::len);
        checks.push(keys(&lengths, kept));
    }
    if args.runs(Role::Ingest) {
        let found = provider::ALL.iter().map(|provider| {
            let variable = secret_variable(provider.id);
            let given = args.providers.get(provider.id).secrets;
            let mut lengths: Vec<usize> = given.iter().map(|secret| secret.expose().len()).collect();
            let kept = dev.get(&variable).filter(|_| lengths.is_empty());
            lengths.extend(kept.map(str::len));
            secrets(provider.name, &variable, &lengths, kept.is_some())
        });
        let found: Vec<(bool, Check)> = found.collect();
        if !found.iter().any(|(on, _)| *on) {
            let first = provider::ALL.first().map_or_else(String::new, |provider| secret_variable(provider.id));
            let mend = format!("set {first} or another provider's, or try `gw serve --dev`");
            checks.push(Check::warn("no provider has a secret: every webhook is refused", mend));
        }
        checks.extend(found.into_iter().map(|(_, check)| check));
    }
    checks
}

fn keys(lengths: &[usize], kept: Option<usize>) -> Check {
    match (lengths, kept) {
        ([], None) => Check::warn(
            "GW_API_KEYS holds no key: the API takes only keys that `gw key add` made",
            "set it, or try `gw serve --dev`",
        ),
        ([], Some(_)) => Check::ok("the API has the key in dev.env"),
        (given, _) if given.iter().any(|length| *length < SHORT) => Check::warn(
            format!("an API key has fewer than {SHORT} characters"),
            "choose a longer one: `openssl rand -hex 24`",
        ),
        (given, _) => Check::ok(format!(
            "the API has {}",
            if given.len() == 1 { "a key".to_owned() } else { format!("{} keys", given.len()) }
        )),
    }
}

/// Whether the provider is on, and what is to be said of its secrets.
fn secrets(name: &str, variable: &str, lengths: &[usize], kept: bool) -> (bool, Check) {
    let on = !lengths.is_empty();
    let check = match lengths {
        [] => Check::ok(format!("{name} is off: {variable} turns it on")),
        lengths if lengths.iter().any(|length| *length < SHORT) => {
            let what = format!("a secret in {variable} has fewer than {SHORT} characters");
            Check::warn(what, format!("choose a longer one, at {name} as well: `openssl rand -hex 24`"))
        }
        _ if kept => Check::ok(format!("{name} is on, with the secret in dev.env")),
        [_, _, _, ..] => Check::warn(
            format!("{variable} holds more than two secrets"),
            "only the first two count: current and previous",
        ),
        [_, _] => Check::ok(format!("{name} is on, with a previous secret as well")),
        [_] => Check::ok(format!("{name} is on")),
    };
    (on, check)
}

/// Whether each listener's port is free, or already ours.
pub(super) async fn listeners(args: &ServeArgs) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    if args.runs(Role::Ingest) {
        checks.push(listener(args, args.public_addr, "public", "GW_PUBLIC_ADDR").await?);
    }
    checks.push(listener(args, args.api_addr, "API", "GW_API_ADDR").await?);
    Ok(checks)
}

async fn listener(args: &ServeArgs, address: SocketAddr, name: &str, setting: &str) -> Result<Check, Error> {
    let taken = match TcpListener::bind(address).await {
        Ok(_free) => return Ok(Check::ok(format!("the {name} listener's {address} is free: no gateway runs on it"))),
        Err(error) => error,
    };
    if taken.kind() != io::ErrorKind::AddrInUse {
        let mend = format!("choose another with {setting}");
        return Ok(Check::fail(format!("the {name} listener cannot use {address} ({taken})"), mend));
    }
    let api = ApiArgs { api_url: Some(format!("http://{address}")), api_key: None, data: args.data.clone() };
    let ours = ApiClient::new(&api)?.look("/healthz").await.is_ok_and(|(status, body)| is_gateway(status, &body));
    Ok(match ours {
        true => Check::ok(format!("a gateway answers on the {name} listener's {address}")),
        false => Check::fail(
            format!("something else has the {name} listener's {address}"),
            format!("stop it, or choose another with {setting}"),
        ),
    })
}

/// The API says how it is; the public listener knows no such path, and says so as we do.
fn is_gateway(status: u16, body: &Value) -> bool {
    (status == 200 && body["version"].is_string()) || (status == 404 && body["code"] == "no_such_path")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Level, *};

    #[test]
    fn a_short_or_missing_secret_is_said_and_never_shown() {
        let check = |lengths: &[usize], kept| secrets("Provider", "GW_X_WEBHOOK_SECRET", lengths, kept);
        assert_eq!((check(&[], false).0, check(&[], false).1.level), (false, Level::Ok));
        assert_eq!((check(&[8], false).0, check(&[8], false).1.level), (true, Level::Warn));
        assert_eq!(check(&[32, 15], false).1.level, Level::Warn);
        assert_eq!(check(&[30], true).1.level, Level::Ok);
        assert_eq!(check(&[30, 30], false).1.level, Level::Ok);
        assert_eq!(check(&[30, 30, 30], false).1.level, Level::Warn);
    }

    #[test]
    fn keys_are_needed_and_long() {
        assert_eq!(keys(&[], None).level, Level::Warn);
        assert_eq!(keys(&[3, 40], None).level, Level::Warn);
        assert_eq!(keys(&[], Some(30)).level, Level::Ok);
        assert_eq!(keys(&[40], None), Check::ok("the API has a key"));
    }

    #[test]
    fn a_gateway_is_known_by_either_listener() {
        assert!(is_gateway(200, &json!({ "status": "ok", "version": "0.1.0" })));
        assert!(is_gateway(404, &json!({ "code": "no_such_path" })));
        assert!(!is_gateway(404, &Value::Null));
        assert!(!is_gateway(200, &json!({})));
    }
}
