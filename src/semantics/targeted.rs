//! Targeted cache control fields such as `CDN-Cache-Control` (RFC 9213).
//!
//! Such a field is a Dictionary of Structured Fields (RFC 9651 §3.2), whose parsing is strict: one error, and the
//! whole field counts as absent (RFC 9213 §2.1).

use super::{
    cache_control::{MAX_DELTA, ResponseDirectives, keep_smaller},
    structured::{Parser, Value, joined_lines},
};
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// The directives of a targeted field; `None` if it is absent, empty or no valid dictionary (RFC 9213 §2.1).
///
/// What forbids counts whatever its value, and wherever it stands: `no-store=?0` still forbids, and of two lifetimes
/// the smaller is kept. Of other duplicates the last counts (RFC 9651 §3.2). A lifetime that is no non-negative Integer
/// makes the directives malformed. Parameters are ignored.
///
/// ```
/// use http::{HeaderMap, HeaderName, HeaderValue};
/// use larder::semantics::targeted::targeted;
/// use std::time::Duration;
///
/// let field = HeaderName::from_static("cdn-cache-control");
/// let said = |value| targeted(&HeaderMap::from_iter([(field.clone(), HeaderValue::from_static(value))]), &field);
/// assert_eq!(said("max-age=600").and_then(|it| it.max_age), Some(Duration::from_secs(600)));
/// assert!(said("max-age=600, no-store=?0").is_some_and(|it| it.no_store));
/// assert_eq!(said("max-age=\"600"), None);
/// ```
pub fn targeted(headers: &HeaderMap, field: &HeaderName) -> Option<ResponseDirectives> {
    let text = joined_lines(headers, field)?;
    let members = Parser::of(&text).dictionary()?;
    if members.is_empty() {
        return None;
    }
    let mut all = ResponseDirectives::default();
    for (name, value) in members {
        let name = name.as_bytes();
        if let Some(lifetime) = all.lifetime(name) {
            match seconds(&value) {
                Some(seconds) => keep_smaller(lifetime, seconds),
                None => all.malformed = true,
            }
        } else if let Some(switch) = all.switch(name) {
            *switch = value == Value::Boolean(true);
            if !*switch {
                all.restrict(name);
            }
        }
    }
    Some(all)
}

/// The directives that count for a response, and whether they come from a targeted field.
///
/// ```
/// use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};
/// use larder::semantics::targeted::governing;
///
/// let head = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-store"))]);
/// let found = governing(&head, &[HeaderName::from_static("cdn-cache-control")]);
/// assert!(found.directives.no_store && !found.targeted);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Governing {
    /// The directives.
    pub directives: ResponseDirectives,
    /// They come from a targeted field, so `Cache-Control` and `Expires` are to be ignored.
    pub targeted: bool,
}

/// The first valid field of `targets`, else `Cache-Control` (RFC 9213 §2.2).
///
/// ```
/// use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};
/// use larder::semantics::targeted::governing;
/// use std::time::Duration;
///
/// let cdn = HeaderName::from_static("cdn-cache-control");
/// let head = HeaderMap::from_iter([
///     (CACHE_CONTROL, HeaderValue::from_static("no-store")),
///     (cdn.clone(), HeaderValue::from_static("max-age=600")),
/// ]);
/// assert!(governing(&head, &[]).directives.no_store);
/// assert_eq!(governing(&head, &[cdn]).directives.max_age, Some(Duration::from_secs(600)));
/// ```
pub fn governing(headers: &HeaderMap, targets: &[HeaderName]) -> Governing {
    match targets.iter().find_map(|field| targeted(headers, field)) {
        Some(directives) => Governing { directives, targeted: true },
        None => Governing { directives: ResponseDirectives::parse(headers), targeted: false },
    }
}

