//! `CacheControlLayer`: which line is sent.

use super::*;
use http::header::CACHE_CONTROL;
use larder::{
    CacheControl, CacheControlLayer, Identity, IdentityLayer, Statuses,
    semantics::date::{Timestamp, parse_http_date},
};
use std::panic::catch_unwind;

/// What a layer sends for a request and what the handler answered.
async fn sent(layer: &CacheControlLayer, asked: (Method, Fields), answered: (u16, Fields)) -> HeaderMap {
    let app = boxed(layer.layer(handler(move |_| response(answered.0, answered.1, "body"))));
    let (head, body) = ask(&app, request(&asked.0, "/x", asked.1)).await;
    assert_eq!(body, "body");
    head.into_parts().0.headers
}

/// Seed 001, "API Documentation". Its organisation statistics are the deal statistics, which its strategic cache keeps
/// for 15 minutes: the analytics of our presets. The preset "statistics" is its "real-time stats" of five minutes, as
/// in its performance metrics.
#[tokio::test]
async fn the_documented_lines() {
    for (uri, preset, line) in [
        ("/api/cached/organizations/1/info/", CacheControl::static_data(), "max-age=3600, public, immutable"),
        ("/api/cached/organizations/1/statistics/?days=30", CacheControl::analytics(), "max-age=900, private"),
        ("/api/cached/organizations/1/roles/", CacheControl::role(), "max-age=3600, public"),
        ("/api/cached/users/dashboard/", CacheControl::dashboard(), "max-age=600, private"),
        ("/api/cached/users/permissions/", CacheControl::user(), "max-age=1800, private"),
        (
            "/api/cached/analytics/deal-analytics/?days=30&type=overview",
            CacheControl::analytics(),
            "max-age=900, private",
        ),
        ("/api/cached/analytics/performance-metrics/", CacheControl::statistics(), "max-age=300, private"),
    ] {
        let app = boxed(CacheControlLayer::new(preset).layer(handler(|_| Response::default())));
        let (head, _) = ask(&app, request(&Method::GET, uri, &[])).await;
        assert_eq!(lines(head.headers(), "cache-control"), [line], "{uri}");
    }
}

#[test]
fn the_presets() {
    for (preset, line) in [
        (CacheControl::static_data(), "max-age=3600, public, immutable"),
        (CacheControl::user(), "max-age=1800, private"),
        (CacheControl::dashboard(), "max-age=600, private"),
        (CacheControl::analytics(), "max-age=900, private"),
        (CacheControl::statistics(), "max-age=300, private"),
        (CacheControl::search(), "max-age=180, private"),
        (CacheControl::role(), "max-age=3600, public"),
        (CacheControl::attendance(), "max-age=3600, private"),
        (CacheControl::dropdown(), "max-age=1800, private"),
        (CacheControl::forms(), "max-age=7200, private"),
        (CacheControl::trends(), "max-age=7200, private"),
        (CacheControl::hot(), "max-age=300, private"),
        (CacheControl::standard(), "max-age=1800, private"),
        (CacheControl::stable(), "max-age=7200, private"),
    ] {
        assert_eq!(preset.to_string(), line);
    }
}

