//! What a gateway says of itself: health, readiness, metrics, traces, and the guide of `--dev`.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use rustix::process::Signal;
use tests::{Gateway, Link, Setup, Webhook, World, eventually, kill};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_the_instance_and_how_long_it_lives() {
    let mut world = World::start().await;
    let first = world.get("/healthz").await;
    assert_eq!((first.status, first.body["status"].as_str()), (200, Some("ok")));
    assert!(first.body["instance"].as_str().is_some_and(|instance| instance.starts_with("gw-")), "{:?}", first.body);
    eventually("the uptime grows", || async {
        (world.get("/healthz").await.body["instanceUptimeSeconds"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    world.stop_gateway();
    world.start_gateway();
    let second = world.get("/healthz").await;
    assert_ne!(second.body["instance"], first.body["instance"]);
    assert!(second.body["instanceUptimeSeconds"].as_u64() <= Some(1), "{:?}", second.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_a_broker_that_hangs_or_is_gone_and_recovers() {
    let world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("a broker that is gone", "the broker is shared");
    }
    let reason = |answer: tests::Answer| answer.body["reasons"][0].as_str().unwrap_or_default().to_owned();
    let pid = world.nats_pid().expect("a server");
    kill(pid, Signal::STOP);
    // The signal has to reach each of its threads.
    let said = eventually("it is not ready", || async {
        let answer = world.get("/readyz").await;
        (answer.status == 503).then(|| reason(answer))
    })
    .await;
    assert!(said.starts_with("broker: ") || said.starts_with("router: "), "{said}");
    assert_eq!(world.get("/healthz").await.status, 200, "the process itself lives");
    kill(pid, Signal::CONT);
    world.ready().await;
    let port: u16 = world.nats_url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    world.kill_nats();
    let stranger =
        eventually("the port is free", || async { std::net::TcpListener::bind(("127.0.0.1", port)).ok() }).await;
    eventually("it says so", || async {
        (reason(world.get("/readyz").await) == "broker: not connected").then_some(())
    })
    .await;
    drop(stranger);
    world.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_came_in_what_was_refused_and_what_nobody_claims() {
    let mut world = World::start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let webhook = Webhook::push(42, 1);
    world.accept(&webhook).await;
    assert_eq!(world.post(&webhook).await.body["status"], "duplicate");
    assert_eq!(world.post(&Webhook::push(42, 1).signed_with("wrong")).await.status, 401);
    world.accept(&Webhook::push(7, 1)).await;
    world.settled().await;
    for (name, value) in [
        (r#"gw_ingest_accepted_total{provider="github"}"#, 2.0),
        (r#"gw_ingest_duplicate_total{provider="github"}"#, 1.0),
        (r#"gw_ingest_rejected_total{provider="github",reason="invalid_signature"}"#, 1.0),
        (r#"gw_ingest_ack_seconds_count{provider="github"}"#, 2.0),
        (r#"gw_route_events_total{provider="github"}"#, 1.0),
        (r#"gw_route_unresolved_total{provider="github"}"#, 1.0),
        (r#"gw_consumer_lag{consumer="router"}"#, 0.0),
        (r#"gw_consumer_in_flight{consumer="router"}"#, 0.0),
        (r#"gw_oldest_pending_age_seconds{consumer="router"}"#, 0.0),
        ("gw_routes", 1.0),
        ("gw_routes_fresh", 1.0),
    ] {
        let text = world.metrics().await;
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is not in\n{text}");
        assert!((world.metric(name).await - value).abs() < f64::EPSILON, "{name} is not {value} in\n{text}");
    }
    let text = world.metrics().await;
    assert!(text.contains(r#"gw_build_info{version=""#), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

/// What was posted to `/v1/traces`.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let all = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let all = all.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 65536];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    all.lock().expect("nobody panicked with it").extend_from_slice(&bytes[..read]);
                    // The end of a request is not looked for: an answer too many does no harm.
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_joins_the_senders_request_with_the_routers_work() {
    let (url, heard) = collector().await;
    let setup = Setup::new().with("OTEL_EXPORTER_OTLP_ENDPOINT", url).with("OTEL_BSP_SCHEDULE_DELAY", "200");
    let mut world = setup.start().await;
    world.link(&Link::repository("org_1", "42")).await;
    let webhook = Webhook::push(42, 1).with("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    world.accept(&webhook).await;
    let events = world.stored(nats::topology::GW_EVENT, "gw.event.org_1.>", 1).await;
    let traceparent = events[0].header("traceparent").expect("a trace context");
    assert!(traceparent.contains(TRACE), "{traceparent}");
    let id: Vec<u8> =
        (0..TRACE.len()).step_by(2).map(|at| u8::from_str_radix(&TRACE[at..at + 2], 16).expect("hex")).collect();
    // Loosely decoded: a span's name follows its trace id, its span id and its parent.
    eventually("both spans are sent", || async {
        let bytes = heard.lock().expect("nobody panicked with it").clone();
        let spans: Vec<&[u8]> = bytes
            .windows(16)
            .enumerate()
            .filter(|(_, window)| *window == id)
            .map(|(at, _)| &bytes[at..bytes.len().min(at + 80)])
            .collect();
        let named = |name: &[u8]| spans.iter().any(|span| span.windows(name.len()).any(|window| window == name));
        (named(b"request") && named(b"route")).then_some(())
    })
    .await;
}

/// Ends the server of the development gateway, should the test fail before that did.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        let record = std::fs::read(self.0.join("nats/server.json")).ok();
        let record = record.and_then(|record| serde_json::from_slice::<serde_json::Value>(&record).ok());
        if let Some(pid) = record.and_then(|record| i32::try_from(record["pid"].as_i64()?).ok()) {
            kill(pid, Signal::KILL);
        }
    }
}

/// `gw serve --dev` without any secret or key.
fn dev(world: &World) -> Command {
    let mut command = world.command(&["serve", "--dev"]);
    for name in ["GW_API_KEYS", "GW_API_KEY", "GW_API_URL", "GW_PUBLIC_URL"] {
        command.env_remove(name);
    }
    for provider in schemas::provider::ALL {
        command.env_remove(format!("GW_{}_WEBHOOK_SECRET", provider.id.to_uppercase()));
    }
    command.env("GW_DATA_DIR", world.folder().join("dev"));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_development_gateway_prints_its_guide_shows_a_first_event_and_keeps_its_secrets() {
    let world = World::start().await;
    if !world.owns_broker() {
        return tests::skip("--dev", "the broker is shared");
    }
    let _leftover = Leftover(world.folder().join("dev"));
    let env = world.folder().join("dev/dev.env");
    let mut kept = Vec::new();
    for start in 0..2 {
        if start == 1 {
            // Somebody looked at it with an editor that made it anew.
            std::fs::set_permissions(&env, std::fs::Permissions::from_mode(0o644)).expect("a file of ours");
        }
        let mut gateway = Gateway::start(&mut dev(&world), &world.folder().join(format!("dev-{start}.log")));
        eventually("the guide and a first event", || {
            let log = gateway.log();
            let shown = log.split("Its first event:").nth(1).is_some_and(|after| after.contains("org_demo"));
            std::future::ready(shown.then_some(()))
        })
        .await;
        let text = std::fs::read_to_string(&env).expect("dev.env");
        assert_eq!(std::fs::metadata(&env).expect("dev.env").permissions().mode() & 0o777, 0o600);
        let secrets: Vec<String> =
            text.lines().filter(|line| line.contains("SECRET") || line.contains("KEY")).map(str::to_owned).collect();
        assert_eq!(secrets.len(), schemas::provider::ALL.len() + 1, "{text}");
        for secret in &secrets {
            let value = secret.split_once('=').expect("a pair").1;
            assert!(value.len() > 20 && !gateway.log().contains(value), "a secret is printed, or none");
        }
        let key = secrets.iter().find_map(|line| line.strip_prefix("GW_API_KEY=")).expect("a key");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request =
            http.request(Method::GET, format!("{}/connections?orgId=org_demo", gateway.api)).header("x-api-key", key);
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), 200);
        kept.push(secrets);
        assert_eq!(gateway.stop().code(), Some(0));
    }
    assert_eq!(kept[0], kept[1]);
}
