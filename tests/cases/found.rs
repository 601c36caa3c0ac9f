//! What was found wrong with fills that are shared, each as a test that fails until it is put right. The reason beside
//! `ignore` says where it lies. A test that passes moves to the file of its case.

use crate::{
    crowd::{Crowd, ms, pass},
    support::{App, Inner, Reply, settle},
};
use larder::{Cache, Policy};

#[tokio::test(start_paused = true)]
async fn no_more_fills_at_once_than_the_limit_whoever_leaves() {
    let inner = Inner::by(|_| Reply::ok("x").cc("max-age=60").after(ms(10_000)));
    let app = App::with(Cache::builder().fill_limit(2), Policy::from_response(), inner);
    for n in 0..20 {
        let crowd = Crowd::get(&app, 1, &format!("/{n}")).await;
        pass(100).await;
        crowd.leaves(0);
        settle().await;
    }
    assert!(app.inner.busy().most() <= 2, "{} at once", app.inner.busy().most());
}

/// As `o_24_downloads_of_unknown_length_take_the_memory_of_one`, where those who wait give up before the limit is reached.
#[cfg(target_os = "linux")]
#[test]
fn o_24_slow_downloads_of_unknown_length_take_the_memory_of_one() {
    crate::streaming_endless::alone("streaming_endless::the_memory_of_slow_downloads");
}
