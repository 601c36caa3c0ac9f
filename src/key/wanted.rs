//! The request that a key is the key of, where the key tells all of it: to make it again.

use super::{Part, said::attribute, text::parts};
use crate::credentials;
use http::{HeaderValue, uri::PathAndQuery};

/// A GET, as far as keys tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) scheme: Option<Box<str>>,
    pub(crate) authority: Option<Box<str>>,
    pub(crate) path: Box<str>,
    pub(crate) query: Option<Box<str>>,
    pub(crate) language: Option<Box<str>>,
    pub(crate) codings: Option<Box<str>>,
    pub(crate) identity: Vec<Attribute>,
}

/// The name of an attribute of the identity, and its values.
pub(crate) type Attribute = (Box<str>, Vec<Box<str>>);

impl Wanted {
    /// The request of this key; nothing where the key has a digest, or what was sent for one purpose only: fields,
    /// cookies, content, what closures make of a request.
    pub(crate) fn of(key: &[u8]) -> Option<Self> {
        let mut wanted = Self::default();
        for (part, value) in parts(key) {
            let text = || std::str::from_utf8(value).ok().map(Box::from);
            match part {
                Part::Namespace | Part::Version | Part::Policy | Part::PolicyVersion | Part::Shape => {}
                // It will be another day.
                Part::Date => {}
                Part::Method if value == b"GET" => {}
                Part::Scheme => wanted.scheme = Some(text()?),
                Part::Authority => wanted.authority = Some(text()?),
                Part::Path => wanted.path = text()?,
                Part::Query => wanted.query = Some(text()?),
                Part::Language => wanted.language = Some(text()?),
                Part::Codings => wanted.codings = Some(text()?),
                Part::Identity => {
                    let values = attribute(value);
                    let (name, _) = values.first()?;
                    wanted.identity.push(((*name).into(), values.iter().map(|(_, value)| (*value).into()).collect()));
                }
                Part::Method
                | Part::Header
                | Part::Forwarded
                | Part::Context
                | Part::Cookie
                | Part::Custom
                | Part::Body
                | Part::Search
                | Part::Value
                | Part::Parameter => return None,
            }
        }
        wanted.is_possible().then_some(wanted)
    }

    /// Path and query.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        }
    }

    /// Whether a request can be made of it, which may be written down: it is short, and no parameter looks like a
    /// secret.
    pub(crate) fn is_possible(&self) -> bool {
        let secret = |query: &str| query.split('&').any(|pair| is_secret(pair.split('=').next().unwrap_or_default()));
        self.path.starts_with('/')
            && self.length() <= LONGEST
            && matches!(self.scheme.as_deref(), None | Some("http" | "https"))
            && [&self.authority, &self.language, &self.codings].into_iter().flatten().all(|text| fits(text))
            && !self.query.as_deref().is_some_and(secret)
            && PathAndQuery::try_from(self.target()).is_ok()
    }

    fn length(&self) -> usize {
        let Self { scheme: _, authority, path, query, language, codings, identity } = self;
        let texts = [authority, query, language, codings].into_iter().flatten().map(|text| text.len());
        let values = identity.iter().flat_map(|(name, values)| [name].into_iter().chain(values));
        path.len() + texts.sum::<usize>() + values.map(|text| text.len() + 1).sum::<usize>()
    }
}

fn fits(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

fn is_secret(name: &str) -> bool {
    credentials::is_credential_name(&percent_encoding::percent_decode_str(name).decode_utf8_lossy())
}

/// Of a longer one nothing is remembered.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyBuf;
    use proptest::prelude::*;

    fn key(write: impl FnOnce(&mut KeyBuf)) -> KeyBuf {
        let mut key = KeyBuf::default();
        key.part(Part::Namespace, b"shop");
        key.part_named(Part::Identity, "role", [&b"a"[..], b"b"].into_iter());
        key.part_named(Part::Identity, "tenant", [&b"1"[..]].into_iter());
        key.part(Part::Policy, b"dashboard");
        key.part(Part::Method, b"GET");
        key.part(Part::Scheme, b"https");
        key.part(Part::Authority, b"shop.example");
        key.part(Part::Path, b"/dashboard");
        write(&mut key);
        key
    }

    #[test]
    fn a_request_can_be_made_of_its_key() {
        let key = key(|key| {
            key.part(Part::Query, b"days=30");
            key.part(Part::Language, b"de");
            key.part(Part::Date, b"20000");
        });
        let wanted = Wanted::of(key.as_bytes()).unwrap();
        assert_eq!((wanted.scheme.as_deref(), wanted.authority.as_deref()), (Some("https"), Some("shop.example")));
        assert_eq!((&*wanted.target(), wanted.language.as_deref()), ("/dashboard?days=30", Some("de")));
        assert_eq!(
            wanted.identity,
            [("role".into(), vec!["a".into(), "b".into()]), ("tenant".into(), vec!["1".into()])]
        );
    }

    #[test]
    fn what_a_key_does_not_tell_is_not_guessed() {
        let wanted = |write: fn(&mut KeyBuf)| Wanted::of(key(write).as_bytes());
        assert!(wanted(|_| ()).is_some());
        assert_eq!(wanted(|key| key.part_named(Part::Header, "x", [&b"1"[..]].into_iter())), None);
        assert_eq!(wanted(|key| key.part_named(Part::Cookie, "theme", [&b"dark"[..]].into_iter())), None);
        assert_eq!(wanted(|key| key.part(Part::Body, b"digest")), None);
        assert_eq!(wanted(|key| key.part(Part::Context, b"c")), None);
        assert_eq!(wanted(|key| key.part(Part::Query, b"acc%65ss_token=1")), None, "a secret");
        assert_eq!(wanted(|key| key.part(Part::Query, &[b'x'; 1100])), None, "too long");
        assert_eq!(Wanted::of(b""), None);
        let mut search = KeyBuf::default();
        search.part(Part::Method, b"QUERY");
        search.part(Part::Path, b"/x");
        assert_eq!(Wanted::of(search.as_bytes()), None);
    }

    /// All of it counts, and of the identity a border for each text.
    #[test]
    fn what_is_remembered_is_short() {
        let text = |length| -> Box<str> { "x".repeat(length).into() };
        let of = |path: usize, other: usize| Wanted {
            path: format!("/{}", text(path - 1)).into(),
            authority: Some(text(other)),
            query: Some(text(100)),
            language: Some(text(100)),
            codings: Some(text(100)),
            identity: vec![(text(9), vec![text(19), text(29)]), (text(9), vec![text(29)])],
            scheme: Some("https".into()),
        };
        for (path, other) in [(100, 524), (523, 101)] {
            assert!(of(path, other).is_possible());
            assert!(!of(path + 1, other).is_possible() && !of(path, other + 1).is_possible());
        }
        let broken = Some("a\nb".into());
        assert!(!Wanted { authority: broken.clone(), ..of(1, 1) }.is_possible(), "no field has it");
        assert!(!Wanted { language: broken.clone(), ..of(1, 1) }.is_possible());
        assert!(!Wanted { codings: broken, ..of(1, 1) }.is_possible() && of(1, 1).is_possible());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_none(bytes in proptest::collection::vec(0u8..32, 0..64)) {
            let _ = Wanted::of(&bytes);
        }
    }
}
