//! The books of a cache: a page for each policy, each value, and the tenants that ask most.

use super::{
    Cache, Explains,
    history::History,
    holdings::Kept,
    page::{Page, PolicyKind},
    report::Before,
};
use crate::{
    identity::TENANT,
    invalidation::Selector,
    key::Said,
    outcome::{Bypass, NotStored, Outcome},
    policy::{Policy, Rules},
    semantics::date::Timestamp,
    tally::{Counts, Event, Tally, Top, Trail, Watch},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};
use tokio::sync::watch;

/// The books of a cache.
pub(super) struct Book {
    pub(super) watch: Arc<Watch>,
    pages: RwLock<Vec<Arc<Page>>>,
    /// That of what has none of its own, since there are too many.
    others: Arc<Page>,
    tenants: Mutex<Tenants>,
    pub(super) routes: Mutex<Top<Uncached, ()>>,
    /// What was invalidated, as text.
    pub(super) invalidating: Mutex<Top<String, ()>>,
    pub(super) history: Mutex<History>,
    pub(super) kept: Mutex<Kept>,
    /// What the last report said.
    pub(super) reported: Mutex<Before>,
    pub(super) layers: Mutex<Vec<Weak<dyn Explains>>>,
    /// Goes with the cache, and those who listen hear of it.
    pub(super) open: watch::Sender<()>,
    /// When the books were opened.
    pub(super) since: Timestamp,
}

/// The tenants that ask most, and the tallies of all that something is stored of: entries hold them, and each tenant has one,
/// whether it is among those that ask most or comes back to them.
struct Tenants {
    most: Top<Box<str>, Arc<Page>>,
    tallies: HashMap<Box<str>, Weak<Tally>>,
    /// Those that nobody holds any more are dropped when there are so many.
    tidy_at: usize,
}

/// A route whose answers are not stored, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Uncached {
    pub(crate) route: Box<str>,
    pub(crate) policy: Arc<str>,
    pub(crate) reason: &'static str,
}

impl Book {
    pub(super) fn open(watch: Watch, now: Timestamp) -> Self {
        let watch = Arc::new(watch);
        Self {
            others: Arc::new(Page::new(
                PolicyKind::Response,
                Arc::new(Tally::new(OTHERS, Arc::clone(&watch))),
                Trail::begin(now),
            )),
            watch,
            pages: RwLock::default(),
            tenants: Mutex::new(Tenants::new()),
            routes: Mutex::new(Top::new(ROUTES)),
            invalidating: Mutex::new(Top::new(ROUTES)),
            history: Mutex::default(),
            kept: Mutex::default(),
            reported: Mutex::default(),
            layers: Mutex::default(),
            open: watch::Sender::new(()),
            since: now,
        }
    }

