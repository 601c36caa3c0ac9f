//! What the cache would do with a request, and why. It goes the way of a request by the same functions, and changes
//! and counts nothing: no rule is written a second time here.

mod all;
mod walk;
mod words;

pub(crate) use all::Explains;
pub(crate) use walk::{Asked, explain, explain_with_stores};

use super::book::is_told_apart;
use crate::{
    outcome::Outcome,
    policy::{Rules, Spot},
};
use serde_json::{Value, json};
use std::fmt;

/// What a cache would do with a request, and why. Made by [`CacheLayer::explain`](crate::CacheLayer::explain), which changes
/// nothing: no counter, no use; and asks nobody.
///
/// `Display` gives the steps for people, one on a line; [`to_json`](Explanation::to_json) the same for programs. Credentials,
/// cookies and what is called like a secret appear as digests.
///
/// ```
/// use http::Request;
/// use larder::{Cache, CacheLayer, Policy};
/// use std::time::Duration;
///
/// let cache = Cache::in_memory(1 << 20);
/// let layer = CacheLayer::new(&cache, Policy::named("shop").fresh_for(Duration::from_secs(60)));
/// let (parts, ()) = Request::get("/products").header("cookie", "sid=1").body(()).unwrap().into_parts();
/// let why = layer.explain(&parts);
/// assert_eq!((why.outcome().as_str(), why.reason()), ("bypass", Some("cookie")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    cache: Option<String>,
    policy: Option<String>,
    /// What the policy is called in metrics, if it has no name.
    called: Option<String>,
    /// What is stored under its key was stored by this policy.
    is_own: bool,
    outcome: Outcome,
    reason: Option<&'static str>,
    key: Option<String>,
    key_parts: Vec<(String, String)>,
    /// The one in the key.
    tenant: Option<String>,
    steps: Vec<(&'static str, String)>,
}

impl Explanation {
    /// What would come of the request.
    ///
    /// Three of them depend on what is yet to come. [`Outcome::Revalidated`]: the inner service is asked whether the stored
    /// response still holds; if not, it is a miss. [`Outcome::Collapsed`]: another request is being answered; if that brings
    /// nothing for this one, it is a miss. [`Outcome::Miss`]: where there are stores behind the memory tier, they may have it.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The reason in one word, as in metrics: [`Bypass::as_str`](crate::Bypass::as_str), or why the inner service is asked, as
    /// in `Cache-Status`. None for a hit.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// The policy that applies, if it has a name.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The key of the request; none where it bypasses.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The parts of the key, each with its name: `tenant`, `path`, `query`, `header accept`, `cookie theme`, and so on.
    pub fn key_parts(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.key_parts.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The steps in order, each with its name: `policy`, `admission`, `memory`, `ledger`, `freshness`, `decision` and others.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.steps.iter().map(|(name, text)| (*name, &**text))
    }

    /// The same with the name of its cache, which [`to_json`](Explanation::to_json) then tells.
    #[must_use]
    pub fn in_cache(self, name: impl Into<String>) -> Self {
        Self { cache: Some(name.into()), ..self }
    }

    /// As one JSON object: `cache` (null unless it was [named](Explanation::in_cache)), `policy` (one without a name as in
    /// metrics: by its route, or a number), `outcome`, `reason`, `key`, `key_parts` (objects with `name` and `value`) and `steps`
    /// (objects with `name` and `text`).
    pub fn to_json(&self) -> String {
        self.json().to_string()
    }

    pub(crate) fn json(&self) -> Value {
        let parts = self.key_parts().map(|(name, value)| json!({"name": name, "value": value}));
        let steps = self.steps().map(|(name, text)| json!({"name": name, "text": text}));
        json!({
            "cache": self.cache,
            "policy": self.called(),
            "outcome": self.outcome.as_str(),
            "reason": self.reason,
            "key": self.key,
            "key_parts": parts.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
        })
    }

    /// The name of the policy; what it is called in metrics, if it has none.
    pub(crate) fn called(&self) -> Option<&str> {
        self.policy.as_deref().or(self.called.as_deref())
    }

    /// Whether what is stored under the key was stored by this policy.
    #[cfg(feature = "admin")]
    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }

    /// The tenant in the key.
    #[cfg(feature = "admin")]
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Says where in the table of its layer the policy stands.
    pub(crate) fn at(mut self, spot: Spot<'_>) -> Self {
        let place = match spot {
            Spot::Only => return self,
            Spot::When(number) => format!("predicate {number}"),
            Spot::Route(path) => format!("route {path}"),
            Spot::Otherwise => "what nothing else fits".to_owned(),
            Spot::Nothing => {
                self.put("policy", "none of the table".to_owned());
                return self;
            }
        };
        let policy = self.policy.as_deref().unwrap_or(NAMELESS);
        let text = format!("{place}: {policy}");
        self.put("policy", text);
        self
    }

    fn new(rules: &Rules) -> Self {
        let known = rules.name.is_none() && is_told_apart(rules.tally.name());
        Self {
            cache: None,
            policy: rules.name.as_deref().map(str::to_owned),
            called: known.then(|| (**rules.tally.name()).to_owned()),
            is_own: false,
            outcome: Outcome::Bypass,
            reason: None,
            key: None,
            key_parts: Vec::new(),
            tenant: None,
            steps: Vec::new(),
        }
    }

    fn step(&mut self, name: &'static str, text: impl Into<String>) {
        self.steps.push((name, text.into()));
    }

    /// Says something else in a step.
    fn put(&mut self, name: &'static str, text: String) {
        if let Some((_, old)) = self.steps.iter_mut().find(|(found, _)| *found == name) {
            *old = text;
        }
    }

    fn conclude(&mut self, outcome: Outcome, reason: Option<&'static str>, text: impl Into<String>) {
        (self.outcome, self.reason) = (outcome, reason);
        self.step("decision", text);
    }
}

/// What a policy without a name is called.
const NAMELESS: &str = "one without a name";

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outcome)?;
        if let Some(reason) = self.reason {
            write!(f, " ({reason})")?;
        }
        f.write_str("\n")?;
        if let Some(key) = &self.key {
            writeln!(f, "{:<10} {key}", "key:")?;
        }
        self.steps.iter().try_for_each(|(name, text)| writeln!(f, "{:<10} {text}", format!("{name}:")))
    }
}
