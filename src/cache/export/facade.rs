//! The `metrics` facade: counts are told every ten seconds, times as they are taken.

use super::{FILL_SECONDS, HIT_SECONDS, Labels, STORE_SECONDS, Series, Sink, tell};
use crate::{
    cache::Cache,
    tally::{Event, Latency, Observe},
};
use metrics::{Label, counter, gauge, histogram};

/// Tells the recorder that is installed what a cache has counted.
pub(crate) fn publish(cache: &Cache) {
    tell(&mut Facade, cache.name(), cache);
}

struct Facade;

impl Sink for Facade {
    fn counter(&mut self, (name, _): Series, labels: Labels<'_>, count: u64) {
        counter!(name, owned(labels)).absolute(count);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters of the facade are whole")]
    fn seconds(&mut self, (name, _): Series, labels: Labels<'_>, seconds: f64) {
        counter!(name, owned(labels)).absolute(seconds as u64);
    }

    fn gauge(&mut self, (name, _): Series, labels: Labels<'_>, value: f64) {
        gauge!(name, owned(labels)).set(value);
    }

    /// Each time is told when it is taken.
    fn histogram(&mut self, _: Series, _: Labels<'_>, _: &Latency) {}
}

/// Tells times as they are taken.
pub(crate) struct Times;

impl Observe for Times {
    fn hears_requests(&self) -> bool {
        false
    }

    fn observe(&self, event: &Event<'_>) {
        match *event {
            Event::Hit { cache, policy, took } => {
                histogram!(HIT_SECONDS.0, owned(&[("cache", cache), ("policy", policy)])).record(took);
            }
            Event::Fill { cache, policy, took } => {
                histogram!(FILL_SECONDS.0, owned(&[("cache", cache), ("policy", policy)])).record(took);
            }
            Event::Store { cache, store, operation: "get", took, .. } => {
                histogram!(STORE_SECONDS.0, owned(&[("cache", cache), ("store", store)])).record(took);
            }
            _ => {}
        }
    }
}

fn owned(labels: Labels<'_>) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
}
