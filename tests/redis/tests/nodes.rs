//! Several caches over one Redis: what one stores another finds, what one invalidates none serves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "nodes/coherence.rs"]
mod coherence;
#[path = "nodes/support.rs"]
mod support;
