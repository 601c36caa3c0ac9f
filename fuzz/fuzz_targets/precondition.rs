//! Preconditions: the order of RFC 9110 §13.2.2, and what a response's own validators must answer.
#![no_main]

use http::{
    HeaderMap, HeaderValue, Method,
    header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE},
};
use larder::semantics::{
    precondition::{Precondition, evaluate, if_range_allows},
    validation::{Freshened, freshen, head_agrees, make_conditional},
    validator::{etag, has_conditionals, has_validator, last_modified},
};
use larder_fuzz::{NOW, fields, halves};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (request, current) = halves(data);
    let (request, current) = (fields(request), fields(current));

    let get = evaluate(&Method::GET, &request, &current, NOW);
    assert_eq!(evaluate(&Method::HEAD, &request, &current, NOW), get);
    assert_eq!(evaluate(&Method::OPTIONS, &request, &current, NOW), Precondition::Proceed);
    let put = evaluate(&Method::PUT, &request, &current, NOW);
    assert!(put != Precondition::NotModified);
    if get == Precondition::Failed {
        assert_eq!(put, Precondition::Failed);
    }
    if !has_conditionals(&request) {
        assert_eq!((get, put), (Precondition::Proceed, Precondition::Proceed));
    }
    if request.contains_key(IF_NONE_MATCH) && get != Precondition::Failed {
        // If-Modified-Since does not count beside If-None-Match (§13.1.3).
        let mut without = request.clone();
        without.remove(IF_MODIFIED_SINCE);
        assert_eq!(evaluate(&Method::GET, &without, &current, NOW), get);
    }
    if request.contains_key(IF_MATCH) && etag(&current).is_none() && get != Precondition::Failed {
        assert!(request.get_all(IF_MATCH).iter().any(|line| line.as_bytes().contains(&b'*')));
    }

    if let (Some(tag), Some(value)) = (etag(&current), current.get(ETAG)) {
        let given = |name| HeaderMap::from_iter([(name, value.clone())]);
        assert_eq!(evaluate(&Method::GET, &given(IF_NONE_MATCH), &current, NOW), Precondition::NotModified);
        assert_eq!(evaluate(&Method::PUT, &given(IF_NONE_MATCH), &current, NOW), Precondition::Failed);
        let matched = evaluate(&Method::GET, &given(IF_MATCH), &current, NOW) == Precondition::Proceed;
        assert_eq!(matched, !tag.is_weak());
        assert_eq!(if_range_allows(&given(IF_RANGE), &current, NOW), !tag.is_weak());
        // One more tag in the list takes nothing away.
        let mut more = given(IF_NONE_MATCH);
        more.append(IF_NONE_MATCH, HeaderValue::from_static("\"else\", junk"));
        assert_eq!(evaluate(&Method::GET, &more, &current, NOW), Precondition::NotModified);
    }
    if let (Some(_), Some(value)) = (last_modified(&current, NOW), current.get(LAST_MODIFIED)) {
        let given = HeaderMap::from_iter([(IF_MODIFIED_SINCE, value.clone())]);
        assert_eq!(evaluate(&Method::GET, &given, &current, NOW), Precondition::NotModified);
        assert_eq!(evaluate(&Method::PUT, &given, &current, NOW), Precondition::Proceed);
    }
    if if_range_allows(&request, &current, NOW) {
        assert!(!request.contains_key(IF_RANGE) || has_validator(&current));
    }

    // Validation: the question holds the stored validators only, and the honest answer to it is believed.
    let mut question = request.clone();
    make_conditional(&mut question, &current);
    assert!(!question.contains_key(IF_MATCH) && !question.contains_key(IF_RANGE));
    assert_eq!(question.contains_key(RANGE), request.contains_key(RANGE));
    if etag(&current).is_some() {
        assert_eq!(evaluate(&Method::GET, &question, &current, NOW), Precondition::NotModified);
    }
    assert!(head_agrees(&current, &HeaderMap::new(), 0));
    let answer = fields(data);
    if let Freshened::Head(head) = freshen(&current, &answer, NOW) {
        for name in ["content-length", "content-encoding", "content-range", "set-cookie"] {
            assert!(head.get_all(name).iter().eq(current.get_all(name)), "{name}");
        }
        assert!(head.contains_key("date"));
        if let Some(tag) = etag(&current) {
            assert!(etag(&head).is_none_or(|fresh| fresh.weak_eq(&tag)));
        }
        // The same answer again changes nothing.
        match freshen(&head, &answer, NOW) {
            Freshened::Head(again) => assert_eq!(again, head),
            _ => panic!("the freshened head is of another representation"),
        }
    }
});
