use super::*;
use proptest::prelude::*;

fn response(line: &str) -> ResponseDirectives {
    ResponseDirectives::from_lines([line.as_bytes()])
}

fn request(lines: &[&str]) -> RequestDirectives {
    let lines = lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_bytes(line.as_bytes()).unwrap()));
    RequestDirectives::parse(&lines.collect())
}

fn seconds(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

#[test]
fn reads_every_response_directive() {
    let all = response(
        "max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4, no-store, no-cache, private, public, \
         must-revalidate, proxy-revalidate, must-understand, no-transform, immutable",
    );
    let expected = ResponseDirectives {
        max_age: seconds(1),
        s_maxage: seconds(2),
        stale_while_revalidate: seconds(3),
        stale_if_error: seconds(4),
        no_store: true,
        no_cache: true,
        private: true,
        public: true,
        must_revalidate: true,
        proxy_revalidate: true,
        must_understand: true,
        no_transform: true,
        immutable: true,
        malformed: false,
    };
    assert_eq!(all, expected);
}

#[test]
fn names_in_any_case_over_all_lines() {
    let mut headers = HeaderMap::new();
    headers.append(CACHE_CONTROL, HeaderValue::from_static("MAX-AGE=60,\tPublic"));
    headers.append(CACHE_CONTROL, HeaderValue::from_static("No-Cache"));
    let all = ResponseDirectives::parse(&headers);
    let expected =
        ResponseDirectives { max_age: seconds(60), public: true, no_cache: true, ..ResponseDirectives::default() };
    assert_eq!(all, expected);
    assert_eq!(ResponseDirectives::parse(&HeaderMap::new()), ResponseDirectives::default());
}

#[test]
fn empty_elements_are_fine() {
    for line in ["", " ", ",", " ,\t, ,"] {
        assert_eq!(response(line), ResponseDirectives::default(), "{line:?}");
    }
    let all = response(", ,no-store,, max-age=1 ,");
    assert!(all.no_store && !all.malformed);
    assert_eq!(all.max_age, seconds(1));
}

#[test]
fn lifetimes_are_digits() {
    for (value, expected) in [
        ("60", 60),
        (r#""60""#, 60),
        (r#""6\0""#, 60),
        ("0060", 60),
        ("0", 0),
        ("2147483647", (1 << 31) - 1),
        ("2147483649", 1 << 31),
        ("99999999999999999999999999999999999999999", 1 << 31),
    ] {
        let all = response(&format!("max-age={value}, public"));
        assert_eq!((all.max_age, all.public, all.malformed), (seconds(expected), true, false), "{value}");
    }
    for value in [
        "-1", "+1", "60.5", "", r#""""#, r#"" 60""#, "6 0", r#""6\""#, r#""6\\""#, "0x10", "60s", "\u{663}", "\"60",
        "60\"",
    ] {
        let all = response(&format!("max-age={value}"));
        assert_eq!((all.max_age, all.malformed), (None, true), "{value}");
    }
    for line in ["max-age", "max-age =60", "max-age= 60", "max-age=60;x", "max-age\t=60"] {
        let all = response(line);
        assert_eq!((all.max_age, all.malformed), (None, true), "{line}");
    }
}

#[test]
fn the_smaller_of_duplicate_lifetimes_counts() {
    assert_eq!(response("max-age=60, max-age=600").max_age, seconds(60));
    assert_eq!(response("max-age=600, max-age=60").max_age, seconds(60));
    let all = response("max-age=600, max-age=x");
    assert_eq!((all.max_age, all.malformed), (seconds(600), true));
}

#[test]
fn qualified_and_valued_directives_count() {
    let all = response(r#"no-cache="set-cookie, x", private="x", no-store=1, must-revalidate=no"#);
    assert!(all.no_cache && all.private && all.no_store && !all.malformed);
    assert!(all.proxy_revalidate && !all.must_revalidate, "it forbids to serve stale, and lets nobody share");
    for line in ["public=false", "public=yes", "must-understand=0", "immutable=\"\"", "PUBLIC=1"] {
        assert_eq!(response(line), ResponseDirectives::default(), "{line}");
    }
}

#[test]
fn what_is_quoted_is_content() {
    for line in [
        r#"max-age=60, ext="a, no-store, b""#,
        r#"ext="no-store", max-age=60"#,
        r#"ext="a\", private, \\" , max-age=60"#,
        "ext=\"\u{e9}, no-store\", max-age=60",
        "ext=no-store, max-age=60",
        "x-no-store-hint, not-private, no-stores, no_store, max-age=60",
    ] {
        let expected = ResponseDirectives { max_age: seconds(60), ..ResponseDirectives::default() };
        assert_eq!(response(line), expected, "{line}");
    }
}

#[test]
fn a_broken_element_hides_nothing() {
    for line in [
        "no-store, x=\u{e9}",
        "x=\u{e9}, no-store",
        "no-store\u{e9}",
        r#"ext="unterminated, no-store"#,
        r#"ext="unterminated, no-store, max-age=60"#,
        r#"ext="no-store"#,
        r#"ext="a" junk, no-store"#,
        r#"ext="a, no-store, b="c""#,
        r#""a, no-store"#,
        r#"a"b, no-store, c"d"#,
        "no store, no-store",
        "no-store;x",
        "no-store x",
        "x no-store",
        "x=, no-store=",
        "=1,no-store",
        "x = 1, no-store",
        "@, no-store",
        r#"ext="\", no-store"#,
        // If the first quote was none, the directive stands outside quotes.
        r#"a"b", ext=", no-store, ""#,
    ] {
        let all = response(line);
        assert!(all.no_store && all.malformed, "{line}");
        assert!(response(&line.replace("no-store", "Private")).private, "{line}");
    }
    let control = ResponseDirectives::from_lines([&b"ext=\"\x00\", no-store"[..]]);
    assert!(control.no_store && control.malformed);
}

#[test]
fn a_broken_element_spares_the_others() {
    for line in [
        "x y, public, max-age=5",
        r#"x="a"b, public, max-age=5"#,
        r#"public,max-age=5,""#,
        r#"x="a"b,public,max-age=5,"b"#,
        r#"x="a\", b" y, public, max-age=5"#,
        r#"x="a\\" y, public, max-age=5"#,
    ] {
        let all = response(line);
        assert_eq!((all.public, all.max_age, all.malformed), (true, seconds(5), true), "{line}");
        assert!(!all.no_store, "{line}");
    }
    let all = response(r#"x y, ext="no-store""#);
    assert!(all.malformed && !all.no_store);
}

#[test]
fn nothing_is_allowed_by_broken_text() {
    let all = response(r#"ext="a, public, must-understand, immutable, max-age=60, s-maxage=60"#);
    assert_eq!(all, ResponseDirectives { malformed: true, ..ResponseDirectives::default() });
}

#[test]
fn a_quote_left_open_ends_with_its_line() {
    let all = ResponseDirectives::from_lines([&b"ext=\"a"[..], b"public, x=\"b, no-store\""]);
    assert!(all.malformed && all.public && !all.no_store);
}

#[test]
fn hostile_lines_are_read_in_linear_time() {
    // Quadratic time would take minutes for each of these.
    for piece in [r#""","#, r#"a"b","#, r#"x="a"b,"#, r#"x=""#, r#""\"#, " ,", "a b,"] {
        let line = piece.repeat(1 << 18) + ",no-store";
        assert!(response(&line).no_store, "{piece}");
    }
}

#[test]
fn reads_every_request_directive() {
    let all = request(&[
        "No-Cache, no-store, no-transform",
        "only-if-cached, max-age=1, min-fresh=2, stale-if-error=\"3\", max-stale=4",
    ]);
    let expected = RequestDirectives {
        no_cache: true,
        no_store: true,
        no_transform: true,
        only_if_cached: true,
        max_age: seconds(1),
        min_fresh: seconds(2),
        stale_if_error: seconds(3),
        max_stale: Some(MaxStale::Within(Duration::from_secs(4))),
    };
    assert_eq!(all, expected);
    assert_eq!(request(&[]), RequestDirectives::default());
}

#[test]
fn the_stricter_of_conflicting_requests_counts() {
    let max_stale = |line: &str| request(&[line]).max_stale;
    let within = |secs| Some(MaxStale::Within(Duration::from_secs(secs)));
    assert_eq!(max_stale("max-stale"), Some(MaxStale::Any));
    assert_eq!(max_stale("max-stale, max-stale=5"), within(5));
    assert_eq!(max_stale("max-stale=5, max-stale"), within(5));
    assert_eq!(max_stale("max-stale=9, max-stale=5, max-stale=7"), within(5));
    assert_eq!(max_stale("max-stale=99999999999999999999"), Some(MaxStale::Within(MAX_DELTA)));
    for invalid in ["max-stale=x", "max-stale=", "max-stale=-1", "max-stale =5", "max-stale=\"\"", "x=\"a, max-stale"] {
        assert_eq!(max_stale(invalid), None, "{invalid}");
    }
    assert_eq!(max_stale("max-stale=5, max-stale=x"), within(5));

    assert_eq!(request(&["max-age=9", "max-age=5"]).max_age, seconds(5));
    assert_eq!(request(&["min-fresh=5", "min-fresh=9"]).min_fresh, seconds(9));
    assert_eq!(request(&["stale-if-error=x"]).stale_if_error, None);
}

#[test]
fn an_unreadable_wish_for_freshness_is_the_strictest() {
    for line in
        ["max-age=x", "max-age", "max-age=", "max-age =5", "max-age=-1", "min-fresh=x", "min-fresh", "min-fresh= 5"]
    {
        assert_eq!(request(&[line, "max-age=60"]).max_age, seconds(0), "{line}");
        assert_eq!(request(&["max-age=60", line]).max_age, seconds(0), "{line}");
    }
}

#[test]
fn broken_text_still_forbids_what_it_names() {
    let default = RequestDirectives::default;
    for (name, expected) in [
        ("no-cache", RequestDirectives { no_cache: true, ..default() }),
        ("No-Store", RequestDirectives { no_store: true, ..default() }),
        ("no-transform", RequestDirectives { no_transform: true, ..default() }),
        ("only-if-cached", default()),
    ] {
        assert_eq!(request(&[&format!("x=\"open, {name}")]), expected, "{name}");
    }
}

/// An element of the grammar, its name never that of a directive.
const WELL_FORMED: &str = r#"[!a-z]{1,5}(=([a-z0-9]{1,5}|"([ !#-\[\]-~]|\\[ -~]){0,9}"))?[ \t]?"#;

/// An element that leaves no quote open: a fine one, or a broken one without quotes.
fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z-]{1,8}(=[a-z0-9]{1,5})?".prop_map(String::into_bytes),
        r#"(max-age|s-maxage|private)="([ !#-\[\]-~]|\\[ -~]){0,12}""#.prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>().prop_filter("divides elements", |byte| !b",\"".contains(byte)), 0..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..3)) {
        ResponseDirectives::from_lines(lines.iter().map(Vec::as_slice));
    }

    #[test]
    fn anything_near_a_directive_is_read(line in r#"[nost\-re=," \\]{0,40}"#) {
        response(&line);
        request(&[&line]);
    }

    #[test]
    fn no_store_is_never_lost(
        before in prop::collection::vec(element(), 0..4),
        spelling in r#"[ \t]{0,2}[nN][oO]-[sS][tT][oO][rR][eE](=1|="x, y")?[ \t]{0,2}"#,
        after in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut elements = before;
        elements.push(spelling.into_bytes());
        elements.push(after);
        let line = elements.join(&b',');
        prop_assert!(ResponseDirectives::from_lines([line.as_slice()]).no_store);
    }

    #[test]
    fn no_store_counts_or_is_quoted_content(
        before in r#"[a=", \\]{0,10}"#,
        after in r#"[a=", \\]{0,10}"#,
    ) {
        let all = response(&format!("{before},no-store,{after}"));
        prop_assert!(all.no_store || before.contains("=\"") && after.contains('"'));
    }

    #[test]
    fn well_formed_lines_are_not_malformed(
        elements in prop::collection::vec(WELL_FORMED, 0..6),
    ) {
        prop_assert_eq!(response(&elements.join(",")), ResponseDirectives::default());
    }
}
