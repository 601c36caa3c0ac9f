use super::*;
use RangeAnswer::{Parts, Unsatisfiable, Whole};
use proptest::prelude::*;

fn request(lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(RANGE, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

fn ask(range: &str, complete_length: u64) -> RangeAnswer {
    evaluate(&request(&[range.as_bytes()]), complete_length, &RangeLimits::default())
}

/// RFC 9110 §14.1.2, and §15.3.7.2 for the joining.
#[test]
fn parts() {
    let huge = "9".repeat(60);
    let everything = format!("bytes=0-{huge}");
    for (range, expected) in [
        ("bytes=0-499", vec![0..500]),
        ("bytes=500-999", vec![500..1_000]),
        ("BYTES=0-0", vec![0..1]),
        (" bytes=0-0\t", vec![0..1]),
        ("bytes=-500", vec![9_500..10_000]),
        ("bytes=9500-", vec![9_500..10_000]),
        ("bytes=9999-", vec![9_999..10_000]),
        ("bytes=0-", vec![0..10_000]),
        ("bytes=0-10000", vec![0..10_000]),
        ("bytes=-20000", vec![0..10_000]),
        ("bytes=007-0008", vec![7..9]),
        (everything.as_str(), vec![0..10_000]),
        ("bytes=0-0,-1", vec![0..1, 9_999..10_000]),
        ("bytes= 0-999, 4500-5499, -1000", vec![0..1_000, 4_500..5_500, 9_000..10_000]),
        ("bytes=,0-0,,2-2\t,", vec![0..1, 2..3]),
        // Joined, in the place of the first.
        ("bytes=500-600,601-999", vec![500..1_000]),
        ("bytes=500-700,601-999", vec![500..1_000]),
        ("bytes=601-999,500-700", vec![500..1_000]),
        ("bytes=0-0,0-0", vec![0..1]),
        ("bytes=0-9,2-3", vec![0..10]),
        ("bytes=100-109,0-9,105-119", vec![100..120, 0..10]),
        ("bytes=100-109,0-9,95-104", vec![95..110, 0..10]),
        ("bytes=0-9,100-109,10-99", vec![0..110]),
        ("bytes=900-909,0-9,5-14,800-809", vec![900..910, 0..15, 800..810]),
        // Left out.
        ("bytes=0-9,10000-,-0", vec![0..10]),
    ] {
        assert_eq!(ask(range, 10_000), Parts(expected), "{range}");
    }
}

#[test]
fn unsatisfiable() {
    let huge = format!("bytes={}-", "9".repeat(60));
    for range in [
        "bytes=10000-",
        "bytes=18446744073709551621-",
        "bytes=10000-10001",
        "bytes=-0",
        "bytes=-0,20000-20000",
        huge.as_str(),
    ] {
        assert_eq!(ask(range, 10_000), Unsatisfiable, "{range}");
    }
}

#[test]
fn ignored() {
    for range in [
        "",
        "bytes",
        "bytes=",
        "bytes= , ,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-0",
        "bytes=1--2",
        "bytes=--1",
        "bytes=0 -1",
        "bytes=0- 1",
        "bytes=+0-1",
        "bytes=0-1;2-3",
        "bytes =0-1",
        "byte=0-1",
        "lines=0-1",
        "=0-1",
        "0-1",
        "bytes==0-1",
        "bytes=0-1,x",
        "bytes=20000-,x",
        "bytes=0x0-1",
        "none=0-1",
    ] {
        assert_eq!(ask(range, 10_000), Whole, "{range}");
    }
    let limits = RangeLimits::default();
    assert_eq!(evaluate(&HeaderMap::new(), 10, &limits), Whole);
    assert_eq!(evaluate(&request(&[b"bytes=0-1", b"bytes=0-1"]), 10, &limits), Whole);
    assert_eq!(evaluate(&request(&[b"bytes=0-\xff"]), 10, &limits), Whole);
}

#[test]
fn an_empty_representation_has_no_parts() {
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=0-0,-1"] {
        assert_eq!(ask(range, 0), Whole, "{range}");
    }
}

#[test]
fn wasteful_requests_get_the_whole() {
    assert_eq!(ask("bytes=0-,0-", 10), Whole);
    assert_eq!(ask("bytes=0-5,5-9", 10), Whole);
    assert_eq!(ask("bytes=5-9,0-5", 10), Whole);
    assert_eq!(ask("bytes=0-4,5-9", 10), Parts(vec![0..10]));
    let many = |parts: u32| (0..parts).map(|part| format!("{}-{}", part * 3, part * 3)).collect::<Vec<_>>().join(",");
    assert!(matches!(ask(&format!("bytes={}", many(16)), 10_000), Parts(parts) if parts.len() == 16));
    assert_eq!(ask(&format!("bytes={}", many(17)), 10_000), Whole);
    // Nor are many ranges hidden by joining them.
    assert_eq!(ask(&format!("bytes={}", ["0-0"; 17].join(",")), 10_000), Whole);
    assert_eq!(evaluate(&request(&[b"bytes=0-0"]), 10, &RangeLimits { max_parts: 0 }), Whole);
}

#[test]
fn the_largest_lengths() {
    assert_eq!(ask("bytes=0-18446744073709551615", u64::MAX), Parts(vec![0..u64::MAX]));
    assert_eq!(ask("bytes=-1", u64::MAX), Parts(vec![u64::MAX - 1..u64::MAX]));
    assert_eq!(ask("bytes=0-,0-", u64::MAX), Whole);
    assert_eq!(ask("bytes=18446744073709551615-", u64::MAX), Unsatisfiable);
}

#[test]
fn content_range_fields() {
    assert_eq!(content_range(&(0..500), 1_234), "bytes 0-499/1234");
    assert_eq!(content_range(&(734..1_234), 1_234), "bytes 734-1233/1234");
    assert_eq!(unsatisfied_content_range(1_234), "bytes */1234");
}

/// RFC 9110 §15.3.7.2's example.
#[test]
fn multipart_as_in_the_standard() {
    let pdf = HeaderValue::from_static("application/pdf");
    let multipart = Multipart::new(0xfeed, Some(&pdf), 8_000);
    assert_eq!(multipart.content_type_header(), "multipart/byteranges; boundary=000000000000feed");
    assert_eq!(
        multipart.part_head(&(500..1_000)),
        "\r\n--000000000000feed\r\nContent-Type: application/pdf\r\nContent-Range: bytes 500-999/8000\r\n\r\n"
    );
    assert_eq!(multipart.closing(), "\r\n--000000000000feed--\r\n");
    let untyped = Multipart::new(u64::MAX, None, 1);
    assert_eq!(untyped.part_head(&(0..1)), "\r\n--ffffffffffffffff\r\nContent-Range: bytes 0-0/1\r\n\r\n");
}

fn range_field() -> impl Strategy<Value = Vec<u8>> {
    let position = prop_oneof![Just(String::new()), (0u32..60).prop_map(|n| n.to_string())];
    let spec = (position.clone(), position).prop_map(|(first, last)| format!("{first}-{last}"));
    let set = prop::collection::vec(spec, 0..8).prop_map(|specs| format!("bytes={}", specs.join(", ")).into_bytes());
    prop_oneof![4 => set, 1 => prop::collection::vec(any::<u8>(), 0..30)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parts_are_sound(
        field in range_field(),
        length in prop_oneof![0u64..50, any::<u64>()],
        max_parts in 0usize..6,
    ) {
        let Ok(value) = HeaderValue::from_bytes(&field) else { return Ok(()) };
        let headers = HeaderMap::from_iter([(RANGE, value)]);
        let Parts(parts) = evaluate(&headers, length, &RangeLimits { max_parts }) else { return Ok(()) };
        prop_assert!((1..=max_parts).contains(&parts.len()));
        prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
        let total: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
        prop_assert!(total <= u128::from(length));
        for (i, a) in parts.iter().enumerate() {
            prop_assert!(parts[..i].iter().all(|b| a.end < b.start || b.end < a.start));
        }
    }

    /// Each byte that was asked for is in a part, and no other.
    #[test]
    fn parts_hold_what_was_asked_for(
        asked in prop::collection::vec((0u64..40, 0u64..8), 1..6),
        length in 1u64..50,
    ) {
        let asked: Vec<_> = asked.into_iter().map(|(first, more)| first..first + more + 1).collect();
        let set: Vec<_> = asked.iter().map(|part| format!("{}-{}", part.start, part.end - 1)).collect();
        let answer = ask(&format!("bytes={}", set.join(",")), length);
        let total: u64 = asked.iter().map(|part| part.end.min(length).saturating_sub(part.start)).sum();
        match answer {
            Whole => prop_assert!(total > length),
            Unsatisfiable => prop_assert_eq!(total, 0),
            Parts(parts) => for byte in 0..length {
                let wanted = asked.iter().any(|part| part.contains(&byte));
                prop_assert_eq!(parts.iter().any(|part| part.contains(&byte)), wanted);
            }
        }
    }

    #[test]
    fn the_total_is_what_is_written(
        boundary: u64,
        content_type in prop::option::of("[a-z]{1,9}/[a-z]{1,9}"),
        parts in prop::collection::vec((0u64..300, 0u64..300), 0..6),
    ) {
        let content_type = content_type.map(|text| HeaderValue::from_str(&text).unwrap());
        let content = [7; 600];
        let multipart = Multipart::new(boundary, content_type.as_ref(), content.len() as u64);
        let parts: Vec<_> = parts.into_iter().map(|(start, more)| start..start + more).collect();
        let mut written = Vec::new();
        for part in &parts {
            written.extend_from_slice(&multipart.part_head(part));
            written.extend_from_slice(&content[part.start as usize..part.end as usize]);
        }
        written.extend_from_slice(&multipart.closing());
        prop_assert_eq!(multipart.total_length(&parts), written.len() as u64);
    }
}
