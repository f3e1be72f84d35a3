//! What is refused for a while: too much at once, too fast, too slow, and a broker that does not confirm.

use std::time::{Duration, Instant};

use nats::topology;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tests::{Answer, KEY, Link, PREVIOUS, SECRET, Setup, Webhook, World, eventually, kill, skip};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A refusal that asks to come again.
#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{answer:?}");
    let after: u64 = answer.headers["retry-after"].parse().expect("a number of seconds");
    assert!((1..=60).contains(&after), "{after}");
}

/// A webhook whose head and first bytes were sent, and not the rest.
async fn begun(world: &World, length: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(world.public_url().trim_start_matches("http://")).await.expect("a connection");
    let signature = "0".repeat(64);
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: gw\r\nx-hub-signature-256: {signature}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&vec![b'x'; sent]).await.expect("written");
    stream
}

/// All that the gateway says until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    let _reset = read.expect("the connection is closed").is_err();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_common_room_are_refused_until_there_is_room() {
    let world = Setup::new().with("GW_MAX_INFLIGHT_BYTES", "1MiB").start().await;
    let small = Webhook::new("github", "push", vec![b' '; 300 * 1024]);
    // Whichever of the two comes second finds no room.
    let (held, refused) = eventually("the room is taken", || async {
        let held = begun(&world, 900 * 1024, 800 * 1024).await;
        let answer = world.post(&small).await;
        (answer.status != 200).then_some((held, answer))
    })
    .await;
    check(&refused, 503, "overloaded");
    check(&world.post(&Webhook::new("github", "push", vec![b' '; 1_100_000])).await, 503, "overloaded");
    // What is announced and not sent takes no room, and a small body passes beside a large one.
    let _idle = begun(&world, 900 * 1024, 0).await;
    world.accept(&Webhook::push(42, 1)).await;
    drop(held);
    eventually("the room is free again", || async { (world.post(&small).await.status == 200).then_some(()) }).await;
    // Refused, and forgotten: nothing of it takes room.
    for _ in 0..20 {
        assert_eq!(world.post(&small).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_refused_before_its_body_was_read_is_told_that_the_connection_ends() {
    let world = Setup::new().with("GW_MAX_INFLIGHT_BYTES", "64KiB").start().await;
    let large = Webhook::new("github", "push", vec![b' '; 200_000]);
    let unsigned = large.clone().without("x-hub-signature-256");
    let unknown = Webhook { provider: "bitbucket".to_owned(), ..large.clone() };
    for round in 0..20 {
        for (refused, status) in [(&large, 503), (&unsigned, 401), (&unknown, 404)] {
            let answer = world.post(refused).await;
            assert_eq!((answer.status, answer.headers["connection"].as_str()), (status, "close"));
            // The next one, of the same sender, does not meet its end.
            let next = world.accept(&Webhook::push_numbered(42, 1, round)).await;
            assert_eq!(next.headers.get("connection"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_above_its_rate_is_told_when_to_come_again_and_others_are_not() {
    let world = Setup::new().with("GW_GITHUB_RATE_LIMIT", "2").start().await;
    let webhooks: Vec<Webhook> = (0..12).map(|number| Webhook::push_numbered(42, 1, number)).collect();
    let answers = world.post_all(&webhooks).await;
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!((6..=10).contains(&refused.len()), "{answers:?}");
    for answer in refused {
        check(answer, 429, "rate_limited");
    }
    world.accept(&Webhook::new("linear", "", "{}")).await;
    // What has no signature takes nothing of the provider's rate.
    let unsigned = Webhook::push(42, 1).without("x-hub-signature-256");
    for answer in world.post_all(&vec![unsigned; 20]).await {
        assert_eq!(answer.status, 401);
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    world.accept(&Webhook::push(42, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off_and_leave_nothing() {
    let mut world = Setup::new().with("GW_BODY_TIMEOUT", "1s").start().await;
    let begun_at = Instant::now();
    let mut slow_head =
        TcpStream::connect(world.public_url().trim_start_matches("http://")).await.expect("a connection");
    slow_head.write_all(b"POST /webhooks/github HTTP/1.1\r\nhost: gw\r\nx-slow: ").await.expect("written");
    let answer = rest(begun(&world, 1_000, 10).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
    assert!((900..15_000).contains(&begun_at.elapsed().as_millis()), "{:?}", begun_at.elapsed());
    // A byte now and then is as slow as none.
    let mut trickle = begun(&world, 1_000, 0).await;
    let mut answer = [0; 12];
    loop {
        tokio::select! {
            read = trickle.read_exact(&mut answer) => break assert!(read.is_ok()),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        let _closed = trickle.write_all(b"x").await.is_err();
        assert!(begun_at.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    // One that goes away leaves nothing behind, and gives its room back.
    drop(begun(&world, 1_000, 500).await);
    let cut = rest(slow_head).await;
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 408"), "{cut}");
    assert!((9..20).contains(&begun_at.elapsed().as_secs()), "{:?}", begun_at.elapsed());
    assert!(world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_silent_every_sender_is_told_in_its_own_time_and_nothing_is_lost() {
    for mode in ["batch", "pipeline"] {
        let mut world = Setup::new().with("GW_PUBLISH", mode).start().await;
        if !world.owns_broker() {
            skip("a silent broker", "the broker is shared");
            return;
        }
        let (connection, _) = world.link(&Link::repository("org_1", "42")).await;
        let large =
            json!({ "action": "created", "installation": { "uuid": "u" }, "x": "x".repeat(600 * 1024) }).to_string();
        let webhooks = [
            (Webhook::sample("sentry", "issue"), 800),
            (Webhook::new("sentry", "issue", large), 800),
            (Webhook::sample("linear", "Issue:create"), 4_000),
            (Webhook::push(42, 1), 8_000),
            (Webhook::sample("vercel", "deployment.created"), 8_000),
        ];
        let nats = world.nats_pid().expect("a server");
        kill(nats, Signal::STOP);
        let begun = Instant::now();
        let post = async |webhook: &Webhook| (world.post(webhook).await, begun.elapsed());
        let internal = json!({ "connectionId": connection, "orgId": "org_1", "deliveryId": "d-1", "eventType": "push", "payload": {}, "receivedAt": 1_767_225_600_000_i64 });
        let service =
            async { (world.api(Method::POST, "/deliveries/github", Some(internal.clone())).await, begun.elapsed()) };
        let [a, b, c, d, e] = &webhooks;
        let (service, a, b, c, d, e) =
            tokio::join!(service, post(&a.0), post(&b.0), post(&c.0), post(&d.0), post(&e.0));
        kill(nats, Signal::CONT);
        for ((answer, took), budget) in [(a, 800), (b, 800), (c, 4_000), (d, 8_000), (e, 8_000), (service, 8_000)] {
            check(&answer, 503, "not_stored");
            // Far from the next one's budget, on a busy machine too.
            assert!(took < Duration::from_millis(budget + 2_500), "{mode}: {took:?} of {budget} ms");
        }
        // Each sender comes again with the same delivery: it is there once, whatever became of the first try.
        for (webhook, _) in &webhooks {
            eventually("the retry is taken", || async { (world.post(webhook).await.status == 200).then_some(()) })
                .await;
            assert_eq!(world.post(webhook).await.body["status"], json!("duplicate"), "{mode}");
        }
        let again = world.api(Method::POST, "/deliveries/github", Some(internal)).await;
        assert_eq!(again.status, 200, "{again:?}");
        let stored = world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await;
        assert_eq!(stored.len(), webhooks.len() + 1, "{mode}");
        world.settled().await;
        assert_eq!(world.events("org_1", 1).await.len(), 2, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_refuses_at_once_and_takes_again_what_fits() {
    for mode in ["batch", "pipeline"] {
        let mut world = Setup::new()
            .with("GW_PUBLISH", mode)
            .with("GW_MAX_BYTES", "GW_WEBHOOK=8KiB,OBJ_gw_payload=64KiB")
            .start()
            .await;
        let large =
            |number: u64| Webhook::new("github", "push", json!({ "n": number, "x": "x".repeat(3_000) }).to_string());
        let mut accepted = 0;
        let refused = loop {
            let begun = Instant::now();
            let answer = world.post(&large(accepted)).await;
            if answer.status != 200 {
                // Its sender's budget is 8 s.
                assert!(begun.elapsed() < Duration::from_secs(5), "{mode}: {:?}", begun.elapsed());
                break answer;
            }
            accepted += 1;
            assert!(accepted < 20, "{mode}: 8 KiB hold more than that");
        };
        check(&refused, 503, "not_stored");
        // Also when many wait: no batch hides what was refused.
        let webhooks: Vec<Webhook> = (100..130).map(large).collect();
        for answer in world.post_all(&webhooks).await {
            check(&answer, 503, "not_stored");
        }
        let beside = world.post(&Webhook::new("github", "push", vec![b' '; 600 * 1024])).await;
        check(&beside, 503, "not_stored");
        assert_eq!(world.messages(topology::GW_WEBHOOK, "gw.webhook.>").await.len() as u64, accepted, "{mode}");
        let log = world.gateway().log();
        assert!(log.contains("the stream is full"), "{mode}: the log does not say why");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_or_key_is_in_any_log_or_answer() {
    let setup = Setup::new()
        .with("RUST_LOG", "trace")
        .with("GW_ENCRYPTION_KEY", "a-sealing-key-of-the-suite")
        .with("GW_MAX_INFLIGHT_BYTES", "1MiB");
    let mut world = setup.start().await;
    let mut answers = Vec::new();
    let webhook = Webhook::push(42, 1)
        .with("authorization", "Bearer a-token-of-the-sender")
        .with("cookie", "a-cookie-of-the-sender");
    let signature =
        webhook.header("x-hub-signature-256").expect("a signature").trim_start_matches("sha256=").to_owned();
    let webhooks = [
        webhook.clone(),
        webhook.clone(),
        webhook.clone().with("x-hub-signature-256", SECRET),
        webhook.clone().signed_with(PREVIOUS),
        Webhook { body: Vec::new(), ..webhook.clone() },
        Webhook { body: vec![b'x'; 1_100_000], ..webhook.clone() },
        Webhook::new("linear", "", "not json"),
        Webhook::new("linear", "", r#"{"webhookTimestamp":1}"#),
        Webhook::sample("sentry", "issue"),
        Webhook::sample("vercel", "deployment.created"),
    ];
    for webhook in &webhooks {
        answers.push(world.post(webhook).await);
    }
    let (connection, _) = world.link(&Link::repository("org_1", "42")).await;
    let delivery = json!({ "connectionId": connection, "orgId": "org_2", "deliveryId": "d", "eventType": "push", "payload": { "token": "a-token-of-the-payload" }, "receivedAt": 1 });
    let wrong = format!("{KEY}-but-wrong");
    let bearer = format!("Bearer {KEY}");
    for headers in [[("x-api-key", KEY)], [("authorization", bearer.as_str())], [("x-api-key", wrong.as_str())]] {
        for (method, path) in [
            (Method::POST, "/deliveries/github"),
            (Method::POST, "/connections"),
            (Method::GET, "/connections"),
            (Method::GET, "/connections/nothing"),
            (Method::DELETE, "/connections/a/resources/b"),
            (Method::GET, "/healthz"),
            (Method::GET, "/readyz"),
            (Method::POST, "/routes/rebuild"),
        ] {
            let body = (method == Method::POST).then(|| delivery.clone());
            answers.push(world.api_with(method, path, body, &headers).await);
        }
    }
    if world.owns_broker() {
        let nats = world.nats_pid().expect("a server");
        kill(nats, Signal::STOP);
        answers.push(world.post(&Webhook::sample("sentry", "issue")).await);
        kill(nats, Signal::CONT);
    }
    assert!(answers.iter().any(|answer| answer.status >= 400) && answers.iter().any(|answer| answer.status == 200));
    let metrics = world.metrics().await;
    assert!(world.stop_gateway().success());
    let log = world.gateway().log();
    assert!(log.contains("http.request"), "nothing is logged");
    let secrets = [
        SECRET,
        PREVIOUS,
        KEY,
        "a-sealing-key-of-the-suite",
        "a-token-of-the-sender",
        "a-cookie-of-the-sender",
        "a-token-of-the-payload",
        &signature,
    ];
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
        assert!(!metrics.contains(secret), "{secret} is in the metrics");
        let told = answers.iter().find(|answer| format!("{answer:?}").contains(secret));
        assert!(told.is_none(), "{secret} is in an answer: {told:?}");
    }
}
