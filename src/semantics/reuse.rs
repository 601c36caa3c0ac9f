//! May a stored response be served (RFC 9111 §4, §5.2.1; RFC 5861)?

use super::{
    cache_control::{MaxStale, RequestDirectives},
    date::Timestamp,
    storable::{Storable, never_stale},
};
use std::time::Duration;

/// The moments in the life of a stored response, worked out once when it is stored, so that each later decision is a
/// few comparisons.
///
/// ```
/// use larder::semantics::reuse::{Lifespan, Reuse};
/// use std::time::Duration;
/// # use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
/// # use larder::semantics::{date::Timestamp, storable::{Refusal, StoreRequest, StoreRules, storable}};
/// # let says = HeaderValue::from_static("max-age=60, stale-while-revalidate=30");
/// # let (received, head) = (Timestamp::from_unix_secs(1_800_000_000), HeaderMap::from_iter([(CACHE_CONTROL, says)]));
/// # let (asked, rules, none) = (StoreRequest::default(), StoreRules::default(), Duration::ZERO);
/// # let storable = storable(asked, StatusCode::OK, &head, &rules, received, none)?;
///
/// // Of `max-age=60, stale-while-revalidate=30`, 20 s old when it came, after 50 s.
/// let life = Lifespan::of(&storable, received, Duration::from_secs(20));
/// let now = received.saturating_add(Duration::from_secs(50));
/// assert_eq!((life.age(now), life.ttl(now)), (Duration::from_secs(70), -10));
/// assert_eq!(life.reuse(None, now), Reuse::WhileRevalidating);
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Lifespan {
    /// When its age was zero.
    pub born: Timestamp,
    /// Fresh before this moment.
    pub fresh_until: Timestamp,
    /// Served before this moment while it is refreshed.
    pub revalidate_until: Timestamp,
    /// Served before this moment if the inner service fails.
    pub error_until: Timestamp,
    /// `no-cache`: never served without asking.
    pub always_validate: bool,
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`: never served stale (RFC 9111 §4.2.4).
    pub never_stale: bool,
}

/// What to do with a stored response that matches the request.
///
/// ```
/// use larder::semantics::reuse::{Lifespan, Reuse};
/// # use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
/// # use larder::semantics::{date::Timestamp, storable::{Refusal, StoreRequest, StoreRules, storable}};
/// # let now = Timestamp::from_unix_secs(1_800_000_000);
/// # let head = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
/// # let (asked, rules, age) = (StoreRequest::default(), StoreRules::default(), std::time::Duration::ZERO);
/// # let life = Lifespan::of(&storable(asked, StatusCode::OK, &head, &rules, now, age)?, now, age);
///
/// let (serve, ask) = match life.reuse(None, now) {
///     Reuse::Fresh | Reuse::StaleAccepted => (true, false),
///     Reuse::WhileRevalidating => (true, true),
///     Reuse::Validate(_) | _ => (false, true),
/// };
/// assert!(serve && !ask);
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use = "it says whether the response may be served"]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it, and refresh it in the background (RFC 5861 §3).
    WhileRevalidating,
    /// Serve it: the client said that it may be this stale (`max-stale`).
    StaleAccepted,
    /// Ask the inner service first.
    Validate(Why),
}

/// Why a stored response is not served without asking.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use larder::semantics::{cache_control::RequestDirectives, reuse::{Lifespan, Reuse, Why}};
/// # use http::StatusCode;
/// # use larder::semantics::{date::Timestamp, storable::{Refusal, StoreRequest, StoreRules, storable}};
/// # let now = Timestamp::from_unix_secs(1_800_000_000);
/// # let head = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
/// # let (asked, rules, age) = (StoreRequest::default(), StoreRules::default(), std::time::Duration::ZERO);
/// # let life = Lifespan::of(&storable(asked, StatusCode::OK, &head, &rules, now, age)?, now, age);
///
/// let reload = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))]);
/// let reload = RequestDirectives::parse(&reload);
/// assert_eq!(life.reuse(Some(&reload), now), Reuse::Validate(Why::Request));
/// assert_eq!(life.reuse(None, now), Reuse::Fresh); // under a policy that does not honour it
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It is stale.
    Stale,
    /// It says `no-cache`.
    NoCache,
    /// The request says `no-cache`, or asks for a younger or longer-lived response.
    Request,
}