#[tokio::test]
async fn what_is_for_one_is_never_public() {
    let layer = CacheControlLayer::new(CacheControl::static_data().s_maxage(HOUR))
        .for_status(Statuses::ClientError, CacheControl::public(MINUTE))
        .cdn(CacheControl::public(HOUR))
        .surrogate(CacheControl::public(HOUR))
        .credential_headers(["x-session"])
        .expires();
    let public = "max-age=3600, s-maxage=3600, public, immutable";
    let private = "max-age=3600, private, immutable";
    for (asked, status, fields, expected) in [
        (&[][..], 200, &[][..], public),
        (&[("x-other", "1")], 200, &[], public),
        (&[("authorization", "Bearer x")], 200, &[], private),
        (&[("authorization", "")], 200, &[], private),
        (&[("proxy-authorization", "Basic x")], 200, &[], private),
        (&[("cookie", "sid=1")], 200, &[], private),
        (&[("x-session", "k")], 200, &[], private),
        (&[("x-api-key", "k")], 200, &[], private),
        (&[("x-auth-token", "k")], 200, &[], private),
        (&[("x-forwarded-user", "k")], 200, &[], private),
        (&[("remote-user", "k")], 200, &[], private),
        (&[], 200, &[("set-cookie", "sid=1")], private),
        (&[("cookie", "sid=1")], 304, &[], private),
        (&[("cookie", "sid=1")], 301, &[], private),
        (&[], 404, &[], "max-age=60, private"),
        (&[("cookie", "sid=1")], 404, &[], "max-age=60, private"),
    ] {
        let headers = sent(&layer, (Method::GET, asked), (status, fields)).await;
        assert_eq!(lines(&headers, "cache-control"), [expected], "{asked:?} {status} {fields:?}");
        let is_public = expected == public;
        for name in ["cdn-cache-control", "surrogate-control"] {
            let expected = if is_public { vec!["max-age=3600, public"] } else { vec![] };
            assert_eq!(lines(&headers, name), expected, "{asked:?} {status} {fields:?}");
        }
        // Caches that know no Cache-Control are shared.
        let now = Timestamp::from_unix_secs(u64::MAX / 2000);
        let expires = parse_http_date(headers["expires"].as_bytes(), now).unwrap();
        let plain = CacheControlLayer::new(CacheControl::no_cache()).expires();
        let plain = sent(&plain, (Method::GET, &[]), (200, &[])).await;
        let since = parse_http_date(plain["expires"].as_bytes(), now).unwrap();
        let left = expires.since(since);
        assert!(if is_public { left > 59 * MINUTE } else { left < MINUTE }, "{left:?}");
    }
}

#[tokio::test]
async fn an_identity_is_a_credential() {
    let answer = || handler(|_| Response::default());
    let layer = CacheControlLayer::new(CacheControl::static_data());
    let known = IdentityLayer::from_fn(|_| Some(Identity::new().with_user(1)));
    let nobody = IdentityLayer::from_fn(|_| None);
    let unknown = IdentityLayer::from_fn(|_| panic!("as told"));
    for (app, public) in [
        (boxed(known.layer(layer.layer(answer()))), false),
        (boxed(nobody.layer(layer.layer(answer()))), true),
        (boxed(unknown.layer(layer.layer(answer()))), false),
        // Here the layer cannot know.
        (boxed(layer.layer(known.layer(answer()))), false),
        (boxed(layer.layer(nobody.layer(answer()))), false),
    ] {
        let (head, _) = get(&app, &[]).await;
        assert_eq!(head.headers()[CACHE_CONTROL].to_str().unwrap().contains("public"), public);
    }
}

