use super::reasons::remedy;
use crate::{
    cache::{
        Cache, Metrics, Mismatch, PolicyMetrics,
        verify::{Found, by_policy},
    },
    policy::{Objective, SLOW},
    tally::Counts,
};
use std::{fmt, time::Duration};

/// What an operator could change, as the counters say. Made by [`Cache::advice`].
///
/// ```
/// # use larder::{Advice, Cache};
/// # let cache = Cache::in_memory(1 << 20);
/// fn told(advice: &Advice) -> String {
///     let change = advice.change.as_deref().unwrap_or("nothing that is known");
///     format!("{}: {}; try {change}", advice.policy, advice.text)
/// }
///
/// let (grave, others): (Vec<_>, Vec<_>) = cache.advice().into_iter().partition(|advice| advice.kind.is_warning());
/// grave.iter().for_each(|advice| eprintln!("{}", told(advice)));
/// # assert!(others.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// What it is about.
    pub kind: AdviceKind,
    /// The policy, or the value.
    pub policy: String,
    /// The route, where it is about one.
    pub route: Option<String>,
    /// Why: what was seen, with figures.
    pub text: String,
    /// What to add to the policy, ready to be copied, where that is known.
    pub change: Option<String>,
}

/// What an [`Advice`] is about.
///
/// ```
/// use larder::AdviceKind;
///
/// assert!(AdviceKind::WrongAnswers.is_warning()); // wakes somebody
/// assert!(!AdviceKind::TtlTooLong.is_warning()); // can wait
/// assert_eq!(AdviceKind::TtlTooLong.as_str(), "ttl-too-long");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AdviceKind {
    /// Hits that [`Policy::verify`](crate::Policy::verify) compared were not what the inner service says.
    WrongAnswers,
    /// Nothing of a route is ever stored or looked up.
    NeverCacheable,
    /// What is wanted by [`Policy::objective`](crate::Policy::objective) is not met.
    ObjectiveMissed,
    /// What is stored is invalidated more often than it is read.
    InvalidatedMoreThanRead,
    /// What is stored expires while it is still asked for.
    TtlTooShort,
    /// What is stored outlives all interest in it.
    TtlTooLong,
    /// The inner service answers about as fast as the cache.
    CheaperWithout,
    /// A few large ones take the place of many.
    Oversized,
    /// A resource has very many variants.
    VariantExplosion,
    /// Many users are answered the same.
    WiderScope,
}

impl AdviceKind {
    /// The kind as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongAnswers => "wrong-answers",
            Self::NeverCacheable => "never-cacheable",
            Self::ObjectiveMissed => "objective-missed",
            Self::InvalidatedMoreThanRead => "invalidated-more-than-read",
            Self::TtlTooShort => "ttl-too-short",
            Self::TtlTooLong => "ttl-too-long",
            Self::CheaperWithout => "cheaper-without",
            Self::Oversized => "oversized",
            Self::VariantExplosion => "variant-explosion",
            Self::WiderScope => "wider-scope",
        }
    }

    /// Whether the application is worse off as it is, and could not only be better.
    pub const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::WrongAnswers
                | Self::NeverCacheable
                | Self::ObjectiveMissed
                | Self::InvalidatedMoreThanRead
                | Self::VariantExplosion
        )
    }
}

impl Cache {
    /// What could be changed, as the counters of the last hour say, and for routes that are never stored those of all the time; the
    /// gravest first. It takes about fifty requests of a kind before anything is said of them.
    ///
    /// ```
    /// # use larder::Cache;
    /// # let cache = Cache::in_memory(1 << 20);
    /// for advice in cache.advice() {
    ///     println!("{advice}");
    /// }
    /// ```
    pub fn advice(&self) -> Vec<Advice> {
        advise(&self.metrics(), self.memory_limit(), &self.mismatches())
    }
}

/// What the counters say, and the last hits that were found wrong. `limit`: the bytes of the memory tier.
pub(super) fn advise(metrics: &Metrics, limit: u64, wrong: &[Mismatch]) -> Vec<Advice> {
    let mut all: Vec<_> = wrong_answers(wrong).into_iter().chain(never_cacheable(metrics)).collect();
    for policy in &metrics.policies {
        let rules = [
            objective_missed(policy),
            invalidated(policy, metrics),
            too_short(policy),
            too_long(policy),
            cheaper_without(policy),
            oversized(policy, metrics, limit),
            variants(policy),
            wider_scope(policy),
        ];
        all.extend(rules.into_iter().flatten());
    }
    all.sort_by_key(|advice| (!advice.kind.is_warning(), advice.kind));
    all
}

