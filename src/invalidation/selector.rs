//! What an invalidation is about.

use super::{
    InvalidateError,
    ban::What as Banned,
    ledger::{Batch, Force, Record},
    row::{Row, RowHasher, Subject, Within},
    tags::PREFIXES,
};
use crate::{
    identity::{TENANT, USER},
    key::{Pattern, QueryRule, Searches},
    semantics::target::Target,
};
use http::{HeaderMap, Uri};
use std::{fmt, sync::Arc};

/// What an invalidation is about.
///
/// ```
/// # use larder::{Cache, Selector};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// let cache = Cache::in_memory(1 << 20);
/// cache.invalidate(Selector::resource("/products/7")).await?;
/// cache.invalidate(Selector::tag("dashboard").within(1)).await?;              // of tenant 1
/// cache.invalidate(Selector::all_of(["report", "org:7"]).soft()).await?;      // stale from now on
/// cache.invalidate(Selector::user(42).within(1)).await?;
/// cache.invalidate(Selector::pattern("tenant=1:*dashboard*")).await?;
/// cache.invalidate(Selector::everything()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a selector does nothing until it is given to `Cache::invalidate`"]
pub struct Selector {
    pub(super) what: What,
    pub(super) within: Narrowed,
    pub(super) force: Force,
    pub(crate) counted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Everything,
    Resource(String),
    /// A resource that is known in parts; without an authority, wherever it is.
    Target {
        authority: Option<String>,
        path: String,
        query: Option<String>,
    },
    Attribute(String, String),
    Tag(String),
    AllOf(Vec<String>),
    Group {
        authority: Option<String>,
        name: String,
    },
    Policy(String),
    Pattern(String),
    Name(String),
    Value(String),
    /// One value, by the digest of its key.
    Key([u8; 16]),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Narrowed {
    Anyone,
    Tenant(String),
    Nobody,
}

impl Selector {
    /// Every response stored before now.
    pub fn everything() -> Self {
        Self::of(What::Everything)
    }

    /// All variants of one resource: an absolute URI (`https://shop.example/p?page=2`), or a path and query (`/p?page=2`)
    /// on every authority. The scheme does not count, nor the order of query parameters of different names.
    ///
    /// ```
    /// # use larder::Selector;
    /// let one = Selector::resource("/products/7"); // on every host, with no query
    /// let there = Selector::resource("https://shop.example/products?page=2");
    /// # let _ = (one, there);
    /// ```
    pub fn resource(uri: impl Into<String>) -> Self {
        Self::of(What::Resource(uri.into()))
    }

    /// What has this tag; `item:*` is every tag that begins with `item:`. Responses are tagged by [`Policy::tags`](crate::Policy::tags),
    /// [`Policy::tag_with`](crate::Policy::tag_with), or [`Tags`](crate::Tags) from the handler.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::of(What::Tag(tag.into()))
    }

