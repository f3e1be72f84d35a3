//! Waiting for a condition instead of sleeping.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// Asks again and again until there is an answer; fails the test when there is none in a minute.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    eventually_within(PATIENCE, what, ask).await
}

/// The same for what takes longer than anything else does.
pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "did not happen in {patience:?}: {what}");
        sleep(POLL).await;
    }
}

/// Fails the test if there is an answer within this time.
pub async fn never<T, F: Future<Output = Option<T>>>(what: &str, within: Duration, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        assert!(ask().await.is_none(), "happened: {what}");
        sleep(POLL).await;
    }
}
