//! Lifetimes, ages, storing and reuse over any fields: bounds, and what a prohibition must always lead to.
#![no_main]

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, SET_COOKIE, VARY},
};
use larder::semantics::{
    cache_control::{MAX_DELTA, RequestDirectives},
    date::Timestamp,
    freshness::{LifetimeSource, age, explicit_lifetime, heuristic_lifetime, initial_age},
    reuse::{Lifespan, Reuse, Why},
    storable::{Refusal, SetCookie, StoreRequest, StoreRules, storable},
    targeted::governing,
};
use larder_fuzz::{NOW, fields, halves};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<4>() else { return };
    let [flags, kind, took, later] = *head;
    let (response, request) = halves(rest);
    let (response, request) = (fields(response), RequestDirectives::parse(&fields(request)));
    let status = StatusCode::from_u16(100 + u16::from(kind) * 2 + u16::from(flags & 1)).expect("a status below 1000");
    let asked = NOW.saturating_sub(Duration::from_secs(u64::from(took)));
    let minute = Duration::from_secs(60);
    let mut rules = StoreRules::default();
    rules.default_lifetime = (flags & 2 != 0).then_some(minute);
    rules.heuristic = flags & 4 != 0;
    rules.override_response = flags & 8 != 0;
    rules.targets = vec![HeaderName::from_static("cdn-cache-control")];
    rules.set_cookie = if flags & 16 != 0 { SetCookie::Strip } else { SetCookie::Refuse };
    rules.stale_while_revalidate = minute;
    let mut asking = StoreRequest::default();
    (asking.credentials, asking.no_store, asking.one_user) = (flags & 32 != 0, flags & 64 != 0, flags & 128 != 0);

    let governed = governing(&response, &rules.targets);
    let explicit = explicit_lifetime(&governed, &response, NOW);
    assert!(explicit.is_none_or(|(lifetime, _)| lifetime <= MAX_DELTA));
    if governed.targeted {
        assert!(explicit.is_none_or(|(_, source)| source != LifetimeSource::Expires));
    }
    assert!(
        heuristic_lifetime(status, &governed.directives, &response, NOW).is_none_or(|lifetime| lifetime <= MAX_DELTA)
    );
    let start = initial_age(&response, asked, NOW);
    assert!(start <= MAX_DELTA);
    assert!(age(&response).is_none_or(|stated| stated <= start), "never younger than stated");
    assert!(initial_age(&response, NOW, NOW) <= start, "a longer wait makes nothing younger");

    let verdict = |headers: &HeaderMap, asking| storable(asking, status, headers, &rules, NOW, start);
    let plain = verdict(&response, asking);
    // What forbids, forbids; and more wishes of the request allow no more.
    let asked = |change: fn(&mut StoreRequest)| {
        let mut asking = asking;
        change(&mut asking);
        verdict(&response, asking)
    };
    assert!(asked(|asking| asking.no_store = true).is_err());
    if plain.is_ok() {
        assert!(asked(|asking| asking.credentials = false).is_ok());
        assert!(asked(|asking| asking.one_user = true).is_ok());
    }
    let with = |name, value| {
        let mut headers = response.clone();
        headers.append(name, HeaderValue::from_static(value));
        headers
    };
    if !governed.targeted && !governed.directives.must_understand {
        assert!(verdict(&with(CACHE_CONTROL, "no-store"), asking).is_err());
    }
    if !governed.targeted && !asking.one_user {
        assert!(verdict(&with(CACHE_CONTROL, "private=\"x\""), asking).is_err());
    }
    assert!(verdict(&with(VARY, "*"), asking).is_err());
    if rules.set_cookie == SetCookie::Refuse {
        assert!(verdict(&with(SET_COOKIE, "a=b"), asking).is_err());
    }

    let stored = match plain {
        Ok(stored) => stored,
        Err(refusal) => return assert!(Refusal::ALL.contains(&refusal)),
    };
    let directives = &stored.directives;
    assert!(!directives.malformed && !asking.no_store);
    assert!(!directives.no_store || directives.must_understand);
    assert!(!directives.private || asking.one_user);
    assert!(!asking.credentials || directives.public || directives.must_revalidate || directives.s_maxage.is_some());
    assert!(stored.lifetime <= MAX_DELTA);
    assert!(stored.nominated.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));

    let life = Lifespan::of(&stored, NOW, start);
    assert!(life.fresh_until <= life.revalidate_until && life.fresh_until <= life.error_until);
    assert_eq!(life.age(NOW), start.min(Duration::from_millis(NOW.as_unix_millis())));
    let spans = [Duration::ZERO, Duration::from_secs(u64::from(later)), minute * u32::from(later) * 60, Duration::MAX];
    let moments = spans.map(|span| NOW.saturating_add(span)).into_iter().chain([
        life.fresh_until,
        life.revalidate_until,
        life.fresh_until.saturating_sub(Duration::from_millis(1)),
        Timestamp::default(),
    ]);
    for now in moments {
        let alone = life.reuse(None, now);
        assert_eq!(life.is_fresh(now), now < life.fresh_until);
        assert_eq!(life.ttl(now) > 0, life.fresh_until.since(now) >= Duration::from_secs(1));
        match alone {
            Reuse::Fresh => assert!(life.is_fresh(now) && !directives.no_cache),
            Reuse::WhileRevalidating => {
                assert!(!life.is_fresh(now) && !life.never_stale && now < life.revalidate_until)
            }
            Reuse::Validate(Why::NoCache) => assert!(directives.no_cache),
            Reuse::Validate(why) => assert!(why == Why::Stale && !life.is_fresh(now)),
            other => panic!("{other:?} without a request"),
        }
        if !matches!(alone, Reuse::Validate(_)) {
            assert!(life.is_usable(now));
        }
        let asked = life.reuse(Some(&request), now);
        if asked == Reuse::Fresh {
            assert_eq!(alone, Reuse::Fresh);
            assert!(!request.no_cache && request.min_fresh.is_none_or(|margin| life.fresh_until.since(now) >= margin));
        }
        // Nobody can ask a response stale that must not be.
        if life.never_stale && !life.is_fresh(now) {
            assert!(matches!(asked, Reuse::Validate(_)) && matches!(alone, Reuse::Validate(_)));
            assert!(!life.allows_error(Some(&request), now) && !life.allows_error(None, now));
        }
        if directives.no_cache {
            assert_eq!(asked, Reuse::Validate(Why::NoCache));
        }
        let mut no_cache = request;
        no_cache.no_cache = true;
        assert!(matches!(life.reuse(Some(&no_cache), now), Reuse::Validate(_)));
        assert_eq!(life.reuse(Some(&RequestDirectives::default()), now), alone);
    }
});