/// By policy, as the last one of each shows. Names alone: what the request said is not told.
fn wrong_answers(wrong: &[Mismatch]) -> Vec<Advice> {
    let told = by_policy(wrong).into_iter().map(|Found { policy, count, last }| Advice {
        kind: AdviceKind::WrongAnswers,
        policy,
        route: None,
        text: format!(
            "{count} of the last hits that were verified {} not what the handler says; the last was {} old, and its request has \
             these that are not in the key: {}",
            if count == 1 { "was" } else { "were" },
            spelled(last.age),
            last.suspects
        ),
        change: Some("what tells those answers apart, by .key_headers([..]), .key_cookies([..]) or .per_user(); or a shorter .fresh_for(..)".to_owned()),
    });
    told.collect()
}

fn never_cacheable(metrics: &Metrics) -> impl Iterator<Item = Advice> + '_ {
    let rows = metrics.uncacheable.iter().filter(|row| row.count >= ENOUGH);
    rows.filter_map(|row| {
        let policy = metrics.policies.iter().find(|policy| policy.name == row.policy)?;
        // Where a part of it is served all the same, the reason is that of some requests only.
        let most = policy.total.requests().saturating_sub(policy.total.served());
        let common = percent(row.count, most) >= 10 && percent(policy.total.served(), policy.total.requests()) < 50;
        let (meaning, change) = remedy(row.reason);
        common.then(|| Advice {
            kind: AdviceKind::NeverCacheable,
            policy: row.policy.clone(),
            route: Some(row.route.clone()),
            text: format!("{} was not cached about {} times ({}): {meaning}", row.route, row.count, row.reason),
            change: change.map(str::to_owned),
        })
    })
}

fn objective_missed(policy: &PolicyMetrics) -> Option<Advice> {
    let objective = policy.objective.filter(|_| policy.met == Some(false))?;
    let (counts, Objective { lookup_hit_ratio, p95, .. }) = (&policy.windows.five_minutes, objective);
    let (ratio, slow) = (counts.lookup_hit_ratio(), objective.slow(counts));
    let mut missed = Vec::new();
    if ratio < lookup_hit_ratio {
        missed.push(format!("the lookup hit ratio was {}, and {} is wanted", part(ratio), part(lookup_hit_ratio)));
    }
    if slow > SLOW {
        // Rounded up, for the same reason.
        let slow = ((slow * 1000.0 - 1e-9).ceil() / 1000.0).min(1.0);
        let (slow, most, p95) = (part(slow), part(SLOW), spelled(p95));
        missed.push(format!("{slow} of lookups took longer than {p95}, and {most} may"));
    }
    Some(of(policy, AdviceKind::ObjectiveMissed, format!("in the last five minutes {}", missed.join("; ")), None))
}

fn invalidated(policy: &PolicyMetrics, metrics: &Metrics) -> Option<Advice> {
    let counts = &policy.windows.hour;
    if counts.invalidated < ENOUGH || counts.invalidated <= counts.served() {
        return None;
    }
    let name = metrics
        .invalidated
        .first()
        .map_or(String::new(), |(name, times)| format!("; most often: {name} ({times} times)"));
    Some(of(
        policy,
        AdviceKind::InvalidatedMoreThanRead,
        format!(
            "in the last hour {} stored ones were found invalidated, and {} were used{name}",
            counts.invalidated,
            counts.served()
        ),
        Some(
            "a narrower tag (.tag_with(..)), an invalidation within a tenant, or .soft() with .stale_while_revalidate(..)",
        ),
    ))
}

fn too_short(policy: &PolicyMetrics) -> Option<Advice> {
    let counts = &policy.windows.hour;
    let still_good = counts.revalidated >= ENOUGH && percent(counts.revalidated, counts.lookups()) >= 50;
    if still_good {
        return Some(of(
            policy,
            AdviceKind::TtlTooShort,
            format!(
                "in the last hour {} of {} lookups found something stale that the inner service said still holds",
                counts.revalidated,
                counts.lookups()
            ),
            Some(".fresh_for(..) with a longer time, or .adaptive_lifetime(..)"),
        ));
    }
    // The same ones are made again and again, although they are used and nobody invalidates them.
    let again = counts.stored / policy.entries.max(1);
    let used = percent(counts.unused, counts.stored) < 30 && percent(counts.invalidated, counts.stored) < 30;
    (counts.stored >= ENOUGH && again >= 10 && used && percent(counts.served(), counts.lookups()) < 60).then(|| {
        of(
            policy,
            AdviceKind::TtlTooShort,
            format!(
                "in the last hour each was made about {again} times, and the lookup hit ratio was {}",
                part(counts.lookup_hit_ratio())
            ),
            Some(".fresh_for(..) with a longer time, or .stale_while_revalidate(..)"),
        )
    })
}

