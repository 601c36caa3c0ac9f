//! The acceptance cases, each as a test named after its id: `o_05_authority_scheme_and_port`. `tests/README.md` tells
//! which test holds which case, and what of a case comes later.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod bad_responses;
mod body;
mod fresh;
mod inval;
mod key;
mod merge;
mod poison;
mod poison_connection;
mod refresh;
mod resource;
mod rfc9111;
mod rfc9111_requests;
mod rfc9111_validation;
mod store;
mod store_statuses;
mod support;
mod tower_contract;
mod vary;