fn seconds(value: &Value<'_>) -> Option<Duration> {
    match value {
        Value::Integer(seconds) => Some(Duration::from_secs(u64::try_from(*seconds).ok()?).min(MAX_DELTA)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{
        HeaderValue,
        header::{CACHE_CONTROL, CDN_CACHE_CONTROL},
    };
    use proptest::prelude::*;

    const OWN: HeaderName = HeaderName::from_static("larder-cache-control");

    fn response(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, line)| (name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    fn read(line: &str) -> Option<ResponseDirectives> {
        targeted(&response(&[(CDN_CACHE_CONTROL, line)]), &CDN_CACHE_CONTROL)
    }

    fn seconds(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn reads_directives() {
        let all = read("max-age=60, s-maxage=5;x=1, stale-if-error=7, must-revalidate, public, other=(1 2)").unwrap();
        let expected = ResponseDirectives {
            max_age: seconds(60),
            s_maxage: seconds(5),
            stale_if_error: seconds(7),
            must_revalidate: true,
            public: true,
            ..ResponseDirectives::default()
        };
        assert_eq!(all, expected);
        assert_eq!(read("none"), Some(ResponseDirectives::default()));
        assert_eq!(read("max-age=999999999999999").unwrap().max_age, Some(MAX_DELTA));
    }

    #[test]
    fn an_invalid_or_empty_field_is_absent() {
        for line in [
            "",
            "   ",
            "max-age=60,",
            ",max-age=60",
            "max-age=60,,no-store",
            "\tmax-age=60",
            "max-age = 60",
            "max-age= 60",
            "Max-Age=60",
            "max-age=60 no-store",
            "max-age=1000000000000000",
            "max-age=60.",
            "max-age=60.1234",
            "max-age=1234567890123.1",
            "max-age=-",
            "max-age=+60",
            "max-age=",
            "x=?2",
            "x=\"open",
            "x=\"a\\b\"",
            "x=\"\u{e9}\"",
            "x=:a:",
            "x=:ab=c:",
            "x=:abc==:",
            "x=:ab",
            "x=(1 2",
            "x=(1,2)",
            "x=(1\t2)",
            "x=@1.5",
            "x=%\"%C3%A9\"",
            "x=%\"%ff\"",
            "x;=1",
            "no-store;",
            "no-store ;x",
            "no-store\u{e9}",
            "'x'",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(targeted(&HeaderMap::new(), &CDN_CACHE_CONTROL), None);
    }

    #[test]
    fn reads_every_type_of_value() {
        for value in [
            "?0",
            "-12",
            "1.5",
            "-0.125",
            "123456789012.123",
            r#""a, \" \\ no-store""#,
            "*tok:en/x",
            "::",
            ":aGk=:",
            ":aGk:",
            "()",
            r#"( a  "b";q=1 )"#,
            "(1 2);p;q=?0",
            "@-99",
            r#"%"caf%c3%a9""#,
            "1; a;  b=c",
        ] {
            assert_eq!(read(&format!("x={value} \t,\t no-store  ")).map(|all| all.no_store), Some(true), "{value}");
            assert_eq!(read(&format!("x={value}")), Some(ResponseDirectives::default()), "{value}");
        }
    }

    #[test]
    fn prohibitions_count_whatever_their_value() {
        for line in ["no-store", "no-store=?0", "no-store=0", "no-store=(a)", "no-store=?1, no-store=?0"] {
            assert!(read(line).unwrap().no_store, "{line}");
        }
        let all = read("no-cache=\"set-cookie\", private=x").unwrap();
        assert!(all.no_cache && all.private && !all.malformed);
    }

    #[test]
    fn permissions_need_their_type_and_the_last_counts() {
        assert!(!read("public=?0").unwrap().public);
        assert!(!read("public=1").unwrap().public);
        assert!(!read("public, public=?0").unwrap().public);
        assert!(read("must-understand=?0, must-understand").unwrap().must_understand);
    }

    #[test]
    fn lifetimes_are_non_negative_integers() {
        for value in ["-1", "60.0", "\"60\"", "sixty", "?1", "(60)"] {
            let all = read(&format!("max-age={value}")).unwrap();
            assert!(all.malformed && all.max_age.is_none(), "{value}");
            assert!(read(&format!("max-age={value}, max-age=60")).unwrap().malformed, "{value}");
        }
        assert!(read("max-age").unwrap().malformed);
        assert_eq!(read("max-age=60, max-age=600").unwrap().max_age, seconds(60));
        assert_eq!(read("max-age=600, max-age=60").unwrap().max_age, seconds(60));
    }

    #[test]
    fn lines_are_joined() {
        let headers = response(&[(CDN_CACHE_CONTROL, "max-age=60"), (CDN_CACHE_CONTROL, "no-store")]);
        let all = targeted(&headers, &CDN_CACHE_CONTROL).unwrap();
        assert_eq!((all.max_age, all.no_store), (seconds(60), true));
        let headers = response(&[(CDN_CACHE_CONTROL, "max-age=60"), (CDN_CACHE_CONTROL, "=")]);
        assert_eq!(targeted(&headers, &CDN_CACHE_CONTROL), None);
    }

    #[test]
    fn the_first_valid_target_governs() {
        let targets = [OWN, CDN_CACHE_CONTROL];
        let read = |lines: &[(HeaderName, &str)]| governing(&response(lines), &targets);

        let both = read(&[(CDN_CACHE_CONTROL, "max-age=600"), (CACHE_CONTROL, "no-store")]);
        assert!(both.targeted && !both.directives.no_store);
        assert_eq!(both.directives.max_age, seconds(600));

        let own_first = read(&[(CDN_CACHE_CONTROL, "max-age=600"), (OWN, "no-store")]);
        assert_eq!((own_first.directives.max_age, own_first.directives.no_store), (None, true));

        let own_invalid = read(&[(CDN_CACHE_CONTROL, "max-age=600"), (OWN, "no-store,")]);
        assert_eq!((own_invalid.directives.max_age, own_invalid.directives.no_store), (seconds(600), false));

        let neither = read(&[(CDN_CACHE_CONTROL, ""), (CACHE_CONTROL, "max-age=1")]);
        assert!(!neither.targeted);
        assert_eq!(neither.directives.max_age, seconds(1));
        assert_eq!(governing(&HeaderMap::new(), &targets), Governing::default());
    }

    /// A valid member, its key never the name of a directive.
    const MEMBER: &str = r#"[a-z]{1,4}(=([0-9]{1,9}|"[ !#-\[\]-~]{0,9}"|\?[01]|[a-z]{1,4}))?(;[a-z]=[0-9]){0,2}"#;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Parser::of(&text).dictionary();
            let _ = Parser::of(&text).list();
        }

        #[test]
        fn anything_near_a_dictionary_is_read(
            text in r#"[a-c*]{1,2}(=[-?@%:("0-9a-c.;= )\\]{0,12})?(, ?[a-c]=[ -~]{0,8}){0,3}"#,
        ) {
            let _ = Parser::of(text.as_bytes()).dictionary();
            let _ = Parser::of(text.as_bytes()).list();
        }

        #[test]
        fn no_store_is_found_between_valid_members(
            before in prop::collection::vec(MEMBER, 0..4),
            value in r#"(=\?[01]|=[0-9]|="x")?"#,
            after in prop::collection::vec(r"no-store=\?0|[a-z]{1,4}", 0..3),
        ) {
            let mut members = before;
            members.push(format!("no-store{value}"));
            members.extend(after);
            prop_assert!(read(&members.join(" , ")).unwrap().no_store);
        }
    }
}
