//! No secret, key or password is told, whatever goes wrong.

use std::fs;

use schemas::provider;
use tests::{KEY, SECRET, Setup};

use super::{PASSWORD, bare, gw, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_development_gateway_is_found_by_the_commands_and_tells_no_secret() {
    let mut setup = Setup::new().with("GW_DEV", "1");
    let usual = ["GW_API_KEYS", "GW_API_KEY", "GW_API_URL", "GW_PUBLIC_URL"].map(str::to_owned);
    let secrets = provider::ALL.iter().map(|provider| format!("GW_{}_WEBHOOK_SECRET", provider.id.to_uppercase()));
    for name in secrets.chain(usual) {
        setup = setup.with(&name, "");
    }
    let mut world = setup.start().await;
    world.events("org_demo", 1).await;
    for provider in provider::ALL {
        assert!(gw(&world, &["send", provider.id]).await.ok().starts_with("200 accepted"));
    }
    world.events("org_demo", 5).await;
    let link = gw(&world, &["link", "add", "--org", "org_demo", "--provider", "github", "--account", "99"]).await.ok();
    assert!(link.contains("installation 99 -> org_demo"), "{link}");
    let said = [
        gw(&world, &["status", "--interval", "100ms"]).await.ok(),
        gw(&world, &["doctor"]).await.ok(),
        gw(&world, &["link", "list"]).await.ok(),
    ]
    .concat();
    let log = world.gateway().log();
    assert!(
        log.contains("In a second shell:") && log.contains("github:"),
        "the guide and the first event are shown: {log}"
    );
    let file = fs::read_to_string(world.folder().join("data/dev.env")).expect("dev.env");
    let kept: Vec<&str> = file
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.contains("SECRET") || name.ends_with("_KEY"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(kept.len(), provider::ALL.len() + 1);
    for secret in kept {
        assert!(secret.len() >= 16 && !log.contains(secret) && !said.contains(secret), "a secret of dev.env is told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_is_told_with_its_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = |arguments: &[&str]| bare(folder.path(), arguments);
    let nats = format!("nats://user:{PASSWORD}@127.0.0.1:1");
    for command in [&["tail"][..], &["status"], &["topology", "diff"], &["doctor"]] {
        let mut command = bare(command);
        command.env("NATS_URL", &nats);
        run(command).await.fails(1, &["127.0.0.1:1"]);
    }
    for url in [
        "postgres://u:PW@127.0.0.1:1/x",
        "postgres://u:PW@ho st/x",
        "mysql://u:PW@127.0.0.1/x",
        "u:PW@127.0.0.1",
        "postgres://u:PW@127.0.0.1:port/x",
    ] {
        run(bare(&["migrate", "--database-url", &url.replace("PW", PASSWORD)])).await.fails(1, &["DATABASE_URL"]);
    }
    for url in ["nats://u:PW@ho st:4222", "nats://u:PW@", "http://u:PW@[::1"] {
        let said = run(bare(&["tail", "--nats-url", &url.replace("PW", PASSWORD)])).await;
        assert_ne!(said.code, 0, "{said:?}");
    }
    let mut api = bare(&["link", "list"]);
    api.env("GW_API_URL", format!("http://u:{PASSWORD}@127.0.0.1:1")).env("GW_API_KEY", KEY);
    run(api).await.fails(1, &["127.0.0.1:1"]);
    let mut serve = bare(&["serve", "--role", "ingest", "--help"]);
    serve
        .env("GW_API_KEYS", KEY)
        .env("GW_GITHUB_WEBHOOK_SECRET", SECRET)
        .env("NATS_URL", &nats)
        .env("GW_ENCRYPTION_KEY", SECRET);
    run(serve).await.ok();
    run(bare(&["serve", "--role", "ingest", "--encryption-key", SECRET])).await.fails(64, &["GW_ENCRYPTION_KEY"]);
}