    /// All pages, in the order in which they were opened; that of the others last, once something was counted there.
    pub(super) fn pages(&self) -> Vec<Arc<Page>> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let others = Some(&self.others).filter(|others| others.tally.counts().requests() > 0);
        pages.iter().chain(others).cloned().collect()
    }

    /// The page of this name, new if there is none. What nothing more is told apart from has that of the others.
    fn page(&self, now: Timestamp, kind: PolicyKind, name: &str) -> Arc<Page> {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = pages.iter().find(|page| page.kind == kind && page.name() == name) {
            return Arc::clone(page);
        }
        if pages.len() >= PAGES || name == OTHERS {
            return Arc::clone(&self.others);
        }
        let page = Arc::new(Page::new(kind, Arc::new(Tally::new(name, Arc::clone(&self.watch))), Trail::begin(now)));
        pages.push(Arc::clone(&page));
        page
    }

    /// All that was counted together.
    pub(super) fn total(&self) -> Counts {
        let pages = self.pages();
        pages.iter().fold(Counts::default(), |sum, page| sum.and(&page.tally.counts()))
    }

    /// The rules of the policy of this name, as long as a layer has them.
    pub(super) fn rules(&self, name: &str) -> Option<Arc<Rules>> {
        let pages = self.pages();
        let page = pages.iter().find(|page| page.kind == PolicyKind::Response && page.name() == name)?;
        page.rules()
    }

    /// The same, as tallies read.
    pub(super) fn read(&self) -> Vec<u64> {
        let mut all = self.others.tally.read();
        for page in self.pages().iter().filter(|page| !Arc::ptr_eq(page, &self.others)) {
            for (sum, count) in all.iter_mut().zip(page.tally.read()) {
                *sum += count;
            }
        }
        all
    }

    /// The tenants that ask most, with what was counted of them.
    pub(super) fn tenants(&self) -> Vec<Arc<Page>> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.most.rows().into_iter().map(|(_, _, page)| Arc::clone(page)).collect()
    }

    /// Takes a reading of everything, if it is time.
    pub(super) fn sample(&self, now: Timestamp) {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner).clone();
        for page in pages.iter().chain([&self.others]).chain(&self.tenants()) {
            page.sample(now);
        }
    }

    /// Something is invalidated.
    pub(super) fn note_invalidated(&self, selectors: &[Selector]) {
        tracing::debug!(target: "larder::invalidate", selectors = selectors.len(), "invalidated");
        self.watch.tell(|cache| Event::Invalidated { cache });
        let mut names = self.invalidating.lock().unwrap_or_else(PoisonError::into_inner);
        // What is invalidated by the hundred is one change.
        for selector in selectors.iter().take(16) {
            names.count(cut(&selector.to_string()).to_owned(), 1, || ());
        }
    }

    /// A store behind the memory tier was asked.
    pub(super) fn note_store(
        &self,
        store: &str,
        operation: &'static str,
        took: Duration,
        failure: Option<&'static str>,
    ) {
        tracing::debug!(target: "larder::store", store, operation, ?took, failure);
        self.watch.tell(|cache| Event::Store { cache, store, operation, took, failure });
    }

    fn tenant(&self, now: Timestamp, name: &str) -> Arc<Tally> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tenants.tally(name);
        let page = || {
            let trail = Trail::after(now, tally.read());
            Arc::new(Page::new(PolicyKind::Response, Arc::clone(&tally), trail))
        };
        tenants.most.count_beside(name.into(), 1, page, |page| page.tally.lookups());
        tally
    }
}

impl Tenants {
    fn new() -> Self {
        Self { most: Top::new(TENANTS), tallies: HashMap::new(), tidy_at: 4 * TENANTS }
    }

    /// The tally of this tenant: the one that its entries hold, if there are any.
    fn tally(&mut self, name: &str) -> Arc<Tally> {
        if let Some(tally) = self.tallies.get(name).and_then(Weak::upgrade) {
            return tally;
        }
        if self.tallies.len() >= self.tidy_at {
            self.tallies.retain(|_, tally| tally.strong_count() > 0);
            self.tidy_at = (2 * self.tallies.len()).max(4 * TENANTS);
        }
        let tally = Arc::new(Tally::of_tenant(name));
        self.tallies.insert(name.into(), Arc::downgrade(&tally));
        tally
    }
}

impl Cache {
    /// Rules of a policy over this cache, with a page in its books: under its name, else its route, else a number.
    pub(crate) fn open_page(&self, policy: &Policy, route: Option<&str>, rules: Rules) -> Arc<Rules> {
        let book = &self.0.book;
        let name = match (policy.name(), route) {
            (Some(name), _) => name.to_owned(),
            (None, _) if !rules.get => NO_POLICY.to_owned(),
            (None, Some(route)) => route.to_owned(),
            (None, None) => {
                let pages = book.pages();
                let unnamed = pages.iter().filter(|page| page.name().starts_with(UNNAMED)).count();
                format!("{UNNAMED}{}", unnamed + 1)
            }
        };
        let page = book.page(self.now(), PolicyKind::Response, &name);
        let rules = Arc::new(rules.counted_by(Arc::clone(&page.tally)));
        if !Arc::ptr_eq(&page, &book.others) {
            page.note(policy, route, &rules);
        }
        rules
    }

