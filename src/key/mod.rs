//! The identity of a stored response: a tuple, encoded so that no two tuples look alike.
//!
//! A key is a row of parts, each a tag, a length and the bytes. A part that is absent is not written, so it differs from
//! an empty one, and no value can fake the border of another. The same bytes are hashed and compared in memory, and made
//! readable for people ([`Key`]'s `Display`). Nothing is normalised that a handler could tell apart.

mod buf;
mod derive;
mod forwarded;
mod pattern;
mod said;
mod search;
mod text;
mod wanted;

pub(crate) use buf::{KeyBuf, attribute};
pub use derive::UtcOffset;
pub(crate) use derive::{CustomPart, KeyRules, QueryRule, cookie_names, keyed_uri, write_lines};
pub(crate) use forwarded::{is_forwarding, narrow_forwarded};
pub(crate) use pattern::Pattern;
pub(crate) use said::{Said, query_names};
pub(crate) use search::Searches;
pub(crate) use text::{Readable, shown};
pub(crate) use wanted::{Attribute, Wanted};

use buf::split_value;
use smallvec::SmallVec;
use std::{fmt, hash::Hash};

/// What a part of a key is. The order is that of the readable text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    Namespace = 1,
    Version = 2,
    Policy = 3,
    PolicyVersion = 4,
    /// The key options of the policy, so that policies with other options never share.
    Shape = 5,
    Method = 6,
    Scheme = 7,
    Authority = 8,
    Path = 9,
    Query = 10,
    Header = 11,
    Forwarded = 12,
    /// An attribute of the identity.
    Identity = 13,
    /// What a scope made of the identity.
    Context = 14,
    /// A cookie.
    Cookie = 15,
    /// The best language that the service speaks.
    Language = 16,
    /// The content codings that the client accepts.
    Codings = 17,
    /// The day, in the time zone of the policy.
    Date = 18,
    /// What a closure of the policy makes of the request.
    Custom = 19,
    /// The content of the request.
    Body = 20,
    /// The query as `No-Vary-Search` lets it count, with what that said.
    Search = 21,
    /// The name of a value.
    Value = 22,
    /// A parameter of a value.
    Parameter = 23,
}

impl Part {
    const ALL: [Self; 23] = [
        Self::Namespace,
        Self::Version,
        Self::Policy,
        Self::PolicyVersion,
        Self::Shape,
        Self::Method,
        Self::Scheme,
        Self::Authority,
        Self::Path,
        Self::Query,
        Self::Header,
        Self::Forwarded,
        Self::Identity,
        Self::Context,
        Self::Cookie,
        Self::Language,
        Self::Codings,
        Self::Date,
        Self::Custom,
        Self::Body,
        Self::Search,
        Self::Value,
        Self::Parameter,
    ];

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|part| *part as u8 == tag)
    }
}

/// The attributes of an identity that have a meaning of their own.
pub(crate) const TENANT: &str = "tenant";
pub(crate) const USER: &str = "user";