    /// What has all of these tags.
    pub fn all_of<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self::of(What::AllOf(tags.into_iter().map(Into::into).collect()))
    }

    /// What its `Cache-Groups` put into this group (RFC 9875), of any origin.
    pub fn group(name: impl Into<String>) -> Self {
        Self::of(What::Group { authority: None, name: name.into() })
    }

    /// What is keyed on this tenant.
    pub fn tenant(tenant: impl fmt::Display) -> Self {
        Self::attribute(TENANT, tenant)
    }

    /// What is keyed on this user, in every tenant unless narrowed by [`within`](Selector::within).
    pub fn user(user: impl fmt::Display) -> Self {
        Self::attribute(USER, user)
    }

    /// What is keyed on this value of an attribute of the [`Identity`](crate::Identity).
    pub fn attribute(name: impl Into<String>, value: impl fmt::Display) -> Self {
        Self::of(What::Attribute(name.into(), value.to_string()))
    }

    /// What was stored by the policy of this name.
    pub fn policy(name: impl Into<String>) -> Self {
        Self::of(What::Policy(name.into()))
    }

    /// What has a key whose text is like this: `*` stands for any text, separators included, and `\` makes the next
    /// character literal. `tenant=1:*dashboard*` and `tenant:1:*dashboard*` are one. The text is that of `X-Cache-Key`,
    /// with or without namespace and version. One that begins with `/` is about the path alone, or path and query:
    /// `/products/*`, of any host and of any tenant. In the name of a tenant or user a `*` is no star: names are escaped there.
    ///
    /// Each stored response is tried on a pattern once. Where a tag says the same, it is faster.
    pub fn pattern(pattern: impl Into<String>) -> Self {
        Self::of(What::Pattern(pattern.into()))
    }

    /// Of what it selects, only what is keyed on this tenant; and what has a tag that is
    /// [global](crate::Tags::global).
    pub fn within(mut self, tenant: impl fmt::Display) -> Self {
        self.within = Narrowed::Tenant(tenant.to_string());
        self
    }

    /// Makes what it selects stale, instead of ending its use: it may still be served while it is refreshed, or if the
    /// inner service fails, as long from now on as it could have been from the end of its lifetime on.
    pub fn soft(mut self) -> Self {
        self.force = Force::Soft;
        self
    }

    /// Has the invalidation count what it hits ([`Invalidated::entries`](crate::Invalidated::entries)), which takes a look
    /// at everything that is stored.
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Of what it selects, only what is keyed on no tenant.
    pub(crate) fn of_nobody(mut self) -> Self {
        self.within = Narrowed::Nobody;
        self
    }

    /// Narrowed to what is this tenant's, and to what is nobody's, unless it is narrowed already, or there is no tenant.
    pub(crate) fn narrowed_to(self, tenant: Option<&str>) -> Vec<Self> {
        match tenant {
            Some(tenant) if !self.is_narrowed() => vec![self.clone().within(tenant), self.of_nobody()],
            _ => vec![self],
        }
    }

    /// The tenant that it was narrowed to.
    #[cfg(feature = "admin")]
    pub(crate) fn tenant_of(&self) -> Option<&str> {
        match &self.within {
            Narrowed::Tenant(tenant) => Some(tenant),
            Narrowed::Anyone | Narrowed::Nobody => None,
        }
    }

    /// Whether it was narrowed to a tenant.
    pub(crate) fn is_narrowed(&self) -> bool {
        self.within != Narrowed::Anyone
    }

    /// What depends on what has this name.
    pub(crate) fn name(name: impl Into<String>) -> Self {
        Self::of(What::Name(name.into()))
    }

    /// All [values](crate::Value) of this name.
    pub fn value(name: impl Into<String>) -> Self {
        Self::of(What::Value(name.into()))
    }

    /// All variants of a resource, as a request has named it.
    pub(crate) fn target(target: &Target<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (authority, query) = (owned(target.normal_authority()), owned(target.query));
        Self::of(What::Target { authority, path: target.path.to_owned(), query })
    }

    /// One value.
    pub(crate) fn key(key: &[u8]) -> Self {
        Self::of(What::Key(key_digest(key)))
    }

    /// The group of this origin alone.
    pub(crate) fn group_of(authority: Option<&str>, name: &str) -> Self {
        Self::of(What::Group { authority: authority.map(str::to_owned), name: name.to_owned() })
    }

    pub(super) fn of(what: What) -> Self {
        Self { what, within: Narrowed::Anyone, force: Force::Hard, counted: false }
    }

    /// Adds what it says to a batch. A resource is recorded under each of the query `rules` that are in use, as each names
    /// it by the parameters that count.
    pub(crate) fn add_to(
        &self,
        batch: &mut Batch,
        rows: &RowHasher,
        rules: &[QueryRule],
        searches: &Searches,
    ) -> Result<(), InvalidateError> {
        batch.add(self.records(rows, rules, searches)?, self.force);
        Ok(())
    }

    fn records(
        &self,
        rows: &RowHasher,
        rules: &[QueryRule],
        searches: &Searches,
    ) -> Result<Vec<Record>, InvalidateError> {
        let (within, owner) = match &self.within {
            Narrowed::Anyone => (Within::Anyone, None),
            Narrowed::Nobody => (Within::Nobody, None),
            Narrowed::Tenant(tenant) => {
                named("tenant", tenant)?;
                (Within::Tenant(tenant), Some(rows.tenant(tenant)))
            }
        };
        let one = |subject| vec![Record::Row { row: rows.row(subject, within), owner }];
        Ok(match &self.what {
            What::Everything => match owner {
                Some(owner) => vec![Record::Row { row: owner, owner: Some(owner) }],
                None if self.is_narrowed() => one(Subject::Everything),
                None => vec![Record::Everything],
            },
            What::Attribute(name, value) => {
                named(name, value)?;
                let mut records = one(Subject::Attribute { name, value });
                if name == TENANT && !self.is_narrowed() {
                    let row = rows.tenant(value);
                    records = vec![Record::Row { row, owner: Some(row) }];
                }
                records
            }
            What::Tag(tag) => {
                let (local, global) = tagged(tag)?;
                let mut records = one(local);
                if self.is_narrowed() {
                    records.push(Record::Row { row: rows.row(global, Within::Anyone), owner: None });
                }
                records
            }
            What::AllOf(tags) => {
                if tags.is_empty() {
                    return Err(InvalidateError::new(
                        "all_of([]) names no tag; for everything there is everything()".to_owned(),
                    ));
                }
                let subjects = tags.iter().map(|tag| tagged(tag)).collect::<Result<Vec<_>, InvalidateError>>()?;
                let local = subjects.iter().map(|(local, _)| rows.row(*local, within)).collect();
                let mut records = vec![Record::Ban(Arc::new(Banned::AllOf { rows: local, owner }))];
                if self.is_narrowed() {
                    let global = subjects.iter().map(|(_, global)| rows.row(*global, Within::Anyone)).collect();
                    records.push(Record::Ban(Arc::new(Banned::AllOf { rows: global, owner: None })));
                }
                records
            }
            What::Group { authority, name } => {
                named("group", name)?;
                one(Subject::Group { authority: authority.as_deref(), name })
            }
            What::Policy(name) => {
                named("policy", name)?;
                one(Subject::Policy(name))
            }
            What::Name(name) => {
                named("name", name)?;
                one(Subject::Name(name))
            }
            What::Value(name) => {
                named("value", name)?;
                one(Subject::Value(name))
            }
            What::Pattern(text) => {
                let wrong = |error| InvalidateError::new(format!("the pattern `{}`: {error}", text.escape_debug()));
                let pattern = Pattern::parse(text).map_err(wrong)?;
                let nobody = || self.is_narrowed().then(|| rows.row(Subject::Everything, within));
                vec![Record::Ban(Arc::new(Banned::Pattern { pattern, within: owner.or_else(nobody) }))]
            }
            What::Resource(text) => resource_records(rows, text, (within, owner), rules, searches)?,
            What::Target { authority, path, query } => {
                let target = Target { scheme: None, authority: authority.as_deref(), path, query: query.as_deref() };
                records_of(rows, &target, (within, owner), rules, searches)
            }
            What::Key(key) => vec![Record::Row { row: rows.row(Subject::Key(key), Within::Anyone), owner: None }],
        })
    }
}

