//! The names by which stored responses are invalidated together.

use super::{Selector, Subject};
use std::{borrow::Cow, fmt};

/// Tags of a response, put into the extensions of a response by its handler, beside those of the policy.
///
/// ```
/// # use larder::Tags;
/// # use http::Response;
/// let mut response = Response::new("report");
/// response.extensions_mut().insert(Tags::new(["report", "org:7"]).global("currency"));
/// ```
///
/// A tag lives inside the tenant of what has it: [`Selector::tag`] narrowed to a tenant hits that tenant's alone. A
/// [global](Tags::global) one is hit whatever the selector is narrowed to, for what all tenants depend on.
///
/// A response has up to 64 tags of up to 256 bytes; one that has more is not stored, since it could not be invalidated
/// by all of them. Blank tags do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "tags do nothing until they are in the extensions of a response"]
pub struct Tags {
    all: Vec<Tag>,
    /// There were more than are worth keeping.
    overflow: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    name: Cow<'static, str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Global,
    /// A name that the response depends on.
    Name,
}

/// In the extensions of a response to a request that changes something: what has changed with it. What is selected is
/// narrowed to the tenant of the request, and to what is keyed on no tenant, unless the selector is narrowed already.
///
/// ```
/// # use larder::{Invalidates, Selector};
/// # use http::Response;
/// let mut response = Response::new(());
/// response.extensions_mut().insert(Invalidates::new([Selector::tag("inventory")]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it does nothing until it is in the extensions of a response"]
pub struct Invalidates(pub(crate) Vec<Selector>);

impl Tags {
    /// These tags.
    pub fn new<T: Into<Cow<'static, str>>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self::default().and(tags)
    }

    /// And these.
    pub fn and<T: Into<Cow<'static, str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        tags.into_iter().for_each(|tag| self.add(tag.into(), Kind::Local));
        self
    }

    /// And this one, which is hit whatever tenant a selector is narrowed to.
    pub fn global(mut self, tag: impl Into<Cow<'static, str>>) -> Self {
        self.add(tag.into(), Kind::Global);
        self
    }

    /// And what depends on these names ([`Cache::changed`](crate::Cache::changed)).
    pub(crate) fn depending_on(mut self, names: &[Cow<'static, str>]) -> Self {
        names.iter().for_each(|name| self.add(name.clone(), Kind::Name));
        self
    }

    /// And those of another.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        other.all.iter().for_each(|tag| self.add(tag.name.clone(), tag.kind));
        self.overflow |= other.overflow;
        self
    }

    fn add(&mut self, name: Cow<'static, str>, kind: Kind) {
        let tag = Tag { name, kind };
        if self.all.len() > 2 * MOST {
            self.overflow = true;
        } else if !tag.name.trim().is_empty() && !self.all.contains(&tag) {
            self.all.push(tag);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there are too many, or one is too long.
    pub(crate) fn are_too_many(&self) -> bool {
        let counted = self.all.iter().filter(|tag| tag.kind != Kind::Name).count();
        self.overflow || counted > MOST || self.all.iter().any(|tag| tag.name.len() > LONGEST)
    }

    /// What they can be selected by: a tag by its text, and by each part of it up to a `:`, with a star.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = Subject<'_>> {
        self.all.iter().flat_map(|Tag { name, kind }| {
            let prefixes = name.match_indices(':').take(PREFIXES).map(|(at, _)| &name[..=at]);
            let prefixes = prefixes.filter(|_| *kind != Kind::Name).map(Subject::TagPrefix);
            let own = match kind {
                Kind::Name => Subject::Name(name),
                Kind::Local | Kind::Global => Subject::Tag(name),
            };
            [own].into_iter().chain(prefixes).flat_map(|subject| {
                let global = match subject {
                    Subject::Tag(tag) => Some(Subject::GlobalTag(tag)),
                    Subject::TagPrefix(prefix) => Some(Subject::GlobalTagPrefix(prefix)),
                    _ => None,
                };
                [Some(subject), global.filter(|_| *kind == Kind::Global)].into_iter().flatten()
            })
        })
    }

    /// Each with the number of its kind, for a store. Entries that outlive the process have these numbers: never change one.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = (u8, &str)> {
        let number = |kind| match kind {
            Kind::Local => 0,
            Kind::Global => 1,
            Kind::Name => 2,
        };
        self.all.iter().map(move |tag| (number(tag.kind), &*tag.name))
    }

    /// What [`Tags::parts`] gave; nothing if one of them cannot be kept as it is, or if there are too many.
    pub(crate) fn from_parts(parts: impl IntoIterator<Item = (u8, String)>) -> Option<Self> {
        let mut tags = Self::default();
        for (number, name) in parts {
            let kind = match number {
                0 => Kind::Local,
                1 => Kind::Global,
                2 => Kind::Name,
                _ => return None,
            };
            let before = tags.all.len();
            tags.add(name.into(), kind);
            if tags.all.len() == before {
                return None;
            }
        }
        (!tags.are_too_many()).then_some(tags)
    }

    /// The bytes that they take, with what an allocator adds to a short text.
    pub(crate) fn weight(&self) -> usize {
        self.all.iter().map(|tag| tag.name.len() + size_of::<Tag>() + 24).sum()
    }

    /// The names of the tags, for people.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|tag| tag.kind != Kind::Name).map(|tag| &*tag.name)
    }
}

impl<T: Into<Cow<'static, str>>> FromIterator<T> for Tags {
    fn from_iter<I: IntoIterator<Item = T>>(tags: I) -> Self {
        Self::new(tags)
    }
}

impl Invalidates {
    /// What these select.
    pub fn new(selectors: impl IntoIterator<Item = Selector>) -> Self {
        Self(selectors.into_iter().collect())
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

/// By so many of its parts up to a `:` a tag can be selected.
pub(super) const PREFIXES: usize = 4;

/// So many tags a response may have.
const MOST: usize = 64;

/// So many bytes a tag may have.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_tags_and_doubles_do_not_count() {
        let tags = Tags::new(["a", "", " ", "a", "b"]).global("a");
        assert_eq!(tags.names().collect::<Vec<_>>(), ["a", "b", "a"]);
        assert!(!tags.are_too_many());
    }

    #[test]
    fn limits_are_exact() {
        let many = |count: usize| Tags::new((0..count).map(|n| n.to_string()));
        assert!(!many(64).are_too_many() && many(65).are_too_many());
        assert!(!Tags::new(["x".repeat(256)]).are_too_many() && Tags::new(["x".repeat(257)]).are_too_many());
    }
}
