//! The `metrics` facade: a recorder that is installed hears of everything.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::{Router, body::Body, routing::get};
use http::Request;
use larder::{Cache, CacheLayer, Policy};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::Service;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeMap<String, f64>>>);

/// What is told of one key.
struct One(Heard, String);

impl One {
    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }

    fn add(&self, value: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        One::set(self, value);
    }
}

impl HistogramFn for One {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Heard {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(One(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }
}

impl Recorder for Heard {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

#[tokio::test(start_paused = true)]
async fn counts_are_told_every_ten_seconds_and_times_at_once() {
    let heard = Heard::default();
    metrics::set_global_recorder(heard.clone()).unwrap_or_else(|_| panic!("there is another recorder"));
    let cache = Cache::in_memory(1 << 20);
    let policy = Policy::named("x").fresh_for(Duration::from_secs(60));
    let mut app = Router::new().route("/", get(|| async { "x" })).layer(CacheLayer::new(&cache, policy));
    for _ in 0..3 {
        app.call(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    }
    let of = |heard: &Heard, name: &str| heard.0.lock().unwrap().get(name).copied();
    assert_eq!(of(&heard, "http_cache_fill_seconds{cache=default,policy=x}"), Some(1.0));
    tokio::time::sleep(Duration::from_secs(11)).await;
    for (name, value) in [
        ("http_cache_requests_total{cache=default,policy=x,outcome=hit,reason=}", 2.0),
        ("http_cache_requests_total{cache=default,policy=x,outcome=miss,reason=}", 1.0),
        ("http_cache_stored_total{cache=default,policy=x}", 1.0),
        ("http_cache_entries{cache=default,policy=x}", 1.0),
    ] {
        assert_eq!(of(&heard, name), Some(value), "{name}: {:?}", heard.0.lock().unwrap());
    }
}