/// A finished key, as it lies beside the stored response: one of usual length lies there itself, so that it is compared
/// without another look into memory. `Display` gives the readable text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(SmallVec<[u8; 88]>);

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&KeyBuf> for Key {
    fn from(key: &KeyBuf) -> Self {
        Self(SmallVec::from_slice(key.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// A key that is only looked up: hashes and compares like [`Key`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyRef<'a>(pub(crate) &'a [u8]);

impl quick_cache::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{Admission, BodyFacts, admit_or_pass},
        identity::Identity,
        policy::{Policy, Rules, Unit},
        semantics::date::Timestamp,
    };
    use proptest::prelude::*;
    use std::{collections::HashMap, hash::Hasher};

    /// Values full of what could be taken for a border.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            prop_oneof![
                Just(0u8),
                Just(1),
                Just(4),
                Just(8),
                Just(0x1e),
                Just(0x1f),
                Just(b':'),
                Just(b'|'),
                Just(b'%'),
                Just(b'a')
            ],
            0..6,
        )
    }

    fn part() -> impl Strategy<Value = Part> {
        (0..Part::ALL.len()).prop_map(|index| Part::ALL[index])
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    enum Written {
        One(u8, Vec<u8>),
        Named(u8, String, Vec<Vec<u8>>),
    }

    fn written() -> impl Strategy<Value = Written> {
        prop_oneof![
            (part(), hostile())
                .prop_filter("single", |(part, _)| !matches!(
                    part,
                    Part::Header | Part::Forwarded | Part::Identity | Part::Cookie | Part::Custom | Part::Search
                ))
                .prop_map(|(part, value)| Written::One(part as u8, value)),
            ("[a:|]{0,3}", proptest::collection::vec(hostile(), 0..4)).prop_map(|(name, values)| Written::Named(
                Part::Header as u8,
                name,
                values
            )),
        ]
    }

    fn encode(parts: &[Written]) -> Key {
        let mut key = KeyBuf::default();
        for part in parts {
            match part {
                Written::One(tag, value) => key.part(Part::from_tag(*tag).unwrap(), value),
                Written::Named(tag, name, values) => {
                    key.part_named(Part::from_tag(*tag).unwrap(), name, values.iter().map(Vec::as_slice));
                }
            }
        }
        Key::from(&key)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn distinct_tuples_have_distinct_keys(tuples in proptest::collection::vec(
            proptest::collection::vec(written(), 0..5), 400
        )) {
            let mut seen: HashMap<Key, Vec<Written>> = HashMap::new();
            for tuple in tuples {
                if let Some(other) = seen.insert(encode(&tuple), tuple.clone()) {
                    prop_assert_eq!(other, tuple);
                }
            }
        }

        #[test]
        fn a_text_can_be_made_of_any_key(tuple in proptest::collection::vec(written(), 0..5)) {
            let _ = encode(&tuple).to_string();
        }
    }

    /// SplitMix64.
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, limit: usize) -> usize {
            usize::try_from(self.next() % limit as u64).unwrap()
        }

        /// Up to three pieces of what could be taken for a border.
        fn hostile(&mut self, alphabet: &[&str]) -> String {
            (0..self.below(4)).map(|_| alphabet[self.below(alphabet.len())]).collect()
        }
    }

    const IN_IDS: [&str; 15] =
        ["a", "b", ":", "|", "::", "=", "/", "%", "%3A", "\0", "\u{1}", "\u{1e}", "\u{1f}", "\n", " "];
    const IN_URIS: [&str; 14] = ["a", "b", ":", "|", "::", "=", "/", "%1E", "%1F", "%00", "%3A", ";", ",", "&"];
    const IN_FIELDS: [&str; 11] = ["a", "b", ":", "|", ",", "\t", "=", ";", "\"", "\\", "%"];

    /// A request, and the tuple that its key is to tell apart.
    fn random_request(rng: &mut Rng) -> (http::request::Parts, u64) {
        let mut hasher = std::hash::DefaultHasher::new();
        let path = format!("/{}", rng.hostile(&IN_URIS));
        let query = (rng.below(2) == 0).then(|| rng.hostile(&IN_URIS));
        let host = ["a", "b", "a:1", ""][rng.below(4)];
        let mut request = http::Request::builder().uri(match &query {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        });
        if !host.is_empty() {
            request = request.header("host", host);
        }
        (path, query, host).hash(&mut hasher);
        for name in ["x-k", "x-l", "x-custom"] {
            let lines: Vec<String> = (0..rng.below(3)).map(|_| rng.hostile(&IN_FIELDS)).collect();
            for line in &lines {
                request = request.header(name, line);
            }
            lines.hash(&mut hasher);
        }
        let mut identity = Identity::new();
        for name in ["tenant", "user", "role", "a", "a:"] {
            if rng.below(2) == 0 {
                identity = identity.with_all(name, (0..=rng.below(2)).map(|_| rng.hostile(&IN_IDS)));
            }
        }
        // What the identity has made of it: blank values are none, order and duplicates do not count.
        for name in identity.names() {
            (name, identity.values(name).collect::<Vec<_>>()).hash(&mut hasher);
        }
        identity.names().count().hash(&mut hasher);
        (request.extension(identity).body(()).unwrap().into_parts().0, hasher.finish())
    }

    /// Keys and tuples are remembered by their digests, so that a million find room.
    #[test]
    fn a_million_random_tuples_have_distinct_keys() {
        let policy = Policy::fresh_for(std::time::Duration::from_secs(60)).key_headers(["x-k", "x-l"]).key_part(
            "custom",
            |parts| {
                let lines: Vec<_> = parts.headers.get_all("x-custom").iter().collect();
                (!lines.is_empty()).then(|| format!("{lines:?}"))
            },
        );
        let unit =
            Unit { searches: &std::sync::Arc::default(), namespace: "shop", version: Some("1"), largest_body: 1 << 20 };
        let rules = Rules::new(&policy, unit).unwrap();
        let body = BodyFacts { empty: true, readable: false };
        let mut seen: HashMap<[u8; 32], u64> = HashMap::with_capacity(1_000_000);
        let mut rng = Rng(6);
        let mut again = 0;
        for _ in 0..1_000_000 {
            let (parts, tuple) = random_request(&mut rng);
            let mut key = rules.begin_key();
            let now = || Timestamp::from_unix_secs(1);
            let Admission::Lookup(_) = admit_or_pass(&rules, None, &parts, body, &now, &mut key) else {
                panic!("{parts:?}");
            };
            if let Some(other) = seen.insert(*blake3::hash(key.as_bytes()).as_bytes(), tuple) {
                assert_eq!(other, tuple, "{}", Key::from(&key));
                again += 1;
            }
        }
        assert!(seen.len() > 900_000 && again > 100, "{} {again}", seen.len());
    }
}
