//! Explaining changes nothing.

use super::support::{App, Inner, MINUTE, SECOND, get, minute, request, step, verdict};
use larder::{Selector, test_util};

#[tokio::test]
async fn nothing_is_counted() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = App::new(&cache, minute().stale_while_revalidate(MINUTE).eager_refresh(0.1), &inner);
    app.told(get("/x", &[])).await;
    for advance in [0, 30, 60, 120] {
        clock.advance(advance * SECOND);
        let before = cache.stats();
        for _ in 0..10 {
            for request in [get("/x", &[]), get("/y", &[]), request("PUT", "/x", &[]), get("/x", &[("cookie", "a=b")])]
            {
                app.explain(request);
            }
        }
        assert_eq!(cache.stats(), before);
    }
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn a_use_is_no_use() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute().min_uses(3), &Inner::with(&[]));
    for number in 1..=3 {
        for _ in 0..5 {
            let why = app.explain(get("/x", &[]));
            let says = format!("from request 3 for it on, this would be number {number}");
            assert!(step(&why, "storing").contains(&says), "{why}");
        }
        let told = app.told(get("/x", &[])).await;
        assert_eq!(told.ends_with("not-stored=too-few-uses"), number < 3, "{told}");
    }
    assert_eq!(verdict(&app.explain(get("/x", &[]))).0, "hit");
}

#[tokio::test]
async fn what_is_looked_at_is_not_promoted() {
    let build = || test_util::cache_with(larder::Cache::builder().memory(64 << 10).memory_entries(20)).unwrap();
    let held = |looked_at: bool| async move {
        let (cache, _) = build();
        let app = App::new(&cache, minute(), &Inner::with(&[]));
        for number in 0..100 {
            app.told(get(&format!("/{number}"), &[])).await;
            for other in (0..20).filter(|_| looked_at) {
                app.explain(get(&format!("/{other}"), &[]));
            }
        }
        (0..100).filter(|number| cache.contains(&format!("/{number}"))).collect::<Vec<_>>()
    };
    assert_eq!(held(true).await, held(false).await);
}

#[tokio::test]
async fn what_is_invalidated_stays_until_it_is_asked_for() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute().tags(["t"]), &Inner::with(&[]));
    app.told(get("/x", &[])).await;
    cache.invalidate(Selector::tag("t")).await.unwrap();
    let before = cache.stats();
    for _ in 0..2 {
        let why = app.explain(get("/x", &[]));
        assert_eq!(verdict(&why), ("miss", Some("uri-miss")));
        assert_eq!(step(&why, "ledger"), "invalidated since by tag t");
    }
    assert_eq!(cache.stats(), before);
}

#[tokio::test]
async fn a_share_for_each_tenant_is_looked_at_too() {
    let (cache, _) = test_util::cache_with(larder::Cache::builder().memory(8 << 20).tenant_share(1 << 20)).unwrap();
    let app = App::new(&cache, minute(), &Inner::with(&[]));
    let mine = |tenant: u64| {
        let mut request = get("/x", &[]);
        request.extensions_mut().insert(larder::Identity::new().with_tenant(tenant));
        request
    };
    app.told(mine(1)).await;
    assert_eq!(verdict(&app.explain(mine(1))), ("hit", None));
    assert_eq!(verdict(&app.explain(mine(2))), ("miss", Some("uri-miss")));
}
