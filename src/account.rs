//! What a cache did with one request, in one line.

use crate::outcome::{NotStored, Outcome};
use http::HeaderValue;
use std::{borrow::Cow, fmt::Write};

/// What a cache did with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) outcome: Outcome,
    /// Why it is not a hit, or the kind of a stale one.
    pub(crate) reason: Option<&'static str>,
    pub(crate) policy: Option<Cow<'static, str>>,
    /// Age, and what is left of the lifetime, in seconds.
    pub(crate) age: Option<(u64, i64)>,
    /// Whether the answer was fit to be stored.
    pub(crate) stored: Option<Result<(), NotStored>>,
}

impl Account {
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self { outcome, reason: None, policy: None, age: None, stored: None }
    }

    /// One line of visible ASCII and spaces, at most 512 bytes long.
    pub(crate) fn line(&self) -> Option<HeaderValue> {
        let mut line = self.outcome.as_str().to_owned();
        let mut say = |name: &str, value: &dyn std::fmt::Display| {
            // Writing into a string does not fail.
            let _ = write!(line, "; {name}={value}");
        };
        if let Some(reason) = &self.reason {
            say("reason", reason);
        }
        if let Some(policy) = &self.policy {
            say("policy", policy);
        }
        if let Some((age, ttl)) = &self.age {
            say("age", age);
            say("ttl", ttl);
        }
        match &self.stored {
            Some(Ok(())) => say("stored", &"yes"),
            Some(Err(reason)) => {
                say("stored", &"no");
                say("not-stored", reason);
            }
            None => {}
        }
        // Names of policies are short and plain by their check; nothing else is longer than a word.
        line.retain(|c| c == ' ' || c.is_ascii_graphic());
        line.truncate(LONGEST);
        HeaderValue::try_from(line).ok()
    }
}

const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::storable::Refusal;

    #[test]
    fn a_line_says_what_is_known() {
        let account = Account { policy: Some("dashboard".into()), age: Some((12, 48)), ..Account::of(Outcome::Hit) };
        assert_eq!(account.line().unwrap(), "hit; policy=dashboard; age=12; ttl=48");
        let account = Account {
            reason: Some("uri-miss"),
            stored: Some(Err(NotStored::Refused(Refusal::SetCookie))),
            ..Account::of(Outcome::Miss)
        };
        assert_eq!(account.line().unwrap(), "miss; reason=uri-miss; stored=no; not-stored=set-cookie");
        let account = Account { reason: Some("cookie"), ..Account::of(Outcome::Bypass) };
        assert_eq!(account.line().unwrap(), "bypass; reason=cookie");
    }

    #[test]
    fn a_line_is_short_and_plain() {
        let account = Account {
            policy: Some(format!("\u{e9}\n{}", "x".repeat(2000)).into()),
            reason: Some("stale-while-revalidate"),
            age: Some((u64::MAX, i64::MIN)),
            stored: Some(Ok(())),
            ..Account::of(Outcome::Revalidated)
        };
        let line = account.line().unwrap();
        assert_eq!(line.len(), LONGEST);
        assert!(line.to_str().unwrap().starts_with("revalidated; reason=stale-while-revalidate; policy=xx"));
    }
}
