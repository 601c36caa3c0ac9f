//! Waiting for what another process does. It tells nobody, so it is asked again and again, with a bound.

use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Waits for what must come. After half a minute the test has failed.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    within_or_show(what, future, String::new).await
}

/// Waits until something is so. After half a minute the test has failed.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    until_or_show(what, holds, String::new).await;
}

/// The same, and shows why it has failed.
pub(crate) async fn within_or_show<F: Future>(what: &str, future: F, show: impl FnOnce() -> String) -> F::Output {
    match timeout(LIMIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("it does not come: {what}\n{}", show()),
    }
}

/// The same, and shows why it has failed.
pub(crate) async fn until_or_show(what: &str, mut holds: impl AsyncFnMut() -> bool, show: impl FnOnce() -> String) {
    let holds = async {
        while !holds().await {
            sleep(PAUSE).await;
        }
    };
    within_or_show(what, holds, show).await;
}

const LIMIT: Duration = Duration::from_secs(30);

/// Between two questions, so that asking does not take the time of those who are asked.
const PAUSE: Duration = Duration::from_millis(10);
