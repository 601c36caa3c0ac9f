//! Hits that were verified: what the inner service says now, beside what was served. It compares and remembers; the
//! asking is done by the layer, and what it finds changes nothing that is stored.

mod compare;
mod suspects;

pub(crate) use compare::{Compared, differing_fields};
pub(crate) use suspects::suspects;

use super::Cache;
use crate::semantics::date::Timestamp;
use http::{HeaderName, StatusCode};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A hit that is not what the inner service says. Told by [`Cache::mismatches`].
///
/// ```
/// # use axum::{Router, body::Body, http::{HeaderMap, Request}, routing::get};
/// # use larder::{CacheLayer,  Policy, test_util};
/// # use std::time::Duration;
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (cache, _) = test_util::cache();
/// // It answers by a field that nobody has put into the key.
/// let handler = |headers: HeaderMap| async move { if headers.contains_key("x-beta") { "new" } else { "old" } };
/// let policy = Policy::fresh_for(Duration::from_secs(60)).verify(1.0);
/// let app: Router = Router::new().route("/", get(handler)).layer(CacheLayer::new(&cache, policy));
/// # let get = |name: &str| app.clone().oneshot(Request::get("/").header(name, "1").body(Body::empty()).unwrap());
/// # for name in ["x-other", "x-beta"] {
/// #     axum::body::to_bytes(get(name).await.unwrap().into_body(), 9).await.unwrap();
/// # }
/// // After a request without it, and one with it:
/// # cache.shutdown(Duration::from_secs(5)).await;
/// let found = &cache.mismatches()[0];
/// assert_eq!(found.suspects.fields, ["x-beta"]);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// When it was found.
    pub at: Timestamp,
    /// The policy, if it has a name.
    pub policy: Option<String>,
    /// The key as text, with credentials and cookies as digests.
    pub key: String,
    /// What differs, at most 16 of it.
    pub differences: Vec<Difference>,
    /// How old the stored response was when it was served.
    pub age: Duration,
    /// What the request has that is not in the key.
    pub suspects: Suspects,
}

/// A part of a response in which two answers differ.
///
/// ```
/// # use larder::{Cache, Difference};
/// # let cache = Cache::in_memory(1 << 20);
/// for mismatch in cache.mismatches() {
///     for difference in &mismatch.differences {
///         match difference {
///             Difference::Status { stored, answered } => println!("served {stored}, now it is {answered}"),
///             Difference::Body { at, .. } => println!("other content from byte {at} on"),
///             other => println!("{other:?}"),
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The status.
    Status {
        /// That of the stored response.
        stored: StatusCode,
        /// That of the inner service's answer.
        answered: StatusCode,
    },
    /// A field that one of them lacks, or has with other values.
    Field(HeaderName),
    /// The content.
    Body {
        /// The position of the first byte that differs, from 0; the length of the shorter one if that is the difference.
        at: u64,
        /// The length of the stored one, in bytes.
        stored: u64,
        /// The length of the other; where it is over the largest that the policy stores, as far as it was read.
        answered: u64,
    },
}

/// Names of what a request has and its key has not: one of them may have made the difference. Of each kind at most 32, sorted,
/// what is called like a credential first.
///
/// ```
/// # use larder::Cache;
/// # let cache = Cache::in_memory(1 << 20);
/// for mismatch in cache.mismatches() {
///     if !mismatch.suspects.cookies.is_empty() {
///         println!("{:?}: key_cookies({:?})?", mismatch.policy, mismatch.suspects.cookies);
///     }
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspects {
    /// Request fields.
    pub fields: Vec<String>,
    /// Cookies.
    pub cookies: Vec<String>,
    /// Query parameters.
    pub query: Vec<String>,
    /// Attributes of the [`Identity`](crate::Identity).
    pub identity: Vec<String>,
}

/// What was verified, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Verifications {
    pub(crate) verified: AtomicU64,
    pub(crate) mismatched: AtomicU64,
    last: Mutex<VecDeque<Mismatch>>,
    /// No warning before this moment, in milliseconds.
    quiet_until: AtomicU64,
}

impl Verifications {
    /// A hit was what the inner service says.
    pub(crate) fn agrees(&self) {
        self.verified.fetch_add(1, Relaxed);
    }

    /// A hit was not.
    pub(crate) fn differs(&self, mismatch: Mismatch) {
        self.verified.fetch_add(1, Relaxed);
        self.mismatched.fetch_add(1, Relaxed);
        if self.may_warn(mismatch.at) {
            let differs = Listed(&mismatch.differences).to_string();
            let policy = mismatch.policy.as_deref().unwrap_or_default();
            tracing::warn!(
                target: "larder::lookup",
                policy,
                differs,
                "a hit is not what the inner service says: see Cache::mismatches"
            );
        }
        tracing::debug!(target: "larder::lookup", suspects = %mismatch.suspects, "mismatch");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST {
            last.pop_front();
        }
        last.push_back(mismatch);
    }

    /// One at a time.
    fn may_warn(&self, now: Timestamp) -> bool {
        let until = now.saturating_add(QUIET).as_unix_millis();
        let time = |quiet: u64| (quiet <= now.as_unix_millis()).then_some(until);
        self.quiet_until.fetch_update(Relaxed, Relaxed, time).is_ok()
    }
}