#[tokio::test]
async fn which_value_is_sent() {
    let seconds = |seconds| CacheControl::public(Duration::from_secs(seconds));
    let layer = CacheControlLayer::new(seconds(1))
        .for_content_type("image/*", seconds(2))
        .for_content_type("image/png", seconds(3))
        .for_content_type("image/gif", seconds(99))
        .for_content_type("image/gif", seconds(4))
        .for_status(Statuses::Redirection, seconds(5))
        .for_status(StatusCode::FOUND, seconds(6))
        .for_status(StatusCode::CREATED, seconds(7))
        .for_status(Statuses::ServerError, CacheControl::no_store())
        .for_status(StatusCode::NOT_FOUND, seconds(8));
    for (status, kind, expected) in [
        (200, None, Some("max-age=1, public")),
        (200, Some("text/html"), Some("max-age=1, public")),
        (200, Some("image/webp"), Some("max-age=2, public")),
        (200, Some("Image/PNG; x=1"), Some("max-age=3, public")),
        (200, Some("image/gif"), Some("max-age=4, public")),
        (206, Some("image/png"), Some("max-age=3, public")),
        (201, Some("image/png"), Some("max-age=7, public")),
        (301, Some("image/png"), Some("max-age=5, public")),
        (302, Some("image/png"), Some("max-age=6, public")),
        (304, Some("image/png"), Some("max-age=3, public")),
        (304, None, None),
        (404, Some("image/png"), Some("max-age=8, private")),
        (403, Some("image/png"), None),
        (403, None, None),
        (500, Some("image/png"), Some("no-store")),
        (503, None, Some("no-store")),
    ] {
        let app = boxed(layer.layer(handler(move |_| {
            let fields: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
            response(status, &fields, "")
        })));
        let (head, _) = get(&app, &[]).await;
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(lines(head.headers(), "cache-control"), expected, "{status} {kind:?}");
    }
    let headers = sent(&CacheControlLayer::new(seconds(1)), (Method::GET, &[]), (304, &[])).await;
    assert_eq!(headers[CACHE_CONTROL], "max-age=1, public", "without content types it is known");
    let layer = layer.for_status(StatusCode::OK, seconds(9));
    for status in [200, 206, 304] {
        let headers = sent(&layer, (Method::GET, &[]), (status, &[])).await;
        assert_eq!(headers[CACHE_CONTROL], "max-age=9, public", "{status}");
    }
}

#[tokio::test]
async fn leave_goes_to_reads_only_and_prohibitions_to_all() {
    for (method, reads) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::from_bytes(b"QUERY").unwrap(), true),
        (Method::POST, false),
        (Method::PUT, false),
        (Method::DELETE, false),
        (Method::OPTIONS, false),
    ] {
        for (value, status, expected) in [
            (CacheControl::public(MINUTE), 200, reads),
            (CacheControl::private(MINUTE), 200, reads),
            (CacheControl::public(MINUTE), 500, false),
            (CacheControl::no_store(), 200, true),
            (CacheControl::no_store(), 500, true),
            (CacheControl::no_cache(), 404, true),
        ] {
            let layer = CacheControlLayer::new(value).cdn(CacheControl::public(HOUR));
            let headers = sent(&layer, (method.clone(), &[]), (status, &[])).await;
            assert_eq!(headers.contains_key(CACHE_CONTROL), expected, "{method} {value} {status}");
            assert_eq!(headers.contains_key("cdn-cache-control"), reads && status == 200, "{method} {value}");
        }
    }
}

#[tokio::test]
async fn the_handler_has_the_say_unless_told_otherwise() {
    let layer = CacheControlLayer::new(CacheControl::public(HOUR)).cdn(CacheControl::public(HOUR)).expires();
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let own: [(Fields, _); 8] = [
        (&[("cache-control", "max-age=5")], "max-age=3600, public"),
        (&[("cache-control", "max-age=5, private")], "max-age=3600, private"),
        (&[("cache-control", "no-store")], "max-age=3600, private"),
        (&[("cache-control", "max-age=5"), ("cache-control", "PRIVATE=\"x\"")], "max-age=3600, private"),
        (&[("cache-control", "max-age=x")], "max-age=3600, private"),
        (&[("cache-control", "no-cache")], "max-age=3600, public"),
        (&[("cache-control", "")], "max-age=3600, public"),
        (&[("expires", "0")], "max-age=3600, public"),
    ];
    for (fields, overwritten) in own {
        let headers = sent(&layer, (Method::GET, &[]), (200, fields)).await;
        let as_sent: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(as_sent, fields, "untouched");
        let headers = sent(&layer.clone().overwrite(), (Method::GET, &[]), (200, fields)).await;
        assert_eq!(lines(&headers, "cache-control"), [overwritten], "{fields:?}");
        assert_ne!(headers["expires"], "0");
        assert_eq!(headers.contains_key("cdn-cache-control"), overwritten.contains("public"));
    }
    let headers = sent(&layer, (Method::GET, &[]), (200, &[("cdn-cache-control", "max-age=7"), ("date", DATE)])).await;
    assert_eq!(headers[CACHE_CONTROL], "max-age=3600, public");
    assert_eq!(headers["cdn-cache-control"], "max-age=7");
    assert_eq!(headers["expires"], "Sun, 06 Nov 1994 09:49:37 GMT");
    let bare = CacheControlLayer::new(CacheControl::public(HOUR)).overwrite();
    let headers = sent(&bare, (Method::GET, &[]), (200, &[("expires", DATE)])).await;
    assert!(!headers.contains_key("expires"), "it would say something else");
}

