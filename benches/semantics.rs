//! What parsing and deciding costs: nanoseconds for each call.
//!
//! ```sh
//! cargo bench -p larder-benches --bench semantics           # everything
//! cargo bench -p larder-benches --bench semantics -- date   # what has the word in its name
//! ```
#![allow(clippy::print_stdout, reason = "benches print what they measure")]

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use larder::semantics::{
    cache_control::{RequestDirectives, ResponseDirectives},
    cache_status::{CacheStatus, member},
    content_coding,
    date::{Timestamp, http_date, parse_http_date},
    freshness::initial_age,
    invalidation::same_origin_targets,
    precondition,
    range::{self, RangeLimits},
    reuse::Lifespan,
    storable::{StoreRequest, StoreRules, storable},
    target::Target,
    targeted::governing,
    validation::freshen,
    vary::{nominated, write_selecting_values},
};
use larder_benches::{by_turns, is_wanted, requests::BROWSER, work};
use std::{hint::black_box, time::Duration};

fn main() {
    cache_control();
    dates();
    request_fields();
    decisions();
    others();
}

fn cache_control() {
    for (name, value) in [
        ("max-age", "max-age=3600".to_owned()),
        ("usual", "public, max-age=3600, s-maxage=86400, stale-while-revalidate=60".to_owned()),
        ("quoted", "private=\"set-cookie, x-user\", no-cache=\"etag\", max-age=\"60\"".to_owned()),
        ("broken", "max-age=60 no-store; public, ,= \"x".to_owned()),
        ("8KiB-hostile", "=\",".repeat(8192 / 3)),
    ] {
        let fields = fields(&[("cache-control", &value)]);
        bench(&format!("cache-control/response/{name}"), || ResponseDirectives::parse(black_box(&fields)));
    }
    for (name, value) in [("reload", "no-cache"), ("usual", "max-age=0, max-stale=60, min-fresh=5")] {
        let fields = fields(&[("cache-control", value)]);
        bench(&format!("cache-control/request/{name}"), || RequestDirectives::parse(black_box(&fields)));
    }
}

fn dates() {
    for (name, value) in [
        ("imf-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("rfc850", "Sunday, 06-Nov-94 08:49:37 GMT"),
        ("asctime", "Sun Nov  6 08:49:37 1994"),
        ("invalid", "yesterday"),
    ] {
        bench(&format!("date/read/{name}"), || parse_http_date(black_box(value.as_bytes()), NOW));
    }
    bench("date/write", || http_date(black_box(NOW)));
}

fn request_fields() {
    let browser = fields(&BROWSER);
    let uri = Uri::from_static("/products/7?page=2");
    bench("target/host", || Target::of(black_box(&uri), &browser, None).map(|target| target.path.len()));
    bench("accept-encoding/normal", || content_coding::normal(black_box(&browser)));
    let vary = fields(&[("vary", "Accept-Encoding, Accept-Language")]);
    bench("vary/nominated", || nominated(black_box(&vary)));
    let names = nominated(&vary).expect("names");
    bench("vary/selecting-values", || {
        let mut values = Vec::with_capacity(64);
        write_selecting_values(&names, black_box(&browser), &mut values);
        values
    });
}

fn decisions() {
    let response = response();
    let mut rules = StoreRules::default();
    rules.default_lifetime = Some(Duration::from_secs(60));
    rules.targets = ["larder-cache-control", "cdn-cache-control"].map(HeaderName::from_static).to_vec();
    let received = NOW;
    bench("freshness/initial-age", || initial_age(black_box(&response), NOW, received));
    let decide =
        || storable(StoreRequest::default(), StatusCode::OK, black_box(&response), &rules, received, Duration::ZERO);
    bench("storable/usual", decide);
    let lifespan = Lifespan::of(&decide().expect("it is storable"), received, Duration::ZERO);
    bench("reuse/fresh", || black_box(&lifespan).reuse(None, NOW));
    let demanding = RequestDirectives::parse(&fields(&[("cache-control", "max-age=600, max-stale=60, min-fresh=5")]));
    bench("reuse/with-request-directives", || black_box(&lifespan).reuse(Some(&demanding), NOW));

    for (name, field, value) in [
        ("if-none-match", "if-none-match", "W/\"a\", \"b\", \"5d8c72a5edda8d6a\"".to_owned()),
        ("if-none-match-100", "if-none-match", "\"0123456789abcdef\", ".repeat(100)),
        ("if-modified-since", "if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
    ] {
        let request = fields(&[(field, &value)]);
        bench(&format!("precondition/{name}"), || {
            precondition::evaluate(&Method::GET, black_box(&request), &response, NOW)
        });
    }
    for (name, value) in [
        ("one", "bytes=0-1023".to_owned()),
        ("suffix", "bytes=-500".to_owned()),
        (
            "sixteen",
            format!("bytes={}", (0..16).map(|at| format!("{}-{}", at * 50, at * 50 + 9)).collect::<Vec<_>>().join(",")),
        ),
        ("1000-refused", format!("bytes={}", vec!["0-0"; 1000].join(","))),
    ] {
        let request = fields(&[("range", &value)]);
        bench(&format!("range/{name}"), || range::evaluate(black_box(&request), 1024, &RangeLimits::default()));
    }
}

fn others() {
    let targets = ["larder-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    let targeted = fields(&[("cdn-cache-control", "max-age=600, stale-while-revalidate=60, must-revalidate=?0")]);
    bench("targeted/governing", || governing(black_box(&targeted), &targets));

    let status = fields(&[("cache-status", "origin; fwd=uri-miss; stored, larder; hit; ttl=30; detail=\"x\"")]);
    bench("cache-status/read", || member(black_box(&status), "larder"));
    let mut hit = CacheStatus::default();
    (hit.name, hit.hit, hit.ttl, hit.key) = ("larder", true, Some(30), Some("GET:/products/7"));
    bench("cache-status/write", || black_box(hit).to_header_value());

    let base = Target { scheme: Some("https"), authority: Some("shop.example"), path: "/products/7", query: None };
    let location =
        fields(&[("location", "../orders/8?new#top"), ("content-location", "https://shop.example/products")]);
    bench("invalidation/same-origin-targets", || same_origin_targets(&base, black_box(&location)));

    let news = fields(&[("etag", "\"5d8c72a5edda8d6a\""), ("date", "Sun, 06 Nov 1994 08:50:37 GMT")]);
    let response = response();
    bench("validation/freshen", || freshen(black_box(&response), &news, NOW));
}

/// Times one call.
fn bench<T>(name: &str, mut call: impl FnMut() -> T) {
    if is_wanted(name) {
        let times = by_turns(&mut [&mut work(|| (), |()| call())], Duration::from_millis(100));
        println!("{name:<40} {:>9.1} ns", times.ns(0));
    }
}

/// A response as an application answers it behind a server.
fn response() -> HeaderMap {
    fields(&[
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "1024"),
        ("cache-control", "public, max-age=3600"),
        ("vary", "accept-encoding"),
        ("etag", "\"5d8c72a5edda8d6a\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("date", "Sun, 06 Nov 1994 08:49:38 GMT"),
        ("server", "example"),
    ])
}

fn fields(fields: &[(&str, &str)]) -> HeaderMap {
    let parsed = fields.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a field name");
        (name, HeaderValue::from_str(value).expect("a field value"))
    });
    parsed.collect()
}

/// Three seconds after the response was made.
const NOW: Timestamp = Timestamp::from_unix_secs(784_111_781);
