//! Things to be sealed: some fixed, some random.

use super::super::*;
use crate::{
    invalidation::{Epoch, RecordId},
    semantics::cache_control_writer::{CacheControl, ForCaches},
    store::{Browser, Parcel, Signpost},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::{collection::vec, option, prelude::*};

/// Everything that can be left out is.
pub(in super::super) fn empty() -> Parcel {
    Parcel {
        kind: Kind::Response,
        key: Bytes::from_static(b"k"),
        nominated: vec![],
        selecting: Bytes::new(),
        status: StatusCode::OK,
        head: HeaderMap::new(),
        for_caches: None,
        body: Bytes::new(),
        trailers: None,
        tags: Tags::default(),
        stamp: Stamp::default(),
        received: Timestamp::default(),
        age: Duration::ZERO,
        lifetime: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        discard_at: Timestamp::default(),
        fill_time: Duration::ZERO,
        adapted: None,
        credentials: false,
        own_policy: false,
        browser: None,
    }
}

/// A response as most are.
pub(in super::super) fn response() -> Sealed {
    Sealed::Parcel(Box::new(Parcel {
        key: Bytes::from_static(b"\x04shop\x03GET\x10/products?page=1"),
        head: map(&[
            ("content-type", b"application/json"),
            ("etag", b"\"v17\""),
            ("cache-control", b"max-age=60"),
            ("date", b"Fri, 15 Jan 2027 08:00:00 GMT"),
            ("content-length", b"27"),
        ]),
        body: Bytes::from_static(b"{\"products\":[\"tea\",\"salt\"]}"),
        stamp: Stamp { epoch: Epoch([9; 16]), end: RecordId { millis: 1_799_999_999_000, count: 3 } },
        received: Timestamp::from_unix_secs(1_800_000_000),
        lifetime: Duration::from_secs(60),
        discard_at: Timestamp::from_unix_secs(1_800_003_660),
        fill_time: Duration::from_micros(14_250),
        ..empty()
    }))
}

/// A response with all that one can have.
pub(in super::super) fn varied() -> Sealed {
    let mut head = map(&[
        ("set-cookie", b"a=1"),
        ("vary", b"accept-language"),
        ("set-cookie", b"b=2"),
        ("etag", b"W/\"\xe9t\xe9\""),
        ("x-empty", b""),
        ("link", b"</a>; rel=next"),
        ("link", b"</b>; rel=prev"),
    ]);
    let mut token = HeaderValue::from_static("of one alone");
    token.set_sensitive(true);
    head.insert("x-token", token.clone());
    let counts = vec![HeaderValue::from_static("private"), token.clone()];
    let for_caches = [
        (http::header::CACHE_CONTROL, counts, Some(HeaderValue::from_static("max-age=5"))),
        (http::header::EXPIRES, vec![], None),
    ];
    Sealed::Parcel(Box::new(Parcel {
        key: Bytes::from_static(b"\x04shop\x08tenant=1\x03GET\x0a/dashboard"),
        nominated: vec![http::header::ACCEPT_LANGUAGE, HeaderName::from_static("x-device")],
        selecting: Bytes::from_static(b"\x01\x02de\x00"),
        status: StatusCode::NOT_FOUND,
        head,
        for_caches: Some(ForCaches::from_parts(for_caches)),
        body: Bytes::from_static(b"dashboard \x00\xff"),
        trailers: Some(map(&[("grpc-status", b"0"), ("grpc-message", b"")])),
        tags: Tags::new(["dashboard", "org:7"]).global("currency").depending_on(&["People".into()]),
        stamp: Stamp { epoch: Epoch(*b"sixteen bytes..."), end: RecordId { millis: u64::MAX, count: 1 << 40 } },
        received: Timestamp::from_unix_millis(1_800_000_000_123),
        age: Duration::from_secs(3),
        lifetime: Duration::from_secs(300),
        stale_while_revalidate: Duration::from_secs(30),
        stale_if_error: Duration::from_secs(86_400),
        discard_at: Timestamp::from_unix_millis(u64::MAX),
        fill_time: Duration::new(1, 999_999_999),
        adapted: Some(Duration::from_millis(450_500)),
        credentials: true,
        own_policy: true,
        ..empty()
    }))
}

/// A response that was stored by what its handler said.
pub(in super::super) fn own() -> Sealed {
    let Sealed::Parcel(mut parcel) = response() else { unreachable!("it is a parcel") };
    parcel.own_policy = true;
    parcel.browser = Some(Browser::Told(CacheControl::private(Duration::from_secs(30)).must_revalidate()));
    Sealed::Parcel(parcel)
}

pub(in super::super) fn value() -> Sealed {
    Sealed::Parcel(Box::new(Parcel {
        kind: Kind::Value,
        key: Bytes::from_static(b"\x04shop\x09gold_rate"),
        body: Bytes::from_static(b"{\"eur\":61.25}"),
        tags: Tags::new(["rates"]),
        received: Timestamp::from_unix_secs(1_800_000_000),
        lifetime: Duration::from_secs(300),
        discard_at: Timestamp::from_unix_secs(1_800_000_300),
        ..empty()
    }))
}

pub(in super::super) fn sign() -> Sealed {
    Sealed::Signpost(Signpost {
        key: Bytes::from_static(b"\x04shop\x03GET\x0a/dashboard"),
        nominated: vec![http::header::ACCEPT_LANGUAGE],
        variants: vec![[1; 16], *b"0123456789abcdef"],
    })
}

/// A response that is worth compressing.
pub(in super::super) fn long() -> Sealed {
    let Sealed::Parcel(mut parcel) = response() else { unreachable!("it is a parcel") };
    parcel.body = (0..400).map(|n| format!("{{\"id\":{n},\"name\":\"tea\"}}\n")).collect::<String>().into();
    Sealed::Parcel(parcel)
}

/// That all fields are the same: what `Debug` shows, and what it does not, sensitive values and their order.
pub(in super::super) fn assert_same(left: &Sealed, right: &Sealed) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
    if let (Sealed::Parcel(left), Sealed::Parcel(right)) = (left, right) {
        assert_eq!(lines(&left.head), lines(&right.head));
        assert_eq!(left.trailers.as_ref().map(lines), right.trailers.as_ref().map(lines));
        let parts = |parcel: &Parcel| {
            let own = |(name, counts, written): (&HeaderName, &[HeaderValue], Option<&HeaderValue>)| {
                (name.clone(), counts.to_vec(), written.cloned())
            };
            parcel.for_caches.as_ref().map(|fields| fields.parts().map(own).collect::<Vec<_>>())
        };
        assert_eq!(parts(left), parts(right));
        assert!(left.tags == right.tags && left.body == right.body);
    }
}

