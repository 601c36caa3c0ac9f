//! Dates: what is read can be written and read again, and a wrong clock moves nothing but two-digit years.
#![no_main]

use larder::semantics::date::{Timestamp, http_date, parse_http_date};
use larder_fuzz::NOW;
use libfuzzer_sys::fuzz_target;
use std::time::UNIX_EPOCH;

fuzz_target!(|data: &[u8]| {
    if let Some(at) = parse_http_date(data, NOW) {
        assert_eq!(at.as_unix_millis() % 1000, 0);
        let written = http_date(at);
        assert_eq!(written.len(), 29);
        assert_eq!(parse_http_date(written.as_bytes(), NOW), Some(at), "{written:?}");
        assert_eq!(parse_http_date(&[b" \t", data, b" "].concat(), NOW), Some(at));
        assert_eq!(parse_http_date(&data.to_ascii_lowercase(), NOW), Some(at));
        if data.contains(&b'-') {
            // RFC 9110 §5.6.7: never more than 50 years ahead, and so never more than 50 years back.
            let half = 50 * 366 * 86_400;
            assert!(at.as_unix_secs() <= NOW.as_unix_secs() + half && at.as_unix_secs() + half >= NOW.as_unix_secs());
        } else {
            assert_eq!(parse_http_date(data, Timestamp::default()), Some(at));
        }
    }
    // What the strict reader takes, ours takes for the same, but for years of two digits and the white space of Unicode.
    if let Some(strict) = std::str::from_utf8(data).ok().and_then(|text| httpdate::parse_http_date(text).ok())
        && data.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'-')
        && let Ok(since) = strict.duration_since(UNIX_EPOCH)
    {
        assert_eq!(parse_http_date(data, NOW), Some(Timestamp::from_unix_secs(since.as_secs())));
    }
    if let Some(millis) = data.first_chunk() {
        let at = Timestamp::from_unix_millis(u64::from_le_bytes(*millis));
        let written = http_date(at);
        let read = parse_http_date(written.as_bytes(), NOW).expect("what was written is a date");
        assert!(read <= at);
        assert_eq!(http_date(read), written);
        // No moment makes the reading of a two-digit year overflow.
        let _ = parse_http_date(&data[8..], at);
        assert_eq!(at.saturating_sub(at.since(read)), read);
    }
});
