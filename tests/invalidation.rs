//! INVAL through the layers: what each selector hits, hard and soft, what was on its way, tags, groups, and requests that
//! change something.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "behind/mod.rs"]
mod behind;
#[path = "invalidation/changes.rs"]
mod changes;
#[path = "cases/crowd.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod crowd;
#[path = "invalidation/events.rs"]
mod events;
#[path = "invalidation/flights.rs"]
mod flights;
#[path = "invalidation/patterns.rs"]
mod patterns;
#[path = "invalidation/reference.rs"]
mod reference;
#[path = "invalidation/schedules.rs"]
mod schedules;
#[path = "cases/script.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod script;
#[path = "invalidation/selectors.rs"]
mod selectors;
#[path = "invalidation/shop.rs"]
mod shop;
#[path = "invalidation/soft.rs"]
mod soft;
#[path = "invalidation/steps.rs"]
mod steps;
#[path = "cases/support.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod support;
#[path = "invalidation/tags.rs"]
mod tags;
