//! `Cache-Groups` and `Cache-Group-Invalidation`: lists of strings, whole or not at all, and both are read alike.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use larder::semantics::cache_groups::{cache_groups, invalidated_groups};
use larder_fuzz::values;
use libfuzzer_sys::fuzz_target;

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

fuzz_target!(|data: &[u8]| {
    let headers = values(&CACHE_GROUPS, data);
    let names = cache_groups(&headers);
    assert_eq!(invalidated_groups(&values(&CACHE_GROUP_INVALIDATION, data)), names);
    assert!(invalidated_groups(&headers).is_empty());
    assert!(names.iter().all(|name| name.bytes().all(|byte| matches!(byte, b' '..=b'~'))));

    // Against a plain reading of the same. It knows no parameters.
    let all: Vec<&[u8]> = headers.get_all(CACHE_GROUPS).iter().map(HeaderValue::as_bytes).collect();
    let text = all.join(&b", "[..]);
    match plainly(&text) {
        Some(read) => assert_eq!(names, read),
        None => assert!(names.is_empty() || text.contains(&b';')),
    }

    // Written again they are the same, each on a line of its own or all on one.
    let written: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    assert_eq!(cache_groups(&values(&CACHE_GROUPS, written.join("\n").as_bytes())), names[..names.len().min(100)]);
    assert_eq!(cache_groups(&values(&CACHE_GROUPS, written.join(" ,\t").as_bytes())), names);

    // What a further line cannot mend stays broken; one wrong member breaks all.
    let with = |line: &'static str| {
        let mut headers: HeaderMap = headers.clone();
        headers.append(CACHE_GROUPS, HeaderValue::from_static(line));
        cache_groups(&headers)
    };
    let more = with("\"more-of-this-target\";x=?0;y");
    let expected = [&names[..], &["more-of-this-target".to_owned()]].concat();
    assert!(more == expected || (more.is_empty() && names.is_empty()));
    for wrong in ["more", "1", "(\"more\")", "?1", "\"more", "\"more\","] {
        assert!(with(wrong).is_empty(), "{wrong}");
    }
});

/// The strings of a list that has nothing else in it.
fn plainly(text: &[u8]) -> Option<Vec<String>> {
    let is_ows = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut bytes = text.iter().copied().skip_while(|byte| *byte == b' ').peekable();
    let mut names = Vec::new();
    while bytes.peek().is_some() {
        bytes.next_if_eq(&b'"')?;
        let mut name = String::new();
        loop {
            match bytes.next()? {
                b'"' => break,
                b'\\' => name.push(char::from(bytes.next_if(|byte| matches!(byte, b'"' | b'\\'))?)),
                byte @ b' '..=b'~' => name.push(char::from(byte)),
                _ => return None,
            }
        }
        names.push(name);
        while bytes.next_if(is_ows).is_some() {}
        if bytes.peek().is_some() {
            bytes.next_if_eq(&b',')?;
            while bytes.next_if(is_ows).is_some() {}
            bytes.peek()?;
        }
    }
    Some(names)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
