//! Ranges: parts lie within the representation, apart from each other, and hold no byte that was not asked for.
#![no_main]

use http::{HeaderMap, HeaderValue, header::RANGE};
use larder::semantics::range::{
    Multipart, RangeAnswer, RangeLimits, content_range, evaluate, unsatisfied_content_range,
};
use larder_fuzz::values;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    // Small lengths, where ranges meet, and the largest ones.
    let length = if first >= 0xfd { u64::MAX - u64::from(0xff - first) } else { u64::from(first) };
    let request = values(&RANGE, rest);
    let limits = RangeLimits::default();
    match evaluate(&request, length, &limits) {
        RangeAnswer::Whole => {}
        RangeAnswer::Unsatisfiable => {
            assert!(length > 0);
            assert_eq!(unsatisfied_content_range(length), format!("bytes */{length}"));
        }
        RangeAnswer::Parts(parts) => {
            assert!(!parts.is_empty() && parts.len() <= limits.max_parts);
            let mut sorted = parts.clone();
            sorted.sort_by_key(|part| part.start);
            assert!(sorted.iter().all(|part| part.start < part.end && part.end <= length));
            assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start));
            assert!(parts.iter().map(|part| u128::from(part.end - part.start)).sum::<u128>() <= u128::from(length));

            // Asking for exactly these parts gives exactly these parts.
            let texts: Vec<_> = parts.iter().map(|part| format!("{}-{}", part.start, part.end - 1)).collect();
            let exact = HeaderValue::try_from(format!("bytes={}", texts.join(", "))).expect("a value");
            let again = evaluate(&HeaderMap::from_iter([(RANGE, exact)]), length, &limits);
            assert_eq!(again, RangeAnswer::Parts(parts.clone()));
            let mut one = RangeLimits::default();
            one.max_parts = 1;
            assert!(match evaluate(&request, length, &one) {
                RangeAnswer::Whole => true,
                RangeAnswer::Parts(single) => single == parts && parts.len() == 1,
                RangeAnswer::Unsatisfiable => false,
            });

            let text = content_range(&parts[0], length);
            assert_eq!(text, format!("bytes {}-{}/{length}", parts[0].start, parts[0].end - 1));
            let kind = HeaderValue::from_static("text/plain");
            let multipart = Multipart::new(u64::from(first), Some(&kind), length);
            let heads: u64 = parts.iter().map(|part| multipart.part_head(part).len() as u64).sum();
            let bytes = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.end - part.start));
            let total = heads.saturating_add(multipart.closing().len() as u64).saturating_add(bytes);
            assert_eq!(multipart.total_length(&parts), total);
        }
    }
    // Two fields are no set of ranges.
    let mut twice = request.clone();
    twice.append(RANGE, HeaderValue::from_static("bytes=0-0"));
    if request.contains_key(RANGE) {
        assert_eq!(evaluate(&twice, length, &limits), RangeAnswer::Whole);
    }
});
