//! RES: a failing service is left alone (the part of O-41 about back-off).

use crate::support::{App, HOUR, Inner, MINUTE, Reply, plain, settle};
use http::Request;
use larder::{Policy, assert_hit, assert_stale};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

/// All entries expire in one second, the service fails for a while, each client tries three times.
#[tokio::test]
async fn o_41_attempts_while_the_service_fails() {
    let ways = [
        Policy::from_response().stale_if_error(HOUR),
        Policy::from_response().stale_while_revalidate(HOUR),
        Policy::from_response().stale_while_revalidate(HOUR).stale_if_error(HOUR),
        Policy::rfc9111().stale_if_error(HOUR),
    ];
    for policy in ways {
        for validator in [false, true] {
            for status in [0, 503] {
                let failing = Arc::new(AtomicBool::new(false));
                let attempts: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
                let clock: Arc<Mutex<Option<larder::test_util::ManualClock>>> = Arc::default();
                let (fails, tried, time) = (Arc::clone(&failing), Arc::clone(&attempts), Arc::clone(&clock));
                let app = App::new(
                    policy.clone(),
                    Inner::by(move |call| {
                        if !fails.load(SeqCst) {
                            let reply = Reply::ok("good").cc("max-age=60");
                            return if validator { reply.with("etag", "\"e\"") } else { reply };
                        }
                        let at = time.lock().unwrap().as_ref().unwrap().now().as_unix_secs();
                        tried.lock().unwrap().push((call.uri.to_string(), at));
                        if status == 0 { Reply::down() } else { Reply::status(status, "") }
                    }),
                );
                *clock.lock().unwrap() = Some(app.clock.clone());
                let keys: Vec<_> = (0..10).map(|n| format!("/{n}")).collect();
                for key in &keys {
                    app.get(key).await;
                }
                failing.store(true, SeqCst);
                app.advance(60);
                for _ in 0..60 {
                    for key in &keys {
                        for _ in 0..3 {
                            let got = app.get(key).await;
                            assert_stale!(got);
                            assert_eq!(got.text(), "good");
                        }
                    }
                    settle().await;
                    app.advance(1);
                }
                let attempts = attempts.lock().unwrap().clone();
                for key in &keys {
                    let times: Vec<_> = attempts.iter().filter(|(of, _)| of == key).map(|(_, at)| *at).collect();
                    assert!((1..=2).contains(&times.len()), "{} attempts in 60 s", times.len());
                    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{times:?}");
                }
                // It has healed: back to normal when the time is over that it was left alone for.
                failing.store(false, SeqCst);
                app.advance(30);
                for key in &keys {
                    app.get(key).await;
                }
                settle().await;
                for key in &keys {
                    assert_hit!(app.get(key).await);
                }
            }
        }
    }
}

/// Where nothing stale may be served, nothing is held back: each request finds out for itself.
#[tokio::test]
async fn o_41_nobody_is_refused_for_the_sake_of_the_service() {
    for directives in ["max-age=60", "max-age=60, must-revalidate"] {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc(directives),
            2..=4 => Reply::down(),
            _ => Reply::ok("new").cc(directives),
        });
        let policy = if directives.contains("must") {
            Policy::fresh_for(MINUTE).stale_if_error(HOUR)
        } else {
            Policy::from_response()
        };
        let app = App::new(policy, inner);
        app.get("/x").await;
        app.advance(61);
        for _ in 0..3 {
            assert!(app.ask(plain(Request::get("/x"))).await.is_err());
        }
        assert_eq!(app.get("/x").await.text(), "new");
    }
}
