//! What has to go when something changes: names of what changes, mostly models, and what is made of them.

use super::Selector;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

/// What depends on what: given to [`CacheBuilder::dependencies`](crate::CacheBuilder::dependencies).
///
/// ```
/// use larder::{Cache, Dependencies, Selector};
///
/// let dependencies = Dependencies::new()
///     .tags("Rule", ["dimension_catalog:{id}", "field_templates:{id}"])
///     .names("Rule", ["InheritanceMatrix"])
///     .selectors("Template", |changed| async move {
///         // A look into the database, say.
///         changed.id().map(|id| Selector::tag(format!("field_templates:{id}"))).into_iter().collect()
///     });
/// let cache = Cache::builder().dependencies(dependencies).build()?;
/// # let _ = cache;
/// # Ok::<(), larder::ConfigError>(())
/// ```
///
/// [`Cache::changed`](crate::Cache::changed) then invalidates all that depends on a name, directly or through other names.
/// Names may depend on each other in circles. A policy takes part by [`Policy::depends_on`](crate::Policy::depends_on) or by
/// its tags.
#[derive(Clone, Debug, Default)]
#[must_use = "dependencies do nothing until a cache has them"]
pub struct Dependencies(BTreeMap<Cow<'static, str>, Vec<Dependent>>);

/// What depends on a name.
#[derive(Clone)]
enum Dependent {
    /// A tag, perhaps with `{id}` in it.
    Tag(Cow<'static, str>),
    Name(Cow<'static, str>),
    Selectors(SelectorsOf),
}

type SelectorsOf = Arc<dyn Fn(Changed) -> Pin<Box<dyn Future<Output = Vec<Selector>> + Send>> + Send + Sync>;

/// Something that has changed.
///
/// ```
/// # use larder::{Cache, ChangeKind, Changed, Dependencies, Selector};
/// async fn of_a_row(changed: Changed) -> Vec<Selector> {
///     match (changed.kind(), changed.id()) {
///         (ChangeKind::Created, _) => vec![Selector::tag("people:lists")],
///         (_, Some(id)) => vec![Selector::resource(format!("/people/{id}")), Selector::tag("people:lists")],
///         (_, None) => vec![Selector::pattern("/people*")],
///     }
/// }
///
/// let cache = Cache::builder().dependencies(Dependencies::new().selectors("People", of_a_row)).build()?;
/// # let _ = cache;
/// # Ok::<(), larder::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Changed {
    name: Cow<'static, str>,
    tenant: Option<String>,
    id: Option<String>,
    kind: ChangeKind,
}

/// How something has changed.
///
/// ```
/// # use larder::{Cache, ChangeKind};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// cache.changed("People").id(17).kind(ChangeKind::Deleted).await?;
/// cache.changed("People").id(18).await?; // updated
/// assert_eq!(ChangeKind::default(), ChangeKind::Updated);
/// # Ok(()) }
/// ```
///
/// A closure of the [`Dependencies`] can tell them apart, by [`Changed::kind`]; tags and names do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It is different.
    #[default]
    Updated,
    /// It is gone.
    Deleted,
}

impl Dependencies {
    /// Nothing depends on anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// When `name` changes, what has these tags is invalid. `{id}` stands for the id of what has changed, after a `:`; where
    /// no id is known, for every id.
    pub fn tags<T: Into<Cow<'static, str>>>(
        self,
        name: impl Into<Cow<'static, str>>,
        tags: impl IntoIterator<Item = T>,
    ) -> Self {
        self.with(name, tags.into_iter().map(|tag| Dependent::Tag(tag.into())))
    }

    /// When `name` changes, so have these, each without an id.
    pub fn names<T: Into<Cow<'static, str>>>(
        self,
        name: impl Into<Cow<'static, str>>,
        names: impl IntoIterator<Item = T>,
    ) -> Self {
        self.with(name, names.into_iter().map(|name| Dependent::Name(name.into())))
    }

    /// When `name` changes, what these select is invalid. Selectors that are not narrowed are narrowed to the tenant of the
    /// change, and to what is nobody's. A closure that panics, or takes longer than 30 seconds, selects everything, narrowed
    /// likewise. Up to 16 run at once.
    pub fn selectors<F>(
        self,
        name: impl Into<Cow<'static, str>>,
        selectors: impl Fn(Changed) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<Selector>> + Send + 'static,
    {
        let boxed: SelectorsOf = Arc::new(move |changed| Box::pin(selectors(changed)));
        self.with(name, [Dependent::Selectors(boxed)])
    }

    /// Every name with what depends on it, for people: tags as they are, other names after `->`, closures as `(closure)`.
    pub fn edges(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        self.0.iter().map(|(name, dependents)| (&**name, dependents.iter().map(ToString::to_string).collect()))
    }

    fn with(mut self, name: impl Into<Cow<'static, str>>, dependents: impl IntoIterator<Item = Dependent>) -> Self {
        self.0.entry(name.into()).or_default().extend(dependents);
        self
    }

    /// What is wrong with them.
    pub(crate) fn fault(&self) -> Option<String> {
        for (name, dependents) in &self.0 {
            if name.trim().is_empty() {
                return Some(format!("dependencies: `{name}` is no name: it is blank"));
            }
            for dependent in dependents {
                match dependent {
                    Dependent::Tag(tag) | Dependent::Name(tag) if tag.trim().is_empty() => {
                        return Some(format!("dependencies of `{name}`: `{tag}` is blank"));
                    }
                    Dependent::Tag(tag) if !Template(tag).is_sound() => {
                        return Some(format!(
                            "dependencies of `{name}`: in `{tag}`, `{{id}}` has to come once, after one of the first four \
                             `:`, as in `item:{{id}}`"
                        ));
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// What is known to be invalid after this change, directly and through other names, and the closures that know of more.
    pub(crate) fn known_of(&self, changed: &Changed) -> (Vec<Selector>, Vec<Asked>) {
        let mut seen = BTreeSet::from([changed.name.clone()]);
        let mut waiting = VecDeque::from([changed.clone()]);
        let (mut selectors, mut asked) = (Vec::new(), Vec::new());
        while let Some(changed) = waiting.pop_front() {
            let tenant = changed.tenant.as_deref();
            selectors.extend(Selector::name(&*changed.name).narrowed_to(tenant));
            for dependent in self.0.get(&changed.name).into_iter().flatten() {
                match dependent {
                    Dependent::Tag(tag) => {
                        let tag = Template(tag).filled(changed.id.as_deref());
                        selectors.extend(Selector::tag(tag).narrowed_to(tenant));
                    }
                    Dependent::Name(name) if seen.insert(name.clone()) => {
                        waiting.push_back(Changed { name: name.clone(), id: None, ..changed.clone() });
                    }
                    Dependent::Name(_) => {}
                    Dependent::Selectors(closure) => {
                        asked.push(Asked { closure: Arc::clone(closure), changed: changed.clone() });
                    }
                }
            }
        }
        (selectors, asked)
    }
}

/// A closure that is asked what has to go.
pub(crate) struct Asked {
    closure: SelectorsOf,
    changed: Changed,
}

impl Asked {
    /// The name that has changed.
    pub(crate) fn name(&self) -> &str {
        self.changed.name()
    }

    /// What it selects; nothing is known of that if it panics.
    pub(crate) async fn selectors(&self) -> Option<Vec<Selector>> {
        let said = caught(|| (self.closure)(self.changed.clone())).await?;
        Some(said.into_iter().flat_map(|selector| selector.narrowed_to(self.changed.tenant())).collect())
    }

    /// What has to go where nobody knows what it would have selected.
    pub(crate) fn everything(&self) -> Vec<Selector> {
        Selector::everything().narrowed_to(self.changed.tenant())
    }
}

impl Changed {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), tenant: None, id: None, kind: ChangeKind::default() }
    }

    /// What has changed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is, if it is one tenant's.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Which one has changed, if that is known.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// How it has changed.
    pub fn kind(&self) -> ChangeKind {
        self.kind
    }

    pub(crate) fn set_tenant(&mut self, tenant: impl fmt::Display) {
        self.tenant = Some(tenant.to_string());
    }

    pub(crate) fn set_id(&mut self, id: impl fmt::Display) {
        // A blank one names nothing, so it is any.
        self.id = Some(id.to_string()).filter(|id| !id.trim().is_empty());
    }

    pub(crate) fn set_kind(&mut self, kind: ChangeKind) {
        self.kind = kind;
    }
}

/// What a closure's future comes to, unless either panics.
async fn caught<F: Future>(closure: impl FnOnce() -> F) -> Option<F::Output> {
    let mut future = Box::pin(catch_unwind(AssertUnwindSafe(closure)).ok()?);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// A tag with a place for an id.
struct Template<'a>(&'a str);

impl Template<'_> {
    fn is_sound(&self) -> bool {
        let mut parts = self.0.split(ID);
        let (Some(before), after) = (parts.next(), parts.next()) else { return false };
        after.is_none()
            || (parts.next().is_none() && before.ends_with(':') && before.matches(':').count() <= super::tags::PREFIXES)
    }

    fn filled(&self, id: Option<&str>) -> String {
        match (self.0.split_once(ID), id) {
            (None, _) => self.0.to_owned(),
            (Some((before, after)), Some(id)) => format!("{before}{id}{after}"),
            (Some((before, _)), None) => format!("{before}*"),
        }
    }
}

const ID: &str = "{id}";

impl fmt::Display for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Name(name) => write!(f, "-> {name}"),
            Self::Selectors(_) => f.write_str("(closure)"),
        }
    }
}