/// A tag, or all that begin alike, and the same whoever's they are.
fn tagged(tag: &str) -> Result<(Subject<'_>, Subject<'_>), InvalidateError> {
    named("tag", tag)?;
    match tag.strip_suffix('*').filter(|prefix| prefix.ends_with(':')) {
        Some(prefix) if prefix.matches(':').count() > PREFIXES => Err(InvalidateError::new(format!(
            "the tag `{}`: a star can follow one of the first four `:`",
            tag.escape_debug()
        ))),
        Some(prefix) => Ok((Subject::TagPrefix(prefix), Subject::GlobalTagPrefix(prefix))),
        None => Ok((Subject::Tag(tag), Subject::GlobalTag(tag))),
    }
}

fn named(what: &str, name: &str) -> Result<(), InvalidateError> {
    match name.trim().is_empty() {
        true => Err(InvalidateError::new(format!("`{}` is no {what}: it is blank", name.escape_debug()))),
        false => Ok(()),
    }
}

fn resource_records(
    rows: &RowHasher,
    text: &str,
    within: (Within<'_>, Option<Row>),
    rules: &[QueryRule],
    searches: &Searches,
) -> Result<Vec<Record>, InvalidateError> {
    let wrong = || InvalidateError::new(format!("`{}` is neither an absolute URI nor a path", text.escape_debug()));
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    if !uri.path().starts_with('/') {
        return Err(wrong());
    }
    let none = HeaderMap::new();
    let target = Target::of(&uri, &none, None)
        .map_err(|why| InvalidateError::new(format!("`{}`: {why}", text.escape_debug())))?;
    Ok(records_of(rows, &target, within, rules, searches))
}

/// The records about a resource: as a policy names it that counts every query parameter, and as each of these rules does,
/// each also in the normal form of what responses have said of their queries.
fn records_of(
    rows: &RowHasher,
    target: &Target<'_>,
    (within, owner): (Within<'_>, Option<Row>),
    rules: &[QueryRule],
    searches: &Searches,
) -> Vec<Record> {
    let (authority, path) = (target.normal_authority(), target.path);
    let record = |query: Option<&str>| Record::Row {
        row: rows.row(Subject::Resource { authority, path, query }, within),
        owner,
    };
    let said = searches.of(path);
    let mut records = Vec::new();
    for rule in [&QueryRule::All].into_iter().chain(rules) {
        let kept = target.query.and_then(|query| rule.kept(query));
        let normal = said.as_ref().map(|said| record(said.variance.normal_query(kept.as_deref()).as_deref()));
        for record in [Some(record(kept.as_deref())), normal].into_iter().flatten() {
            if !records.contains(&record) {
                records.push(record);
            }
        }
    }
    records
}

/// What a log says in place of a key, which tells more than others need to know.
pub(crate) fn key_digest(key: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(selector: &Selector) -> Result<Vec<Record>, InvalidateError> {
        selector.records(&RowHasher::default(), &[], &Searches::default())
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for bad in ["", "products", "*", "http://user@host/x", "a b"] {
            let error = records(&Selector::resource(bad)).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        for good in ["/", "/x?b=1&a=2", "https://Host:443/x"] {
            assert!(records(&Selector::resource(good)).is_ok(), "{good}");
        }
        let none: [&str; 0] = [];
        for bad in [
            Selector::user(" "),
            Selector::everything().within(""),
            Selector::tag(""),
            Selector::all_of(none),
            Selector::all_of(["a", " "]),
            Selector::pattern(""),
            Selector::pattern("x\\"),
            Selector::policy(""),
            Selector::group(""),
        ] {
            assert!(records(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spellings_of_one_resource_agree() {
        let rows = RowHasher::default();
        let records = |selector: Selector| selector.records(&rows, &[], &Searches::default()).unwrap();
        let record = |uri: &str| records(Selector::resource(uri));
        assert_eq!(record("https://Host:443/x?b=1&a=2"), record("http://host/x?a=2&b=1"));
        assert_ne!(record("https://host/x"), record("/x"));
        assert_ne!(record("/x"), record("/x?"));
        assert_eq!(record("/caf%c3%a9?q=%7e"), record("/caf%C3%A9?%71=~"));
        let only = [QueryRule::Only(vec!["a".to_owned()])];
        let both = Selector::resource("/x?b=1&a=2").records(&rows, &only, &Searches::default()).unwrap();
        assert_eq!(both, [record("/x?b=1&a=2"), record("/x?a=2")].concat());
        assert_eq!(records(Selector::everything().within(1)), records(Selector::tenant(1)));
    }
}
