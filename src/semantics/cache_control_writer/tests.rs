use super::*;
use crate::semantics::cache_control::ResponseDirectives;
use http::header::{EXPIRES, VARY};
use std::panic::catch_unwind;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn directives_stand_in_one_order() {
    let all = CacheControl::public(MINUTE).no_transform().stale_if_error(HOUR).stale_while_revalidate(MINUTE);
    for (value, expected) in [
        (
            all.immutable().s_maxage(HOUR),
            "max-age=60, s-maxage=3600, public, immutable, stale-while-revalidate=60, stale-if-error=3600, \
             no-transform",
        ),
        (
            CacheControl::private(MINUTE).must_revalidate().immutable(),
            "max-age=60, private, immutable, must-revalidate",
        ),
        (CacheControl::no_store(), "no-store"),
        (CacheControl::no_store().no_transform(), "no-store, no-transform"),
        (CacheControl::no_cache().must_revalidate(), "no-cache, must-revalidate"),
        (CacheControl::no_cache().for_one(), "no-cache, private"),
        (CacheControl::no_store().for_one(), "no-store"),
        (CacheControl::public(MINUTE).s_maxage(HOUR).immutable().for_one(), "max-age=60, private, immutable"),
        (CacheControl::public(Duration::from_millis(1999)), "max-age=1, public"),
        (CacheControl::private(Duration::MAX), "max-age=2147483648, private"),
    ] {
        assert_eq!(value.to_string(), expected);
        assert_eq!(value.to_header_value(), expected);
    }
}

#[test]
fn what_is_written_is_read() {
    let value = CacheControl::public(MINUTE).s_maxage(HOUR).stale_if_error(HOUR).immutable().no_transform();
    let headers = [(CACHE_CONTROL, value.into())].into_iter().collect();
    let read = ResponseDirectives::parse(&headers);
    let expected = ResponseDirectives {
        max_age: Some(MINUTE),
        s_maxage: Some(HOUR),
        stale_if_error: Some(HOUR),
        public: true,
        immutable: true,
        no_transform: true,
        ..ResponseDirectives::default()
    };
    assert_eq!(read, expected);
}

#[test]
fn only_what_was_written_here_is_read_back() {
    let lively = CacheControl::public(MINUTE).s_maxage(HOUR).immutable().stale_while_revalidate(MINUTE);
    for control in [
        lively.stale_if_error(HOUR).no_transform(),
        CacheControl::private(MINUTE).must_revalidate(),
        CacheControl::public(HOUR).for_one(),
        CacheControl::no_cache(),
        CacheControl::no_cache().for_one().no_transform(),
        CacheControl::no_store(),
    ] {
        assert_eq!(CacheControl::read(control.to_string().as_bytes()), Some(control), "{control}");
    }
    for other in ["", "public", "max-age=060, public", "public, max-age=60", "no-store, no-cache", "max-age=60,public"]
    {
        assert_eq!(CacheControl::read(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn only_a_lifetime_that_is_public_is_one_for_all() {
    for (control, grants, for_all) in [
        (CacheControl::public(MINUTE), true, MINUTE),
        (CacheControl::public(MINUTE).s_maxage(HOUR), true, MINUTE),
        (CacheControl::private(MINUTE), true, Duration::ZERO),
        (CacheControl::no_cache(), false, Duration::ZERO),
        (CacheControl::no_store(), false, Duration::ZERO),
    ] {
        assert_eq!((control.grants_reuse(), control.lifetime_for_all()), (grants, for_all), "{control}");
    }
}

/// Who gets it counts from its age, so that it is stale as many seconds from now as it was to be.
#[test]
fn what_is_old_already_lives_longer() {
    let aged = |control: CacheControl, age| control.aged(Duration::from_secs(age)).to_string();
    assert_eq!(aged(CacheControl::public(MINUTE).s_maxage(HOUR), 10), "max-age=70, s-maxage=3610, public");
    assert_eq!(aged(CacheControl::private(MINUTE), u64::MAX), "max-age=2147483648, private");
    assert_eq!(aged(CacheControl::no_cache(), 10), "no-cache");
}

#[test]
fn contradictions_are_refused() {
    let contradictions: [fn() -> CacheControl; 12] = [
        || CacheControl::no_store().immutable(),
        || CacheControl::no_store().s_maxage(MINUTE),
        || CacheControl::no_store().must_revalidate(),
        || CacheControl::no_store().stale_while_revalidate(MINUTE),
        || CacheControl::no_store().stale_if_error(MINUTE),
        || CacheControl::no_cache().immutable(),
        || CacheControl::no_cache().s_maxage(MINUTE),
        || CacheControl::no_cache().stale_while_revalidate(MINUTE),
        || CacheControl::no_cache().stale_if_error(MINUTE),
        || CacheControl::private(MINUTE).s_maxage(MINUTE),
        || CacheControl::public(MINUTE).must_revalidate().stale_if_error(MINUTE),
        || CacheControl::public(MINUTE).stale_while_revalidate(MINUTE).must_revalidate(),
    ];
    for (number, contradiction) in contradictions.into_iter().enumerate() {
        assert!(catch_unwind(contradiction).is_err(), "{number}");
    }
}

#[test]
fn what_the_handler_said_and_the_layer_forbids_counts() {
    let field = HeaderValue::from_static;
    let said: HeaderMap =
        [(CACHE_CONTROL, field("private")), (EXPIRES, field("0")), (VARY, field("a"))].into_iter().collect();
    let (mut head, mut note) = (said.clone(), ForCaches::default());
    assert!(matches!(note.head(&head), Cow::Borrowed(_)));
    for value in ["max-age=1", "max-age=2"] {
        note.write(&mut head, CACHE_CONTROL, Some(field(value)));
    }
    note.write(&mut head, EXPIRES, None);
    note.write(&mut head, CDN_CACHE_CONTROL, Some(field("max-age=3")));
    assert_eq!(head[CACHE_CONTROL], "max-age=2");
    assert_eq!(*note.head(&head), said);

    // What others write further out counts.
    head.insert(CACHE_CONTROL, field("no-store"));
    assert_eq!(note.head(&head)[CACHE_CONTROL], "no-store");
    head.append(EXPIRES, field("1"));
    assert_eq!(note.head(&head)[EXPIRES], "1");
    let parts = note.parts().map(|(name, counts, written)| (name.clone(), counts.to_vec(), written.cloned()));
    assert_eq!(*ForCaches::from_parts(parts).head(&head), *note.head(&head), "as a store has it");
    note.write(&mut head, CACHE_CONTROL, Some(field("max-age=4")));
    assert_eq!(note.head(&head)[CACHE_CONTROL], "no-store");

    for (value, counts) in [
        (CacheControl::public(MINUTE).s_maxage(HOUR), &[][..]),
        (CacheControl::public(MINUTE).must_revalidate(), &[]),
        (CacheControl::private(MINUTE), &["private"]),
        (CacheControl::no_store(), &["no-store"]),
        (CacheControl::no_cache(), &["no-cache"]),
    ] {
        let (mut head, mut note) = (HeaderMap::new(), ForCaches::default());
        // Made private for one request, that says nothing of others.
        note.write_control(&mut head, value, value.for_one().to_header_value());
        assert_eq!(note.head(&head).get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), counts, "{value}");
    }
}
