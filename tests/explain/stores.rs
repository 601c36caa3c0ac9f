//! Stores behind the memory tier, explained: without asking them, and with a look into them.

use super::{
    shelf::Shelf,
    support::{App, Inner, SECOND, get, minute, parts, settle, step, verdict},
};
use larder::{Cache, test_util};
use std::sync::atomic::Ordering::SeqCst;

#[tokio::test]
async fn what_a_store_has_is_told_by_those_who_look() {
    let shelf = Shelf::default();
    let (cache, clock) = test_util::cache_with(Cache::builder().store(shelf.clone())).unwrap();
    let app = App::new(&cache, minute(), &Inner::with(&[("vary", "accept")]));
    let looked = || async { app.layer.explain_with_stores(&parts(get("/x", &[("accept", "a")]))).await };
    assert_eq!(step(&app.explain(get("/x", &[])), "stores"), "asked first: shelf");
    assert_eq!(shelf.asked.load(SeqCst), 0);
    assert_eq!(step(&looked().await, "stores"), "asked first: shelf: nothing");
    app.told(get("/x", &[("accept", "a")])).await;
    while cache.stats().writes_waiting > 0 {
        settle().await;
    }
    let asked = shelf.asked.load(SeqCst);
    assert_eq!(verdict(&looked().await), ("hit", None));
    assert_eq!(shelf.asked.load(SeqCst), asked, "what is fresh here is not looked for");

    cache.clear();
    clock.advance(12 * SECOND);
    let before = cache.stats();
    let why = looked().await;
    assert_eq!(verdict(&why), ("miss", Some("uri-miss")));
    let has = "asked first: shelf: stored 12 s ago, fresh for 48 s, unless the ledger says otherwise";
    assert_eq!(step(&why, "stores"), has, "{why}");
    shelf.broken.store(true, SeqCst);
    assert_eq!(step(&looked().await, "stores"), "asked first: shelf: nothing that can be used (unreachable)");
    assert_eq!(cache.stats(), before);
    shelf.broken.store(false, SeqCst);
    let told = app.told(get("/x", &[("accept", "a")])).await;
    assert_eq!(told, "hit; policy=shop; age=12; ttl=48");

    let own = App::new(&cache, minute().memory_only(), &Inner::with(&[]));
    assert_eq!(step(&own.explain(get("/y", &[])), "stores"), "");
    let anew = App::new(&cache, minute().refetch_if(|_| true), &Inner::with(&[]));
    assert_eq!(step(&anew.explain(get("/y", &[])), "stores"), "not asked: another answer is wanted");
}
