//! Several caches over one Redis: what one stores another finds, what one invalidates none serves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "nodes/absent.rs"]
mod absent;
#[path = "nodes/access.rs"]
mod access;
#[path = "nodes/administered.rs"]
mod administered;
#[path = "nodes/coherence.rs"]
mod coherence;
#[path = "nodes/cut_off.rs"]
mod cut_off;
#[path = "nodes/fence.rs"]
mod fence;
#[path = "nodes/fresh.rs"]
mod fresh;
#[path = "nodes/history.rs"]
mod history;
#[path = "nodes/kept.rs"]
mod kept;
#[path = "nodes/log.rs"]
mod log;
#[path = "nodes/moved.rs"]
mod moved;
#[path = "nodes/poisoned.rs"]
mod poisoned;
#[path = "nodes/processes.rs"]
mod processes;
#[path = "nodes/refreshed.rs"]
mod refreshed;
#[path = "nodes/selectors.rs"]
mod selectors;
#[path = "nodes/soak.rs"]
mod soak;
#[path = "nodes/support.rs"]
mod support;
#[path = "nodes/tags.rs"]
mod tags;
#[path = "nodes/tracking.rs"]
mod tracking;
#[path = "nodes/values.rs"]
mod values;
#[path = "nodes/variants.rs"]
mod variants;