#[tokio::test]
async fn fields_for_cdns_go_with_the_layers_own_value() {
    let layer = CacheControlLayer::new(CacheControl::private(MINUTE))
        .for_content_type("text/html", CacheControl::no_store())
        .for_status(StatusCode::NOT_FOUND, CacheControl::private(MINUTE));
    for (value, asked, status, fields, expected) in [
        (CacheControl::public(HOUR), &[][..], 200, &[][..], Some("max-age=3600, public")),
        (CacheControl::public(HOUR), &[], 200, &[("content-type", "text/html")], None),
        (CacheControl::public(HOUR), &[], 404, &[], None),
        (CacheControl::public(HOUR), &[("cookie", "a=b")], 200, &[], None),
        (CacheControl::no_cache(), &[("cookie", "a=b")], 200, &[], None),
        (CacheControl::private(HOUR), &[("cookie", "a=b")], 200, &[], Some("max-age=3600, private")),
        (CacheControl::no_store(), &[("cookie", "a=b")], 200, &[], Some("no-store")),
    ] {
        for (layer, name) in
            [(layer.clone().cdn(value), "cdn-cache-control"), (layer.clone().surrogate(value), "surrogate-control")]
        {
            let headers = sent(&layer, (Method::GET, asked), (status, fields)).await;
            assert_eq!(lines(&headers, name), expected.into_iter().collect::<Vec<_>>(), "{value} {asked:?}");
        }
    }
}

#[tokio::test]
async fn vary_grows_by_what_is_not_there() {
    let layer = CacheControlLayer::new(CacheControl::public(HOUR)).vary(["accept-language", "X-Shop"]);
    for (own, expected) in [
        (&[][..], &["accept-language", "x-shop"][..]),
        (&[("vary", "Origin, Accept-Language")], &["Origin, Accept-Language", "x-shop"]),
        (&[("vary", "x-shop"), ("vary", "ACCEPT-LANGUAGE")], &["x-shop", "ACCEPT-LANGUAGE"]),
        (&[("vary", "accept, *")], &["accept, *"]),
        (&[("vary", "x-shops")], &["x-shops", "accept-language", "x-shop"]),
    ] {
        for status in [200, 304, 404, 500] {
            let headers = sent(&layer, (Method::GET, &[]), (status, own)).await;
            assert_eq!(lines(&headers, "vary"), expected, "{own:?} {status}");
        }
    }
}

#[tokio::test]
async fn nothing_of_a_request_is_repeated() {
    let layer = CacheControlLayer::new(CacheControl::public(HOUR)).cdn(CacheControl::public(HOUR)).expires();
    let asked: Fields = &[
        ("cache-control", "max-age=77, marker"),
        ("cdn-cache-control", "marker"),
        ("surrogate-control", "marker"),
        ("vary", "marker"),
        ("expires", "marker"),
        ("x-marker", "marker"),
    ];
    let headers = sent(&layer, (Method::GET, asked), (200, &[])).await;
    assert!(headers.values().all(|value| !value.to_str().unwrap().contains("marker")), "{headers:?}");
}

#[test]
fn what_is_no_name_is_refused() {
    let layer = || CacheControlLayer::new(CacheControl::no_store());
    assert!(catch_unwind(|| layer().for_content_type("image", CacheControl::no_store())).is_err());
    assert!(catch_unwind(|| layer().vary(["a b"])).is_err());
    assert!(catch_unwind(|| layer().credential_headers([""])).is_err());
}
