//! Who a request is from, as the application's own authentication established it.

pub(crate) use crate::key::{TENANT, USER};
use crate::{
    key::{KeyBuf, Part},
    outcome::Bypass,
};
use smallvec::SmallVec;
use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Who a request is from: a tenant, a user, and further attributes such as roles or a language.
///
/// It is put into the request's extensions by the application's authentication, mostly through an
/// [`IdentityLayer`](crate::IdentityLayer). What it holds was verified: nothing in this crate takes it from a header
/// that was not named as trusted.
///
/// ```
/// use larder::Identity;
///
/// let identity = Identity::new().with_tenant(1).with_user(42).with_all("role", ["buyer", "admin"]);
/// assert_eq!(identity.tenant(), Some("1"));
/// assert_eq!(identity.values("role").collect::<Vec<_>>(), ["admin", "buyer"]);
/// ```
///
/// Values are compared byte by byte: `1` and `01` are two tenants. A blank value (nothing, or white space) is no value.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[must_use = "an identity does nothing until a request has it"]
pub struct Identity(Arc<Vec<Attribute>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Attribute {
    name: Cow<'static, str>,
    /// Sorted, without duplicates, never empty.
    values: SmallVec<[Box<str>; 1]>,
}

impl Identity {
    /// Nobody in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this tenant.
    pub fn with_tenant(self, tenant: impl fmt::Display) -> Self {
        self.with(TENANT, tenant)
    }

    /// This user, of the tenant.
    pub fn with_user(self, user: impl fmt::Display) -> Self {
        self.with(USER, user)
    }

    /// With this attribute, in place of one of the same name.
    pub fn with(self, name: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        self.with_all(name, [value])
    }

    /// With an attribute that has several values, such as roles. Their order does not count.
    pub fn with_all<V: fmt::Display>(
        mut self,
        name: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let name = name.into();
        let mut values: SmallVec<[Box<str>; 1]> =
            values.into_iter().map(|value| value.to_string().into_boxed_str()).collect();
        values.retain(|value| !value.trim().is_empty());
        values.sort_unstable();
        values.dedup();
        let attributes = Arc::make_mut(&mut self.0);
        attributes.retain(|attribute| attribute.name != name);
        if !values.is_empty() {
            let place = attributes.binary_search_by(|attribute| attribute.name.cmp(&name));
            attributes.insert(place.unwrap_or_else(|place| place), Attribute { name, values });
        }
        self
    }

    /// The tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.get(TENANT)
    }

    /// The user.
    pub fn user(&self) -> Option<&str> {
        self.get(USER)
    }

    /// The first value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of an attribute, sorted.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |attribute| attribute.name == name).flat_map(Attribute::values)
    }

    /// The names of its attributes, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|attribute| &*attribute.name)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same identity with only these attributes.
    pub fn narrowed(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(Arc::new(self.0.iter().filter(|attribute| keep(&attribute.name)).cloned().collect()))
    }
}

impl Attribute {
    fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| &**value)
    }
}

/// Shows names only: identities end up in logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")?;
        f.debug_list().entries(self.names()).finish()
    }
}

/// Which part of the identity a policy keys on.
#[derive(Clone, Default)]
pub(crate) enum Scope {
    /// All of it; requests without one share.
    #[default]
    Whole,
    /// None of it.
    Shared,
    /// These attributes, each of which must be there, and the tenant if there is one.
    Attributes(Vec<Cow<'static, str>>),
    /// What a closure makes of it, and the tenant if there is one.
    Context(ContextOf),
}

pub(crate) type ContextOf = Arc<dyn Fn(&Identity) -> Option<String> + Send + Sync>;

/// With whom a response is shared under a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Everyone,
    Group,
    OneUser,
}

impl Scope {
    /// Whether there is anything to write for such a request, if it can be keyed at all.
    #[inline]
    pub(crate) fn writes(&self, identity: Option<&Identity>) -> bool {
        !matches!(self, Self::Shared) && identity.is_some_and(|identity| !identity.is_empty())
    }

    /// Writes what a request with this identity is keyed on, and tells who shares it.
    #[inline]
    pub(crate) fn write(&self, identity: Option<&Identity>, key: &mut KeyBuf) -> Result<Sharing, Bypass> {
        match (identity.filter(|identity| !identity.is_empty()), self) {
            (Some(identity), _) => self.write_of(identity, key),
            (None, Self::Whole | Self::Shared) => Ok(Sharing::Everyone),
            (None, Self::Attributes(_) | Self::Context(_)) => Err(Bypass::IdentityMissing),
        }
    }

    fn write_of(&self, identity: &Identity, key: &mut KeyBuf) -> Result<Sharing, Bypass> {
        if let Self::Shared = self {
            return Ok(Sharing::Everyone);
        }
        if let Self::Attributes(names) = self
            && !names.iter().all(|name| identity.get(name).is_some())
        {
            return Err(Bypass::IdentityMissing);
        }
        // Without a user the whole identity is that of many, and nobody has said that they share: cookies and credentials
        // may tell them apart.
        let mut sharing = if let Self::Whole = self { Sharing::Everyone } else { Sharing::Group };
        for attribute in identity.0.iter().filter(|attribute| self.keys_on(&attribute.name)) {
            key.part_named(Part::Identity, &attribute.name, attribute.values().map(str::as_bytes));
            if attribute.name == USER {
                sharing = Sharing::OneUser;
            }
        }
        if let Self::Context(context) = self {
            let context = catch_unwind(AssertUnwindSafe(|| context(identity))).map_err(|_| Bypass::CallbackPanicked)?;
            key.part(Part::Context, context.ok_or(Bypass::IdentityMissing)?.as_bytes());
        }
        Ok(sharing)
    }

