use super::*;
use http::HeaderValue;

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn verdict(status: u16, fields: &[(&'static str, &str)], rules: &StoreRules) -> Result<u64, Refusal> {
    let status = StatusCode::from_u16(status).unwrap();
    let request = StoreRequest::default();
    storable(request, status, &headers(fields), rules, NOW, Duration::ZERO).map(|yes| yes.lifetime.as_secs())
}

fn minute() -> StoreRules {
    StoreRules { default_lifetime: Some(Duration::from_secs(60)), ..StoreRules::default() }
}

#[test]
fn a_default_lifetime_covers_the_statuses_that_describe_the_resource() {
    let covered = [200, 203, 204, 300, 301, 308, 404, 410];
    for status in 200..600 {
        let expected = match status {
            206 | 304 | 406 | 412 | 416 | 428 | 429 | 431 | 511 => Err(Refusal::Status),
            _ if covered.contains(&status) => Ok(60),
            _ => Err(Refusal::NoLifetime),
        };
        assert_eq!(verdict(status, &[], &minute()), expected, "{status}");
    }
}

#[test]
fn a_stated_lifetime_covers_every_complete_status() {
    for status in 200..600 {
        let single = matches!(status, 206 | 304 | 406 | 412 | 416 | 428 | 429 | 431 | 511);
        let expected = if single { Err(Refusal::Status) } else { Ok(5) };
        assert_eq!(verdict(status, &[("cache-control", "max-age=5")], &minute()), expected, "{status}");
    }
}

#[test]
fn must_understand_needs_a_known_status_and_silences_no_store() {
    let fields = [("cache-control", "max-age=5, must-understand, no-store")];
    assert_eq!(verdict(200, &fields, &minute()), Ok(5));
    assert_eq!(verdict(299, &fields, &minute()), Err(Refusal::MustUnderstand));
    assert_eq!(verdict(599, &fields, &minute()), Err(Refusal::MustUnderstand));
}

#[test]
fn prohibitions_hold_even_where_the_policy_overrides() {
    let rules = StoreRules { override_response: true, ..minute() };
    for (field, value, refusal) in [
        ("cache-control", "no-store", Refusal::NoStore),
        ("cache-control", "private", Refusal::Private),
        ("cache-control", "private=\"x\", max-age=5", Refusal::Private),
        ("cache-control", "max-age=x", Refusal::MalformedDirectives),
        ("set-cookie", "a=b", Refusal::SetCookie),
        ("vary", "*", Refusal::Vary(VaryRefusal::Star)),
        ("content-type", "Text/Event-Stream; charset=utf-8", Refusal::EventStream),
        ("cache-control", "no-cache", Refusal::Useless),
        ("connection", "close, Vary", Refusal::Connection),
    ] {
        assert_eq!(verdict(200, &[(field, value)], &rules), Err(refusal), "{field}: {value}");
    }
    assert_eq!(verdict(200, &[("cache-control", "max-age=5")], &rules), Ok(60), "lifetimes it does override");
    assert_eq!(verdict(200, &[("cache-control", "max-age=5")], &minute()), Ok(5));
}

#[test]
fn a_status_can_have_a_lifetime_of_its_own() {
    let status_lifetimes = vec![(StatusCode::NOT_FOUND, Duration::from_secs(5)), (StatusCode::FOUND, Duration::ZERO)];
    let rules = StoreRules { status_lifetimes, default_statuses: vec![StatusCode::ACCEPTED], ..minute() };
    assert_eq!(verdict(200, &[], &rules), Ok(60));
    assert_eq!(verdict(202, &[], &rules), Ok(60));
    assert_eq!(verdict(404, &[], &rules), Ok(5));
    assert_eq!(verdict(302, &[], &rules), Err(Refusal::Useless));
    assert_eq!(verdict(302, &[("etag", "\"a\"")], &rules), Ok(0));
    assert_eq!(verdict(303, &[], &rules), Err(Refusal::NoLifetime));
}

#[test]
fn refusals_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), Refusal::ALL.len());
    assert!(Refusal::ALL.iter().all(|refusal| refusal.to_string() == refusal.as_str()));
}