    /// The tally of the value of this name.
    pub(crate) fn value_tally(&self, name: &str) -> Arc<Tally> {
        Arc::clone(&self.0.book.page(self.now(), PolicyKind::Value, name).tally)
    }

    /// The tally of the tenant in a key, if the rules put one there.
    pub(crate) fn tenant_tally(&self, key: &[u8]) -> Option<Arc<Tally>> {
        Some(self.0.book.tenant(self.now(), Said::of(key).tenant()?))
    }

    /// The tally of the tenant in a key under these rules, if they put one there.
    pub(crate) fn tenant_of(&self, rules: &Rules, key: &[u8]) -> Option<Arc<Tally>> {
        if rules.scope.keys_on(TENANT) { self.tenant_tally(key) } else { None }
    }

    /// Counts what came of a request of the tenant in a key, for which nothing stored was used.
    pub(crate) fn count_tenant(&self, rules: &Rules, key: &[u8], outcome: Outcome) {
        if let Some(tenant) = self.tenant_of(rules, key) {
            tenant.count_quietly(outcome);
        }
    }

    /// An answer on this route was not stored, or not looked for, as `before` others were not for the same reason.
    pub(crate) fn note_uncached<'a>(
        &self,
        tally: &Tally,
        route: impl FnOnce() -> &'a str,
        reason: &'static str,
        before: u64,
    ) {
        let times = Tally::stands_for(before, NOTED);
        if times == 0 {
            return;
        }
        let row = Uncached { route: cut(route()).into(), policy: Arc::clone(tally.name()), reason };
        self.0.book.routes.lock().unwrap_or_else(PoisonError::into_inner).count(row, times, || ());
    }
}

/// As much of a text as is told of.
fn cut(text: &str) -> &str {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    text.char_indices().nth(LONGEST_TEXT).map_or(text, |(end, _)| &text[..end])
}

/// Whether what is counted under this name can be asked for by it.
pub(super) fn is_told_apart(name: &str) -> bool {
    !name.is_empty() && name != OTHERS
}

/// Worth a look: what an operator can do something about. What is meant to be so is not.
pub(crate) fn is_worth_noting(reason: NotStored) -> bool {
    !matches!(
        reason,
        NotStored::Superseded
            | NotStored::Invalidated
            | NotStored::Abandoned
            | NotStored::TooFewUses
            | NotStored::InnerPolicy
            | NotStored::ObserveOnly
    )
}

/// The same of what passes by.
pub(crate) fn bypass_is_worth_noting(reason: Bypass) -> bool {
    !matches!(reason, Bypass::Method | Bypass::Upgrade | Bypass::NoPolicy | Bypass::Precondition)
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("pages", &self.pages().len()).finish_non_exhaustive()
    }
}

/// What policies without a name are called.
const UNNAMED: &str = "policy-";

/// What passes by because no policy is meant for it.
pub(super) const NO_POLICY: &str = "no-policy";

/// What has no page of its own is counted under this name. No policy can have it.
const OTHERS: &str = "(others)";

/// So many policies and values have a page of their own.
const PAGES: usize = 1024;

/// So many tenants are told apart.
const TENANTS: usize = 64;

/// So many routes are.
const ROUTES: usize = 64;

/// One answer in so many that were not stored is noted for all: where each has a path of its own, to note one is to look
/// for a row that makes way.
const NOTED: u64 = 64;

/// So many letters of a route, or of what is invalidated, are told.
const LONGEST_TEXT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_tally_as_long_as_something_of_it_is_stored() {
        let book = Book::open(Watch::default(), Timestamp::from_unix_secs(1_000_000));
        let ask = |name: &str| book.tenant(Timestamp::from_unix_secs(1_000_000), name);
        let held = ask("held");
        for number in 0..10 * TENANTS {
            ask(&number.to_string());
        }
        assert_eq!(book.tenants().len(), TENANTS);
        assert!(Arc::ptr_eq(&held, &ask("held")));
        assert!(book.tenants().iter().any(|page| Arc::ptr_eq(&page.tally, &held)));
        let known = book.tenants.lock().unwrap().tallies.len();
        assert!(known <= 4 * TENANTS, "{known}");
    }
}