fn too_long(policy: &PolicyMetrics) -> Option<Advice> {
    let counts = &policy.windows.hour;
    (counts.stored >= ENOUGH && percent(counts.unused, counts.stored) >= 80).then(|| {
        of(
            policy,
            AdviceKind::TtlTooLong,
            format!(
                "of {} stored in the last hour {} went without having been used: they keep others out",
                counts.stored, counts.unused
            ),
            Some(".min_uses(2), or .fresh_for(..) with a shorter time"),
        )
    })
}

fn cheaper_without(policy: &PolicyMetrics) -> Option<Advice> {
    let counts = &policy.total;
    let (fill, hit) = (counts.fill_time.p95?, counts.hit_time.p50?);
    (counts.fill_time.count >= ENOUGH && fill < hit * 4 && fill < Duration::from_micros(50)).then(|| {
        of(
            policy,
            AdviceKind::CheaperWithout,
            format!(
                "95 of 100 fills take {} at most, and a hit takes {}: there is nothing to gain",
                spelled(fill),
                spelled(hit)
            ),
            None,
        )
    })
}

fn oversized(policy: &PolicyMetrics, metrics: &Metrics, limit: u64) -> Option<Advice> {
    let each = policy.bytes.checked_div(policy.entries)?;
    let large = each >= 1 << 20 && percent(policy.bytes, limit) >= 25;
    let (counts, all) = (&policy.windows.hour, &metrics.windows.hour);
    (large && percent(counts.served(), all.served()) < 5).then(|| {
        of(
            policy,
            AdviceKind::Oversized,
            format!(
                "{} stored ones of {} KiB each take {} % of memory, for {} % of what is served",
                policy.entries,
                each >> 10,
                percent(policy.bytes, limit),
                percent(counts.served(), all.served())
            ),
            Some(".max_body(..) with less, or a cache of its own"),
        )
    })
}

fn variants(policy: &PolicyMetrics) -> Option<Advice> {
    let each = policy.entries.checked_div(policy.resources)?;
    (policy.entries >= ENOUGH && each >= 8).then(|| {
        of(
            policy,
            AdviceKind::VariantExplosion,
            format!(
                "{} resources have {each} variants each: what their Vary names has too many values",
                policy.resources
            ),
            Some(".key_language([..]) or .key_encoding() for what those fields tell apart, or .ignore_vary([..])"),
        )
    })
}

fn wider_scope(policy: &PolicyMetrics) -> Option<Advice> {
    let (seen, same) = policy.alike;
    (seen >= ENOUGH && percent(same, seen) >= 95).then(|| {
        of(policy, AdviceKind::WiderScope, format!(
            "of {seen} answers that are kept apart by who asks, {same} are the same as another's: if that is meant to be so, they \
             could be shared"
        ), Some(".per_tenant(), or .shared() if anybody may see them"))
    })
}

fn of(policy: &PolicyMetrics, kind: AdviceKind, text: String, change: Option<&str>) -> Advice {
    Advice { kind, policy: policy.name.clone(), route: policy.route.clone(), text, change: change.map(str::to_owned) }
}

fn percent(part: u64, all: u64) -> u64 {
    part.saturating_mul(100).checked_div(all).unwrap_or(0)
}

/// Rounded down: what is not met is never told as if it were.
pub(super) fn part(ratio: f64) -> String {
    let tenths = (ratio * 1000.0 + 1e-9).floor() / 10.0;
    format!("{tenths} %")
}

pub(super) fn spelled(span: Duration) -> String {
    format!("{span:.1?}")
}

/// What was counted in total that says something.
pub(super) fn is_telling(counts: &Counts) -> bool {
    counts.lookups() >= ENOUGH
}

impl fmt::Display for AdviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.policy, self.kind, self.text)?;
        match &self.change {
            Some(change) => write!(f, ". Try {change}"),
            None => Ok(()),
        }
    }
}

/// Less says nothing.
const ENOUGH: u64 = 50;