pub(in super::super) fn parcel() -> impl Strategy<Value = Parcel> {
    let texts = (bytes(40), names(), bytes(40), bytes(600));
    let heads = (head(), option::of(for_caches()), option::of(head()), tags());
    let durations = (duration(), duration(), duration(), duration(), duration(), option::of(duration()));
    let points = (any::<u64>(), any::<u64>(), any::<[u8; 16]>(), any::<u64>(), any::<u64>());
    let rest = (100_u16..1000, any::<[bool; 3]>(), option::of(browser()));
    (texts, heads, durations, points, rest).prop_map(|(texts, heads, durations, points, rest)| Parcel {
        kind: if rest.1[0] { Kind::Response } else { Kind::Value },
        key: texts.0,
        nominated: texts.1,
        selecting: texts.2,
        status: StatusCode::from_u16(rest.0).unwrap(),
        head: heads.0,
        for_caches: heads.1.map(ForCaches::from_parts),
        body: texts.3,
        trailers: heads.2,
        tags: heads.3,
        stamp: Stamp { epoch: Epoch(points.2), end: RecordId { millis: points.3, count: points.4 } },
        received: Timestamp::from_unix_millis(points.0),
        age: durations.0,
        lifetime: durations.1,
        stale_while_revalidate: durations.2,
        stale_if_error: durations.3,
        discard_at: Timestamp::from_unix_millis(points.1),
        fill_time: durations.4,
        adapted: durations.5,
        credentials: rest.1[1],
        own_policy: rest.1[2],
        browser: rest.2,
    })
}

pub(in super::super) fn signpost() -> impl Strategy<Value = Signpost> {
    (bytes(40), names(), vec(any::<[u8; 16]>(), 0..40)).prop_map(|(key, nominated, variants)| Signpost {
        key,
        nominated,
        variants,
    })
}

fn map(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &[u8])| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
    };
    lines.iter().map(line).fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(name, value);
        map
    })
}

fn lines(map: &HeaderMap) -> Vec<(&str, &[u8], bool)> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_bytes(), value.is_sensitive())).collect()
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

/// Few, so that lines repeat, or any.
fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof!["(etag|link|vary|x-a|set-cookie)", "[a-z0-9!#$&^_.+-]{1,80}"]
        .prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap())
}

fn names() -> impl Strategy<Value = Vec<HeaderName>> {
    vec(name(), 0..6)
}

fn field() -> impl Strategy<Value = HeaderValue> {
    (vec(any::<u8>(), 0..60), any::<bool>()).prop_map(|(mut bytes, sensitive)| {
        bytes.retain(|byte| *byte == b'\t' || (*byte >= 32 && *byte != 127));
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(sensitive);
        value
    })
}

fn head() -> impl Strategy<Value = HeaderMap> {
    vec((name(), field()), 0..60).prop_map(|lines| {
        lines.into_iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    })
}

fn for_caches() -> impl Strategy<Value = Vec<(HeaderName, Vec<HeaderValue>, Option<HeaderValue>)>> {
    vec((name(), vec(field(), 0..4), option::of(field())), 0..4)
}

fn browser() -> impl Strategy<Value = Browser> {
    let seconds = (0..1_u64 << 31).prop_map(Duration::from_secs);
    let control = (seconds, any::<[bool; 4]>()).prop_map(|(time, [for_all, immutable, strict, no_transform])| {
        let control = if for_all { CacheControl::public(time).s_maxage(time / 2) } else { CacheControl::private(time) };
        let control = if immutable { control.immutable() } else { control };
        let control = if strict { control.must_revalidate() } else { control.stale_while_revalidate(time) };
        if no_transform { control.no_transform() } else { control }
    });
    prop_oneof![
        Just(Browser::AsAnswered),
        Just(Browser::Told(CacheControl::no_store())),
        Just(Browser::Told(CacheControl::no_cache().must_revalidate())),
        control.prop_map(Browser::Told),
    ]
}

fn tags() -> impl Strategy<Value = Tags> {
    vec((0..3, "\\PC{1,20}"), 0..12).prop_map(|tags| {
        tags.into_iter().fold(Tags::default(), |tags, (kind, name)| match kind {
            0 => tags.and([name]),
            1 => tags.global(name),
            _ => tags.depending_on(&[name.into()]),
        })
    })
}