impl Lifespan {
    /// The life of a response that arrived at `received`, already `age` old.
    pub fn of(storable: &Storable, received: Timestamp, age: Duration) -> Self {
        let born = received.saturating_sub(age);
        let fresh_until = born.saturating_add(storable.lifetime);
        Self {
            born,
            fresh_until,
            revalidate_until: fresh_until.saturating_add(storable.stale_while_revalidate),
            error_until: fresh_until.saturating_add(storable.stale_if_error),
            always_validate: storable.directives.no_cache,
            never_stale: never_stale(&storable.directives),
        }
    }

    /// The same life, if it went stale at this moment at the latest: what follows follows then.
    #[must_use]
    pub fn ended_at(self, moment: Timestamp) -> Self {
        if moment >= self.fresh_until {
            return self;
        }
        let moved = |until: Timestamp| until.min(moment.saturating_add(until.since(self.fresh_until)));
        Self {
            fresh_until: moment,
            revalidate_until: moved(self.revalidate_until),
            error_until: moved(self.error_until),
            ..self
        }
    }

    /// Whether nobody is served it without asking, even at the moment at which it arrives.
    pub(crate) fn is_never_shared(&self) -> bool {
        self.always_validate || (self.fresh_until <= self.born && self.revalidate_until <= self.born)
    }

