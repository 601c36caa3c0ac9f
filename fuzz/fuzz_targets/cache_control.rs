//! Cache-Control: a prohibition is never lost, more lines only forbid more, lifetimes are bounded.
#![no_main]

use http::header::CACHE_CONTROL;
use larder::semantics::cache_control::{MAX_DELTA, MaxStale, RequestDirectives, ResponseDirectives};
use larder_fuzz::{lines, values};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let alone = ResponseDirectives::from_lines(lines(data));
    for lifetime in [alone.max_age, alone.s_maxage, alone.stale_while_revalidate, alone.stale_if_error] {
        assert!(lifetime.is_none_or(|lifetime| lifetime <= MAX_DELTA));
    }

    // A line with a prohibition, before, after, and as the first element.
    for all in [
        ResponseDirectives::from_lines(lines(data).chain([&b"no-store"[..]])),
        ResponseDirectives::from_lines([&b"No-Store"[..]].into_iter().chain(lines(data))),
    ] {
        let mut expected = alone;
        expected.no_store = true;
        assert_eq!(all, expected);
    }
    for line in lines(data) {
        agrees_with_a_plain_reader(line);
        let prefixed = ResponseDirectives::from_lines([&[b"no-store=\"a\\\", b\", private, ", line].concat()[..]]);
        assert!(prefixed.no_store && prefixed.private);
        let own = ResponseDirectives::from_lines([line]);
        let mut expected = own;
        (expected.no_store, expected.private) = (true, true);
        assert_eq!(prefixed, expected);
        if !line.contains(&b'"') {
            let after = ResponseDirectives::from_lines([&[line, b",no-store"].concat()[..]]);
            assert!(after.no_store && after.malformed == own.malformed);
        }
        // Of all the lines together, at least this one's prohibitions hold.
        assert!(!own.no_store || alone.no_store);
        assert!(!own.no_cache || alone.no_cache);
        assert!(!own.private || alone.private);
        assert!(!own.must_revalidate || alone.must_revalidate);
        assert!(!own.malformed || alone.malformed);
        assert!(own.max_age.is_none_or(|own| alone.max_age.is_some_and(|all| all <= own)));
        assert!(own.s_maxage.is_none_or(|own| alone.s_maxage.is_some_and(|all| all <= own)));
    }

    let mut headers = values(&CACHE_CONTROL, data);
    let given: Vec<_> = headers.get_all(CACHE_CONTROL).iter().map(|value| value.as_bytes()).collect();
    assert_eq!(ResponseDirectives::parse(&headers), ResponseDirectives::from_lines(given));

    let before = RequestDirectives::parse(&headers);
    for wish in [before.max_age, before.min_fresh, before.stale_if_error] {
        assert!(wish.is_none_or(|wish| wish <= MAX_DELTA));
    }
    headers.append(CACHE_CONTROL, "no-store, no-cache, max-age=5, max-stale=7, min-fresh=x".parse().expect("a value"));
    let after = RequestDirectives::parse(&headers);
    assert!(after.no_store && after.no_cache && after.max_age.is_some_and(|limit| limit.is_zero()));
    assert!(matches!(after.max_stale, Some(MaxStale::Within(limit)) if limit.as_secs() <= 7));
    assert_eq!((after.min_fresh, after.only_if_cached), (before.min_fresh, before.only_if_cached));
});

/// Where a line holds nothing but `name` and `name=digits`, splitting it at the commas reads it right.
fn agrees_with_a_plain_reader(line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else { return };
    let elements = text.split(',').map(|element| element.trim_matches([' ', '\t'])).filter(|text| !text.is_empty());
    let mut expected = ResponseDirectives::default();
    for element in elements {
        let (name, value) = element.split_once('=').map_or((element, None), |(name, value)| (name, Some(value)));
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let digits = |text: &str| (1..18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || !value.is_none_or(digits) {
            return;
        }
        let (lifetime, switch) = match name {
            "max-age" => (Some(&mut expected.max_age), None),
            "s-maxage" => (Some(&mut expected.s_maxage), None),
            "stale-while-revalidate" => (Some(&mut expected.stale_while_revalidate), None),
            "stale-if-error" => (Some(&mut expected.stale_if_error), None),
            "no-store" => (None, Some(&mut expected.no_store)),
            "no-cache" => (None, Some(&mut expected.no_cache)),
            "private" => (None, Some(&mut expected.private)),
            "public" => (None, Some(&mut expected.public)),
            "must-revalidate" => (None, Some(&mut expected.must_revalidate)),
            "proxy-revalidate" => (None, Some(&mut expected.proxy_revalidate)),
            "must-understand" => (None, Some(&mut expected.must_understand)),
            "no-transform" => (None, Some(&mut expected.no_transform)),
            "immutable" => (None, Some(&mut expected.immutable)),
            _ => (None, None),
        };
        if let Some(switch) = switch {
            *switch = true;
        }
        let seconds = value.and_then(|digits| digits.parse().ok()).map(|secs| Duration::from_secs(secs).min(MAX_DELTA));
        match (lifetime, seconds) {
            (Some(lifetime), Some(seconds)) => *lifetime = Some(lifetime.map_or(seconds, |known| known.min(seconds))),
            (Some(_), None) => expected.malformed = true,
            (None, _) => {}
        }
    }
    assert_eq!(ResponseDirectives::from_lines([line]), expected);
}
