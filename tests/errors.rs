//! What all errors have in common, and what programs can tell apart.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use larder::{
    Cache, CacheLayer, Caches, Config, ConfigError, InvalidateError, KeyRing, KeyRingError, Policy, PolicyError,
    Selector, SitemapError, StoreError, Value, WarmRequest,
};
use std::{error::Error, time::Duration};

fn all() -> Vec<Box<dyn Error + Send + Sync>> {
    let cache = Cache::in_memory(1 << 20);
    let absurd = Policy::fresh_for(Duration::ZERO);
    let nameless = Value::<u32>::named(" ");
    let stores = [
        StoreError::Timeout,
        StoreError::Unreachable,
        StoreError::Resting,
        StoreError::ReadOnly,
        StoreError::Denied,
        StoreError::Protocol,
        StoreError::Io,
        StoreError::Locked,
        StoreError::Damaged,
    ];
    let mut all: Vec<Box<dyn Error + Send + Sync>> = vec![
        CacheLayer::try_new(&cache, absurd.clone()).err().unwrap().into(),
        Cache::builder().default_policy(absurd).build().unwrap_err().into(),
        Caches::builder().build().unwrap_err().into(),
        Config::from_toml("x = 1").unwrap_err().into(),
        Config::from_file("/no/such/file.toml").unwrap_err().into(),
        KeyRing::new("", [7; 32]).unwrap_err().into(),
        WarmRequest::sitemap("").unwrap_err().into(),
        cache.declare(&nameless).unwrap_err().into(),
        cache.stored(&Selector::tag("")).unwrap_err().into(),
    ];
    all.extend(stores.map(Into::into));
    all
}

#[test]
fn texts_are_one_line_without_a_full_stop() {
    for error in all() {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n') && !text.ends_with(['.', ' ', ':']), "{text:?}");
        assert!(!text.starts_with(' '), "{text:?}");
    }
}

/// None is lost on its way through another thread, `Box<dyn Error>` or `Arc`.
#[test]
fn errors_go_everywhere() {
    fn goes<E: Error + Clone + PartialEq + Send + Sync + 'static>() {}
    goes::<ConfigError>();
    goes::<InvalidateError>();
    goes::<KeyRingError>();
    goes::<PolicyError>();
    goes::<SitemapError>();
    goes::<StoreError>();
}

#[test]
fn a_file_that_is_not_there_is_told_from_one_that_is_wrong() {
    let absent = Config::from_file("/no/such/file.toml").unwrap_err();
    assert!(absent.is_absent() && absent.to_string().starts_with("/no/such/file.toml: "), "{absent}");
    let folder = Config::from_file(env!("CARGO_MANIFEST_DIR")).unwrap_err();
    assert!(!folder.is_absent(), "{folder}");
    assert!(!Config::from_toml("x = 1").unwrap_err().is_absent());
}

#[tokio::test]
async fn what_says_nothing_is_no_failure_of_a_log() {
    let error = Cache::in_memory(1 << 20).invalidate(Selector::resource("no path")).await.unwrap_err();
    assert!(!error.is_unconfirmed() && error.source().is_none(), "{error}");
}