impl fmt::Debug for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(dependencies: &Dependencies, changed: &Changed) -> Vec<Selector> {
        let (known, asked) = dependencies.known_of(changed);
        assert!(asked.is_empty());
        known
    }

    #[test]
    fn circles_end() {
        let circle = Dependencies::new().names("A", ["B"]).names("B", ["C", "A"]).names("C", ["A"]).tags("C", ["c"]);
        let all = selectors(&circle, &Changed::new("A"));
        assert_eq!(all, [Selector::name("A"), Selector::name("B"), Selector::name("C"), Selector::tag("c")]);
    }

    #[test]
    fn ids_are_filled_in_where_they_are_known() {
        let graph = Dependencies::new().tags("A", ["a:{id}:x", "all"]).names("B", ["A"]);
        let mut changed = Changed::new("A");
        changed.set_id(7);
        let tags = |changed: &Changed| selectors(&graph, changed)[1..].to_vec();
        assert_eq!(tags(&changed), [Selector::tag("a:7:x"), Selector::tag("all")]);
        assert_eq!(tags(&Changed::new("A")), [Selector::tag("a:*"), Selector::tag("all")]);
        assert_eq!(selectors(&graph, &Changed::new("B"))[2..], [Selector::tag("a:*"), Selector::tag("all")]);
    }

    #[test]
    fn a_change_of_one_tenant_is_not_that_of_another() {
        let graph = Dependencies::new().tags("A", ["a"]);
        let mut changed = Changed::new("A");
        changed.set_tenant(1);
        let all = selectors(&graph, &changed);
        assert_eq!(all[2..], [Selector::tag("a").within(1), Selector::tag("a").of_nobody()]);
    }

    #[test]
    fn faults_are_named() {
        for (bad, said) in [
            (Dependencies::new().tags("A", ["a{id}"]), "`a{id}`"),
            (Dependencies::new().tags("A", ["a:{id}:{id}"]), "once"),
            (Dependencies::new().tags("A", ["a:b:c:d:e:{id}"]), "first four"),
            (Dependencies::new().tags("A", [" "]), "blank"),
            (Dependencies::new().names(" ", ["A"]), "blank"),
        ] {
            let fault = bad.fault().unwrap();
            assert!(fault.contains(said), "{fault}");
        }
        assert_eq!(Dependencies::new().tags("A", ["a:{id}", "b"]).fault(), None);
    }
}
