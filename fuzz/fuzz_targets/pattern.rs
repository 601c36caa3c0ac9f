//! Patterns over keys: a pattern on the first line; on the next two a tenant and a parameter, of which the key is made. It
//! matches just what a table would say that it matches.
#![no_main]

use larder::{Cache, Identity, Selector, Value, test_util};
use larder_fuzz::lines;
use libfuzzer_sys::fuzz_target;
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

static KEPT: Value<u8> = Value::named("a:rate").fresh_for(Duration::from_secs(60)).per_tenant();

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = lines(text.as_bytes()).map(|line| std::str::from_utf8(line).expect("it was text"));
    let [pattern, tenant, parameter] = [(); 3].map(|()| lines.next().unwrap_or_default());
    if pattern.len() > LONGEST || tenant.len() > LONGEST || parameter.len() > LONGEST {
        return;
    }
    let builder = Cache::builder().memory(64 * 1024).namespace("s:1").version("2:6");
    let (cache, _) = test_util::cache_with(builder).expect("a cache");
    let identity = Identity::new().with_tenant(if tenant.trim().is_empty() { "1" } else { tenant });
    let kept = || cache.value(&KEPT).for_identity(&identity).param("p", parameter);
    kept().put(1);
    let Some(key) = kept().key_text().filter(|_| kept().peek().is_some()) else { return };
    // No name can be taken for a star, nor for the end of a part.
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:=%".contains(&byte)), "{key}");
    assert_eq!(key.matches(':').count(), 7, "{key}");

    let hits = |pattern: &str| ready(cache.preview(&Selector::pattern(pattern))).map(|preview| preview.entries == 1);
    let Some(signs) = signs(pattern) else { return assert!(hits(pattern).is_err()) };
    let after = key.strip_prefix("s:1:v2:6:").expect("namespace and version");
    let expected = [&*key, after].into_iter().any(|text| matches(&signs, text));
    assert_eq!(hits(pattern), Ok(expected), "{pattern:?} {key}");

    // The key itself is a pattern for it, whole and in part, and so is what the request has brought, made literal.
    let (front, back) = key.split_at(pattern.len() % key.len());
    for own in [key.clone(), after.to_owned(), format!("{front}*{back}"), format!("*{back}"), format!("{front}**")] {
        assert_eq!(hits(&own), Ok(true), "{own} {key}");
        assert_eq!(hits(&own.replace(':', "=")), Ok(true), "{own} {key}");
    }
    let literal: String = parameter.chars().flat_map(|letter| ['\\', letter]).collect();
    if parameter.chars().all(|letter| letter.is_ascii_alphanumeric() || !"-._~:=,/?&%#[]".contains(letter)) {
        assert_eq!(hits(&format!("*:p={literal}")), Ok(true), "{literal} {key}");
    }
    // Whatever is matched is matched still when a star comes to it.
    if expected {
        assert!(hits(&format!("*{pattern}")) == Ok(true) && hits(&format!("{pattern}*")) == Ok(true));
    }
});

enum Sign {
    Any,
    One(u8),
}

/// What a pattern is made of. `None` if it says nothing, or breaks off.
fn signs(pattern: &str) -> Option<Vec<Sign>> {
    let plain = |byte: u8| Sign::One(if byte == b'=' { b':' } else { byte });
    let mut signs = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '*' => {
                signs.push(Sign::Any);
                continue;
            }
            '\\' => letters.next()?,
            letter => letter,
        };
        // As they stand in a key.
        if literal.is_ascii_alphanumeric() || "-._~:=,/?&%#[]".contains(literal) {
            signs.push(plain(literal as u8));
        } else {
            let escaped: String = literal.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
            signs.extend(escaped.bytes().map(plain));
        }
    }
    (!signs.is_empty()).then_some(signs)
}

/// By a table: which ends of the text so many signs reach.
fn matches(signs: &[Sign], text: &str) -> bool {
    let text = text.replace('=', ":");
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for sign in signs {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match sign {
                Sign::Any => reached[at] || (at > 0 && next[at - 1]),
                Sign::One(byte) => at > 0 && reached[at - 1] && text.as_bytes()[at - 1] == *byte,
            };
        }
        reached = next;
    }
    reached[text.len()]
}

/// What comes of a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

const LONGEST: usize = 200;
