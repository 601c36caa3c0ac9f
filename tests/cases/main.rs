//! The acceptance cases, each as a test named after its id: `o_05_authority_scheme_and_port`. `tests/README.md` tells
//! which test holds which case, and what of a case comes later.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../behind/mod.rs"]
mod behind;

mod bad_input;
mod bad_responses;
mod body;
mod coalesce;
mod coalesce_failures;
mod coalesce_fence;
mod coalesce_leader;
mod coalesce_refused;
mod coalesce_tags;
mod crowd;
mod early;
mod found;
mod fresh;
mod inval;
mod key;
mod limits;
mod merge;
mod poison;
mod poison_connection;
mod refresh;
mod resource;
mod rfc9111;
mod rfc9111_requests;
mod rfc9111_validation;
mod script;
mod store;
mod store_statuses;
mod streaming;
mod streaming_endless;
mod support;
mod timeouts;
mod tower_contract;
mod vary;