/// The mismatches of one policy.
#[derive(Debug)]
pub(crate) struct Found {
    /// The policy, or what one without a name is called.
    pub(crate) policy: String,
    /// How many of the last hundred.
    pub(crate) count: usize,
    pub(crate) last: Mismatch,
}

/// By policy, in the order of their names.
pub(crate) fn by_policy(mismatches: &[Mismatch]) -> Vec<Found> {
    let mut all: BTreeMap<&str, (usize, &Mismatch)> = BTreeMap::new();
    for mismatch in mismatches {
        let row = all.entry(mismatch.policy.as_deref().unwrap_or(NAMELESS)).or_insert((0, mismatch));
        *row = (row.0 + 1, mismatch);
    }
    let found = all.into_iter();
    found.map(|(policy, (count, last))| Found { policy: policy.to_owned(), count, last: last.clone() }).collect()
}

impl Cache {
    /// What was verified within the last day and is not as it should be, for operators; names alone: what requests said is not
    /// told.
    #[cfg(feature = "admin")]
    pub(crate) fn findings(&self) -> Vec<String> {
        let now = self.now();
        let mut recent = self.mismatches();
        recent.retain(|mismatch| now.since(mismatch.at) < DAY);
        let told = by_policy(&recent).into_iter().map(|Found { policy, count, last }| {
            let (hits, least) = match count {
                1 => ("hit was", ""),
                MOST.. => ("hits were", "at least "),
                _ => ("hits were", ""),
            };
            format!("policy {policy}: within a day {least}{count} {hits} not what the handler says; the last: {last}")
        });
        told.collect()
    }

    /// The hits that were found not to be what the inner service says, the last hundred, oldest first: see
    /// [`Policy::verify`](crate::Policy::verify). Those of the last day are among the `problems` that the admin API tells.
    pub fn mismatches(&self) -> Vec<Mismatch> {
        self.verifications().last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn verifications(&self) -> &Verifications {
        &self.0.verifications
    }
}

/// Without the key: `status, field content-type, body at byte 17 (120 and 130 bytes)`, then the suspects.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; not in the key: {}", Listed(&self.differences), self.suspects)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { stored, answered } => write!(f, "status {} and {}", stored.as_u16(), answered.as_u16()),
            Self::Field(name) => write!(f, "field {name}"),
            Self::Body { at, stored, answered } => write!(f, "body at byte {at} ({stored} and {answered} bytes)"),
        }
    }
}

impl fmt::Display for Suspects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fields, cookies, query, identity } = self;
        let mut first = true;
        for (kind, names) in [("fields", fields), ("cookies", cookies), ("query", query), ("identity", identity)] {
            if !names.is_empty() {
                write!(f, "{}{kind} {}", if first { "" } else { "; " }, names.join(", "))?;
                first = false;
            }
        }
        if first { f.write_str("nothing") } else { Ok(()) }
    }
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, difference) in self.0.iter().enumerate() {
            write!(f, "{}{difference}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// What a policy without a name is called.
const NAMELESS: &str = "one without a name";

/// So many are kept.
const MOST: usize = 100;

/// So long they are told as a problem.
#[cfg(feature = "admin")]
const DAY: Duration = Duration::from_secs(24 * 3600);

/// So long nothing is said of the next one.
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(at: u64) -> Mismatch {
        Mismatch {
            at: Timestamp::from_unix_secs(at),
            policy: None,
            key: "GET:/x".to_owned(),
            differences: vec![
                Difference::Status { stored: StatusCode::OK, answered: StatusCode::FORBIDDEN },
                Difference::Field(http::header::CONTENT_TYPE),
                Difference::Body { at: 17, stored: 120, answered: 130 },
            ],
            age: Duration::ZERO,
            suspects: Suspects {
                fields: vec!["authorization".to_owned(), "accept".to_owned()],
                identity: vec!["user".to_owned()],
                ..Suspects::default()
            },
        }
    }

    #[test]
    fn the_last_hundred_are_kept() {
        let all = Verifications::default();
        (0..250).for_each(|at| all.differs(mismatch(at)));
        all.agrees();
        let last = all.last.lock().unwrap();
        assert_eq!((last.len(), last[0].at, last[99].at), (100, mismatch(150).at, mismatch(249).at));
        assert_eq!((all.verified.load(Relaxed), all.mismatched.load(Relaxed)), (251, 250));
    }

    #[test]
    fn warnings_are_rare() {
        let all = Verifications::default();
        let warned = (100..250).filter(|secs| all.may_warn(Timestamp::from_unix_secs(*secs)));
        assert_eq!(warned.collect::<Vec<_>>(), [100, 160, 220]);
    }

    #[test]
    fn a_mismatch_can_be_read() {
        let text = mismatch(1).to_string();
        assert_eq!(
            text,
            "status 200 and 403, field content-type, body at byte 17 (120 and 130 bytes); not in the key: fields \
             authorization, accept; identity user"
        );
        assert_eq!(Suspects::default().to_string(), "nothing");
    }
}
