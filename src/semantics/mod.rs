//! What the HTTP standards say about caching, as pure functions.
//!
//! Here live the rules of RFC 9110, 9111, 9211, 9213, 9875 and 5861: header fields, a moment and plain parameters go in, an
//! enum with a reason comes out. Nothing here does IO, reads a clock, waits, or knows the rest of this crate; a rule
//! can be read next to the section it follows and tested with a table.
//!
//! | module | what it answers | standard |
//! |---|---|---|
//! | [`date`] | when was that | RFC 9110 §5.6.7 |
//! | [`target`] | which resource is meant | RFC 9110 §7.1 |
//! | [`fields`] | which fields belong to the connection | RFC 9110 §7.6.1 |
//! | [`cache_control`] | what do the directives say | RFC 9111 §5.2, RFC 5861 |
//! | [`targeted`] | which field speaks to us | RFC 9213 |
//! | [`validator`] | entity tags and modification dates | RFC 9110 §8.8 |
//! | [`precondition`] | does the client's condition hold | RFC 9110 §13 |
//! | [`content_coding`] | which codings does the client accept | RFC 9110 §12.5.3 |
//! | [`language`] | which language does the client prefer | RFC 9110 §12.5.4 |
//! | [`vary`] | which request fields selected the response | RFC 9111 §4.1 |
//! | [`freshness`] | how old is it, how long is it good | RFC 9111 §4.2 |
//! | [`storable`] | may it be stored | RFC 9111 §3 |
//! | [`reuse`] | may it be served | RFC 9111 §4, §5.2.1 |
//! | [`validation`] | asking whether it still holds | RFC 9111 §4.3 |
//! | [`range`] | answering parts | RFC 9110 §14 |
//! | [`invalidation`] | what a change makes wrong | RFC 9111 §4.4 |
//! | [`cache_groups`] | which responses change together | RFC 9875 |
//! | [`cache_status`] | telling what the cache did | RFC 9211 |
//! | [`no_vary_search`] | which parts of the query selected the response | draft-ietf-httpbis-no-vary-search |
//!
//! A response, from its arrival to its second use:
//!
//! ```
//! use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
//! use larder::semantics::storable::{Refusal, StoreRequest, StoreRules, storable};
//! use larder::semantics::{date::Timestamp, freshness::initial_age, reuse::{Lifespan, Reuse}};
//! use std::time::Duration;
//!
//! let says = HeaderValue::from_static("max-age=60, stale-while-revalidate=30");
//! let (now, head) = (Timestamp::from_unix_secs(1_800_000_000), HeaderMap::from_iter([(CACHE_CONTROL, says)]));
//! let age = initial_age(&head, now, now);
//! let stored = storable(StoreRequest::default(), StatusCode::OK, &head, &StoreRules::default(), now, age)?;
//! let life = Lifespan::of(&stored, now, age);
//! assert_eq!(life.reuse(None, now.saturating_add(Duration::from_secs(59))), Reuse::Fresh);
//! assert_eq!(life.reuse(None, now.saturating_add(Duration::from_secs(60))), Reuse::WhileRevalidating);
//! # Ok::<(), Refusal>(())
//! ```

pub mod cache_control;
pub(crate) mod cache_control_writer;
pub mod cache_groups;
pub mod cache_status;
pub mod content_coding;
pub mod date;
pub mod fields;
pub mod freshness;
pub mod invalidation;
pub mod language;
pub mod no_vary_search;
pub mod precondition;
pub mod range;
pub mod reuse;
pub mod storable;
mod structured;
pub mod target;
pub mod targeted;
pub mod validation;
pub mod validator;
pub mod vary;