    /// The attributes that a request with this identity is keyed on, each value with its name.
    pub(crate) fn keyed<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = (&'a str, &'a str)> {
        let kept = identity.0.iter().filter(|attribute| self.keys_on(&attribute.name));
        kept.flat_map(|attribute| attribute.values().map(|value| (&*attribute.name, value)))
    }

    pub(crate) fn keys_on(&self, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Shared => false,
            Self::Attributes(names) => name == TENANT || names.iter().any(|kept| kept == name),
            Self::Context(_) => name == TENANT,
        }
    }

    /// The scope as text for the shape of keys: a scope is part of what tells policies apart.
    pub(crate) fn shape(&self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Shared => Some("shared".to_owned()),
            Self::Attributes(names) => Some(format!("per={names:?}")),
            Self::Context(_) => Some("per-context".to_owned()),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape().unwrap_or_else(|| "whole".to_owned()))
    }
}

/// In a request's extensions: nobody knows who is asking, since the application's closure that derives the identity has
/// panicked, or a trusted field makes no sense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentityUnknown(pub(crate) Bypass);

/// In a response's extensions: this identity was established further in.
#[derive(Clone, Debug)]
pub(crate) struct IdentityEstablished(pub(crate) Option<Identity>);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(scope: &Scope, identity: &Identity) -> Result<(Vec<String>, Sharing), Bypass> {
        let sharing = scope.write(Some(identity), &mut KeyBuf::default())?;
        Ok((scope.keyed(identity).map(|(name, value)| format!("{name}={value}")).collect(), sharing))
    }

    #[test]
    fn attributes_replace_and_blank_ones_are_none() {
        let identity = Identity::new().with_tenant(1).with_tenant("2").with_user("  ").with("role", "");
        assert_eq!(identity.tenant(), Some("2"));
        assert_eq!(identity.user(), None);
        assert_eq!(identity.names().collect::<Vec<_>>(), ["tenant"]);
        assert!(Identity::new().with_tenant(" ").is_empty());
    }

    #[test]
    fn a_scope_keys_on_what_it_names_and_on_the_tenant() {
        let identity = Identity::new().with_tenant(1).with_user(42).with_all("role", ["b", "a"]);
        let per = |names: &'static [&'static str]| Scope::Attributes(names.iter().map(|name| (*name).into()).collect());
        let tenant = || vec!["tenant=1".to_owned()];
        assert_eq!(written(&Scope::Whole, &identity).unwrap().1, Sharing::OneUser);
        assert_eq!(written(&Scope::Whole, &Identity::new().with_tenant(1)), Ok((tenant(), Sharing::Everyone)));
        assert_eq!(written(&Scope::Shared, &identity), Ok((vec![], Sharing::Everyone)));
        assert_eq!(written(&per(&["tenant"]), &identity), Ok((tenant(), Sharing::Group)));
        let role = ["role=a", "role=b", "tenant=1"].map(str::to_owned).to_vec();
        assert_eq!(written(&per(&["role"]), &identity), Ok((role, Sharing::Group)));
        let user = ["tenant=1", "user=42"].map(str::to_owned).to_vec();
        assert_eq!(written(&per(&["user"]), &identity), Ok((user, Sharing::OneUser)));
        assert_eq!(written(&per(&["client"]), &identity), Err(Bypass::IdentityMissing));
        assert_eq!(per(&["tenant"]).write(None, &mut KeyBuf::default()), Err(Bypass::IdentityMissing));
        let context = Scope::Context(Arc::new(|identity| identity.get("role").map(str::to_owned)));
        assert_eq!(written(&context, &identity), Ok((tenant(), Sharing::Group)));
        assert_eq!(written(&context, &Identity::new().with_tenant(1)), Err(Bypass::IdentityMissing));
        let panics = Scope::Context(Arc::new(|_| panic!("as told")));
        assert_eq!(written(&panics, &identity), Err(Bypass::CallbackPanicked));
    }

    #[test]
    fn parts_of_an_identity() {
        let identity = Identity::new().with_tenant(1).with_user(42).with("role", "a");
        assert_eq!((identity.tenant(), identity.user()), (Some("1"), Some("42")));
        assert_eq!(identity.narrowed(|name| name != "user"), Identity::new().with_tenant(1).with("role", "a"));
        assert!(!identity.is_empty() && identity.narrowed(|_| false).is_empty());
    }

    #[test]
    fn a_scope_writes_where_somebody_is_there_and_tells_itself_apart() {
        let (somebody, nobody) = (Identity::new().with_tenant(1), Identity::new());
        let per = Scope::Attributes(vec!["user".into()]);
        let context = Scope::Context(Arc::new(|_| None));
        for (scope, shape) in [(&Scope::Whole, None), (&per, Some("per=[\"user\"]")), (&context, Some("per-context"))] {
            assert!(scope.writes(Some(&somebody)) && !scope.writes(Some(&nobody)) && !scope.writes(None));
            assert_eq!(scope.shape().as_deref(), shape);
            assert_eq!(format!("{scope:?}"), shape.unwrap_or("whole"));
        }
        assert!(!Scope::Shared.writes(Some(&somebody)));
        assert_eq!(Scope::Shared.shape().as_deref(), Some("shared"));
    }

    #[test]
    fn values_do_not_show_in_logs() {
        let text = format!("{:?}", Identity::new().with_user("secret"));
        assert!(!text.contains("secret") && text.contains("user"), "{text}");
    }
}