#[test]
fn without_a_policy_nothing_is_stored_unasked() {
    assert_eq!(verdict(200, &[], &StoreRules::default()), Err(Refusal::NoLifetime));
    assert_eq!(verdict(200, &[("etag", "\"a\"")], &StoreRules::default()), Err(Refusal::NoLifetime));
}

#[test]
fn a_stale_arrival_needs_a_use() {
    let none = StoreRules::default();
    assert_eq!(verdict(200, &[("cache-control", "max-age=0")], &none), Err(Refusal::Useless));
    assert_eq!(verdict(200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], &none), Ok(0));
    assert_eq!(verdict(200, &[("cache-control", "max-age=0, stale-while-revalidate=9")], &none), Ok(0));
    assert_eq!(verdict(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], &none), Ok(0));
}

#[test]
fn credentials_need_leave() {
    let request = StoreRequest { credentials: true, ..StoreRequest::default() };
    let verdict = |directives: &str| {
        let fields = headers(&[("cache-control", directives)]);
        storable(request, StatusCode::OK, &fields, &minute(), NOW, Duration::ZERO).map(|_| ())
    };
    assert_eq!(verdict("max-age=600"), Err(Refusal::Credentials));
    for leave in ["public, max-age=600", "s-maxage=600", "max-age=600, must-revalidate"] {
        assert_eq!(verdict(leave), Ok(()), "{leave}");
    }
}

#[test]
fn a_coded_response_is_kept_apart_by_accept_encoding() {
    let fields = headers(&[("content-encoding", "gzip"), ("vary", "x-a, Accept")]);
    let verdict = storable(StoreRequest::default(), StatusCode::OK, &fields, &minute(), NOW, Duration::ZERO).unwrap();
    assert_eq!(verdict.nominated, ["accept", "accept-encoding", "x-a"]);
}

#[test]
fn stale_windows_follow_the_response_and_its_prohibitions() {
    let rules = StoreRules {
        stale_while_revalidate: Duration::from_secs(30),
        stale_if_error: Duration::from_secs(300),
        ..minute()
    };
    let windows = |directives: &str| {
        let fields = headers(&[("cache-control", directives)]);
        let yes = storable(StoreRequest::default(), StatusCode::OK, &fields, &rules, NOW, Duration::ZERO).unwrap();
        (yes.stale_while_revalidate.as_secs(), yes.stale_if_error.as_secs())
    };
    assert_eq!(windows("max-age=1"), (30, 300));
    assert_eq!(windows("max-age=1, stale-while-revalidate=5, stale-if-error=0"), (5, 0));
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=1"] {
        assert_eq!(windows(&format!("max-age=1, {strict}")), (0, 0), "{strict}");
    }
}

#[test]
fn a_policy_that_overrides_sets_the_windows_it_has() {
    let fields = headers(&[("cache-control", "max-age=1, stale-while-revalidate=5, stale-if-error=7")]);
    let windows = |window| {
        let stale_while_revalidate = Duration::from_secs(window);
        let rules = StoreRules { override_response: true, stale_while_revalidate, ..minute() };
        let yes = storable(StoreRequest::default(), StatusCode::OK, &fields, &rules, NOW, Duration::ZERO).unwrap();
        (yes.stale_while_revalidate.as_secs(), yes.stale_if_error.as_secs())
    };
    assert_eq!(windows(30), (30, 7));
    assert_eq!(windows(0), (5, 7));
}

#[test]
fn passing_trouble() {
    let passing = [400, 407, 408, 411, 413, 414, 415, 417, 421, 425, 426, 428, 429, 431, 500, 503, 511, 599];
    for status in (200..600).map(|status| StatusCode::from_u16(status).unwrap()) {
        let expected = status.is_server_error() || passing.contains(&status.as_u16());
        assert_eq!(is_passing_trouble(status), expected, "{status}");
    }
}
