//! A page in the books of a cache: what is known of a policy, a value or a tenant, and what was counted of it.

use crate::{
    policy::{Effective, Objective, Policy, Rules},
    semantics::date::Timestamp,
    tally::{Counts, Tally, Trail, Window},
};
use http::HeaderName;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// What a page is about.
///
/// ```
/// use larder::PolicyKind;
/// # use larder::{Cache, Value};
/// # let cache = Cache::in_memory(1 << 20);
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(std::time::Duration::from_secs(60)).shared();
/// # cache.value(&RATE).put(2650);
///
/// let metrics = cache.metrics();
/// let values = metrics.policies.iter().filter(|policy| policy.kind == PolicyKind::Value);
/// assert_eq!(values.map(|value| value.name.as_str()).collect::<Vec<_>>(), ["rate"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PolicyKind {
    /// A policy of responses.
    Response,
    /// A [`Value`](crate::Value).
    Value,
}

impl PolicyKind {
    /// The kind as one word, as the admin API says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Value => "value",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is counted, and over which time.
pub(crate) struct Page {
    pub(crate) kind: PolicyKind,
    pub(crate) tally: Arc<Tally>,
    trail: Mutex<Trail>,
    policies: Mutex<Policies>,
}

/// The policies of one name.
#[derive(Default)]
struct Policies {
    /// Those of layers that are there, the newest last; and the newest one, if none is.
    known: Vec<(Arc<Policed>, Weak<Rules>)>,
    /// The fields that any of them says hold credentials: entries outlive layers.
    credentials: Vec<HeaderName>,
}

/// What is known of a policy.
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "the admin API tells it"))]
pub(crate) struct Policed {
    /// The path of the table that it was given for, if it was.
    pub(crate) route: Option<String>,
    pub(crate) effective: Effective,
    pub(crate) warnings: Vec<String>,
    pub(crate) objective: Option<Objective>,
    pub(crate) depends_on: Vec<String>,
    pub(crate) tags: Vec<String>,
    /// It keys on the whole identity, as one that says nothing of it does.
    pub(super) whole: bool,
}

impl Page {
    pub(super) fn new(kind: PolicyKind, tally: Arc<Tally>, trail: Trail) -> Self {
        Self { kind, tally, trail: Mutex::new(trail), policies: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.tally.name()
    }

    /// The policy of the newest layer that is there; else of the newest there was. None for values and tenants.
    pub(crate) fn policy(&self) -> Option<Arc<Policed>> {
        let policies = self.policies();
        let alive = policies.known.iter().rfind(|(_, rules)| rules.strong_count() > 0);
        alive.or(policies.known.last()).map(|(policed, _)| Arc::clone(policed))
    }

    /// The rules of the newest layer that is there.
    pub(super) fn rules(&self) -> Option<Arc<Rules>> {
        self.policies().known.iter().rev().find_map(|(_, rules)| rules.upgrade())
    }

    /// The fields that policies of this name say hold credentials.
    #[cfg(feature = "admin")]
    pub(super) fn credentials(&self) -> Vec<HeaderName> {
        self.policies().credentials.clone()
    }

    /// Another layer has a policy of this name.
    pub(super) fn note(&self, policy: &Policy, route: Option<&str>, rules: &Arc<Rules>) {
        let mut policies = self.policies();
        for name in policy.credential_names() {
            if !policies.credentials.contains(name) {
                policies.credentials.push(name.clone());
            }
        }
        policies.known.retain(|(_, rules)| rules.strong_count() > 0);
        if policies.known.len() >= NAMESAKES {
            policies.known.remove(0);
        }
        policies.known.push((Arc::new(Policed::of(policy, route)), Arc::downgrade(rules)));
    }

    pub(super) fn sample(&self, now: Timestamp) {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner).sample(now, self.tally.read());
    }

    /// What was counted in a window that ends now.
    pub(super) fn within(&self, window: Window, now: Timestamp) -> Counts {
        let trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        Tally::counts_of(&trail.within(window, now, &self.tally.read()))
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policed {
    fn of(policy: &Policy, route: Option<&str>) -> Self {
        Self {
            route: route.map(str::to_owned),
            effective: policy.effective(),
            warnings: policy.warnings(),
            objective: policy.objective_of(),
            depends_on: policy.depends_on_names(),
            tags: policy.tag_names(),
            whole: policy.keys_on_everybody(),
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("kind", &self.kind).field("name", &self.name()).finish_non_exhaustive()
    }
}

/// So many layers with policies of one name are told apart.
const NAMESAKES: usize = 16;
