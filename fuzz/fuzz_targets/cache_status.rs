//! Cache-Status: what is written is read again, and the last member of a cache counts.
#![no_main]

use http::header::CACHE_STATUS;
use larder::semantics::cache_status::{CacheStatus, Forward, member};
use larder_fuzz::{halves, values};
use libfuzzer_sys::fuzz_target;

const FORWARDS: [Forward; 8] = [
    Forward::Bypass,
    Forward::Method,
    Forward::UriMiss,
    Forward::VaryMiss,
    Forward::Miss,
    Forward::Request,
    Forward::Stale,
    Forward::Partial,
];

fuzz_target!(|data: &[u8]| {
    let (lines, text) = halves(data);
    let mut headers = values(&CACHE_STATUS, lines);
    let before = member(&headers, "larder");
    let readable = headers.is_empty() || {
        let mut probe = headers.clone();
        probe.append(CACHE_STATUS, "probe-of-this-target".parse().expect("a value"));
        member(&probe, "probe-of-this-target").is_some()
    };
    assert!(readable || before.is_none());

    // Whatever the texts hold, one member is written, and it says the same to the reader.
    let text = String::from_utf8_lossy(text);
    let (key, detail) = text.split_once('\n').unwrap_or((&text, "a"));
    let first = data.first().copied().unwrap_or_default();
    let mut status = CacheStatus::default();
    status.name = "larder";
    status.hit = first & 1 != 0;
    status.fwd = (first & 2 != 0).then_some(FORWARDS[usize::from(first >> 5)]);
    status.fwd_status = (first & 4 != 0).then_some(u16::from(first) * 3);
    status.ttl = data.last_chunk().map(|bytes| i64::from_le_bytes(*bytes));
    status.stored = first & 8 != 0;
    status.collapsed = first & 16 != 0;
    status.key = Some(key);
    status.detail = Some(detail);
    headers.append(CACHE_STATUS, status.to_header_value());
    let Some(read) = member(&headers, "larder") else {
        assert!(!readable);
        return;
    };
    assert!(readable);
    assert_eq!(read.hit, status.hit);
    let fwd = status.fwd.filter(|_| !status.hit);
    assert_eq!(read.fwd.as_deref(), fwd.map(Forward::as_str));
    assert_eq!(read.fwd_status, status.fwd_status.filter(|_| fwd.is_some()));
    assert_eq!((read.stored, read.collapsed), (status.stored && fwd.is_some(), status.collapsed && fwd.is_some()));
    assert_eq!(read.ttl, status.ttl.map(|ttl| ttl.clamp(-999_999_999_999_999, 999_999_999_999_999)));
    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    for (read, written) in [(&read.key, key), (&read.detail, detail)] {
        let read = read.as_deref().expect("it was written");
        assert!(printable(read) && (read == written || !printable(written)));
    }

    // Any name is written as something that can be read, here as a member of another cache.
    let mut named = CacheStatus::default();
    (named.name, named.hit) = (detail, true);
    headers.append(CACHE_STATUS, named.to_header_value());
    if detail != "larder" {
        assert_eq!(member(&headers, "larder").as_ref(), Some(&read));
    }
    if printable(detail) {
        assert!(member(&headers, detail).is_some_and(|member| member.hit));
    }
});