    /// Its current age (RFC 9111 §4.2.3).
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.born)
    }

    /// Whole seconds until it goes stale, negative once it has.
    pub fn ttl(&self, now: Timestamp) -> i64 {
        let left = i64::try_from(self.fresh_until.since(now).as_secs()).unwrap_or(i64::MAX);
        let over = i64::try_from(now.since(self.fresh_until).as_secs()).unwrap_or(i64::MAX);
        left - over
    }

    /// Its age, and what is left of its lifetime, in whole seconds.
    pub(crate) fn said(&self, now: Timestamp) -> (u64, i64) {
        (self.age(now).as_secs(), self.ttl(now))
    }

    /// Whether it is fresh.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    /// Whether it may be served because the inner service has failed (RFC 5861 §4). `request` is what the request says,
    /// `None` where the policy does not honour that: it may allow more, and a limit to staleness is a limit here too.
    pub fn allows_error(&self, request: Option<&RequestDirectives>, now: Timestamp) -> bool {
        let stated = request.and_then(|request| request.stale_if_error).unwrap_or_default();
        let until = self.error_until.max(self.fresh_until.saturating_add(stated));
        let limited = request.is_some_and(|request| request.max_stale.is_some() && !self.accepts_stale(request, now));
        !self.never_stale && !limited && now < until
    }

    /// Whether anyone could still be served this response without asking, so that a passing trouble must not take its
    /// place.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        !self.always_validate && (now < self.fresh_until || (!self.never_stale && now < self.usable_until()))
    }

    /// The last moment at which anyone could be served this response without asking.
    pub fn usable_until(&self) -> Timestamp {
        self.fresh_until.max(self.revalidate_until).max(self.error_until)
    }

    /// The verdict for a request. `request` is what it says, `None` where the policy does not honour that.
    #[inline]
    pub fn reuse(&self, request: Option<&RequestDirectives>, now: Timestamp) -> Reuse {
        if self.always_validate {
            return Reuse::Validate(Why::NoCache);
        }
        let Some(request) = request else { return self.by_age(now) };
        let demanded = request.no_cache
            || request.max_age.is_some_and(|limit| self.age(now) > limit.saturating_add(self.leave(request)))
            || request.min_fresh.is_some_and(|margin| self.fresh_until.since(now) < margin);
        if demanded {
            return Reuse::Validate(Why::Request);
        }
        match self.by_age(now) {
            Reuse::Validate(Why::Stale) if self.accepts_stale(request, now) => Reuse::StaleAccepted,
            // A client that sets a limit to staleness means it for background refreshes too.
            Reuse::WhileRevalidating if request.max_stale.is_some() && !self.accepts_stale(request, now) => {
                Reuse::Validate(Why::Request)
            }
            verdict => verdict,
        }
    }

    fn by_age(&self, now: Timestamp) -> Reuse {
        if now < self.fresh_until {
            Reuse::Fresh
        } else if now < self.revalidate_until && !self.never_stale {
            Reuse::WhileRevalidating
        } else {
            Reuse::Validate(Why::Stale)
        }
    }

    /// `max-stale` (RFC 9111 §5.2.1.2), which no prohibition of the response yields to.
    fn accepts_stale(&self, request: &RequestDirectives, now: Timestamp) -> bool {
        let over = now.since(self.fresh_until);
        !self.never_stale
            && match request.max_stale {
                Some(MaxStale::Any) => true,
                Some(MaxStale::Within(limit)) => over <= limit,
                None => false,
            }
    }

    /// `max-age` together with `max-stale` accepts a response older by as much (RFC 9111 §5.2.1.1).
    fn leave(&self, request: &RequestDirectives) -> Duration {
        match request.max_stale {
            Some(MaxStale::Any) if !self.never_stale => Duration::MAX,
            Some(MaxStale::Within(limit)) if !self.never_stale => limit,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    fn span(fresh: u64, revalidate: u64, error: u64) -> Lifespan {
        let fresh_until = T0.saturating_add(Duration::from_secs(fresh));
        Lifespan {
            born: T0,
            fresh_until,
            revalidate_until: fresh_until.saturating_add(Duration::from_secs(revalidate)),
            error_until: fresh_until.saturating_add(Duration::from_secs(error)),
            always_validate: false,
            never_stale: false,
        }
    }

    fn after(secs: u64) -> Timestamp {
        T0.saturating_add(Duration::from_secs(secs))
    }

    fn asks(directives: RequestDirectives) -> Option<RequestDirectives> {
        Some(directives)
    }

    #[test]
    fn a_life_goes_fresh_then_stale_then_out() {
        let span = span(60, 30, 300);
        assert_eq!(span.reuse(None, after(0)), Reuse::Fresh);
        assert_eq!(span.reuse(None, after(59)), Reuse::Fresh);
        assert_eq!(span.reuse(None, after(60)), Reuse::WhileRevalidating);
        assert_eq!(span.reuse(None, after(89)), Reuse::WhileRevalidating);
        assert_eq!(span.reuse(None, after(90)), Reuse::Validate(Why::Stale));
        assert!(span.allows_error(None, after(359)) && !span.allows_error(None, after(360)));
        assert!(span.is_usable(after(359)) && !span.is_usable(after(360)));
        assert_eq!((span.ttl(after(10)), span.ttl(after(70))), (50, -10));
    }

    #[test]
    fn max_stale_has_its_limit_and_never_beats_a_prohibition() {
        let stale = span(10, 0, 0);
        let within = |secs| {
            let max_stale = Some(MaxStale::Within(Duration::from_secs(secs)));
            asks(RequestDirectives { max_stale, ..RequestDirectives::default() })
        };
        let any = asks(RequestDirectives { max_stale: Some(MaxStale::Any), ..RequestDirectives::default() });
        assert_eq!(stale.reuse(within(5).as_ref(), after(15)), Reuse::StaleAccepted);
        assert_eq!(stale.reuse(within(5).as_ref(), after(16)), Reuse::Validate(Why::Stale));
        assert_eq!(stale.reuse(any.as_ref(), after(9999)), Reuse::StaleAccepted);
        let strict = Lifespan { never_stale: true, ..span(10, 30, 300) };
        for request in [None, any, within(99999)] {
            assert_eq!(strict.reuse(request.as_ref(), after(15)), Reuse::Validate(Why::Stale));
            assert!(!strict.allows_error(request.as_ref(), after(15)));
        }
    }

    #[test]
    fn requests_can_ask_for_more() {
        let fresh = span(60, 30, 0);
        let base = RequestDirectives::default();
        let no_cache = asks(RequestDirectives { no_cache: true, ..base });
        assert_eq!(fresh.reuse(no_cache.as_ref(), after(1)), Reuse::Validate(Why::Request));
        let young = asks(RequestDirectives { max_age: Some(Duration::from_secs(5)), ..base });
        assert_eq!(fresh.reuse(young.as_ref(), after(5)), Reuse::Fresh);
        assert_eq!(fresh.reuse(young.as_ref(), after(6)), Reuse::Validate(Why::Request));
        let lasting = asks(RequestDirectives { min_fresh: Some(Duration::from_secs(20)), ..base });
        assert_eq!(fresh.reuse(lasting.as_ref(), after(40)), Reuse::Fresh);
        assert_eq!(fresh.reuse(lasting.as_ref(), after(41)), Reuse::Validate(Why::Request));
    }

    #[test]
    fn a_limit_to_staleness_holds_for_refreshes_and_errors() {
        let within = |secs| {
            let max_stale = Some(MaxStale::Within(Duration::from_secs(secs)));
            asks(RequestDirectives { max_stale, ..RequestDirectives::default() })
        };
        let life = span(10, 30, 300);
        assert_eq!(life.reuse(within(5).as_ref(), after(15)), Reuse::WhileRevalidating);
        assert_eq!(life.reuse(within(5).as_ref(), after(16)), Reuse::Validate(Why::Request));
        let nothing = asks(RequestDirectives::default());
        assert_eq!(life.reuse(nothing.as_ref(), after(16)), Reuse::WhileRevalidating);
        assert!(life.allows_error(within(5).as_ref(), after(15)) && !life.allows_error(within(5).as_ref(), after(16)));
        assert!(life.allows_error(nothing.as_ref(), after(16)));
        let stale_if_error = Some(Duration::from_secs(20));
        let stated = asks(RequestDirectives { stale_if_error, ..RequestDirectives::default() });
        let short = span(10, 0, 0);
        assert!(short.allows_error(stated.as_ref(), after(29)) && !short.allows_error(stated.as_ref(), after(30)));
    }

    #[test]
    fn max_stale_adds_to_max_age() {
        let young = |max_stale| {
            let max_age = Some(Duration::from_secs(5));
            asks(RequestDirectives { max_age, max_stale, ..RequestDirectives::default() })
        };
        let within = young(Some(MaxStale::Within(Duration::from_secs(3))));
        let any = young(Some(MaxStale::Any));
        let life = span(60, 0, 0);
        assert_eq!(life.reuse(within.as_ref(), after(8)), Reuse::Fresh);
        assert_eq!(life.reuse(within.as_ref(), after(9)), Reuse::Validate(Why::Request));
        assert_eq!(life.reuse(any.as_ref(), after(59)), Reuse::Fresh);
        let strict = Lifespan { never_stale: true, ..life };
        for request in [within, any] {
            assert_eq!(strict.reuse(request.as_ref(), after(5)), Reuse::Fresh);
            assert_eq!(strict.reuse(request.as_ref(), after(6)), Reuse::Validate(Why::Request));
        }
    }

    #[test]
    fn a_life_that_is_cut_short_keeps_its_windows() {
        let life = span(60, 30, 300);
        assert_eq!(life.ended_at(after(60)), life);
        assert_eq!(life.ended_at(after(61)), life);
        assert_eq!(life.ended_at(after(10)), span(10, 30, 300));
    }

    #[test]
    fn what_is_asked_of_a_life() {
        let life = span(60, 30, 300);
        assert!(life.is_fresh(after(59)) && !life.is_fresh(after(60)) && !life.is_fresh(after(61)));
        assert_eq!((life.said(after(10)), life.said(after(70))), ((10, 50), (70, -10)));
        let strict = Lifespan { never_stale: true, ..life };
        assert!(strict.is_usable(after(59)) && !strict.is_usable(after(60)) && !strict.is_usable(after(61)));
        let validated = Lifespan { always_validate: true, ..life };
        assert!(!validated.is_usable(after(0)));
        for (life, never) in [(validated, true), (span(0, 0, 9), true), (span(0, 1, 0), false), (span(1, 0, 0), false)]
        {
            assert_eq!(life.is_never_shared(), never, "{life:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_stale_is_ever_called_fresh(
            fresh in 0u64..1000, swr in 0u64..1000, sie in 0u64..1000, at in 0u64..5000,
            never_stale: bool, always_validate: bool,
        ) {
            let span = Lifespan { never_stale, always_validate, ..span(fresh, swr, sie) };
            let verdict = span.reuse(None, after(at));
            prop_assert_eq!(verdict == Reuse::Fresh, at < fresh && !always_validate);
            if never_stale && at >= fresh {
                prop_assert!(matches!(verdict, Reuse::Validate(_)));
                prop_assert!(!span.allows_error(None, after(at)));
            }
        }
    }
}
