//! The way of a request through the cache, looked at from aside: the same decisions, and nothing that they change.

use super::{
    Explanation, NAMELESS,
    words::{self, Secs},
};
use crate::{
    cache::{
        Act, Admission, Asking, BodyFacts, Cache, Facts, Fitness, FlightKey, Place, Sought, Weighed, admit_or_pass,
        admit_with_content, asks_alone, heard, is_to_be_warmed, is_whole, uncacheable::Known, weigh,
    },
    entry::Entry,
    identity::{Identity, TENANT},
    invalidation::{Culprits, Standing, Subject, Within},
    key::{KeyBuf, Readable, Said},
    outcome::{Bypass, Outcome},
    policy::Rules,
    request_stats::RequestStats,
    semantics::{cache_control::RequestDirectives, cache_status::Forward, date::Timestamp},
    store::Found,
};
use http::{HeaderMap, HeaderName, Method, request::Parts};
use std::sync::Arc;

/// A request to be explained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) content: &'a [u8],
    /// Why it is not to be looked up, if that is known before.
    pub(crate) passing: Option<Bypass>,
    /// Its content can be read, to be a part of the key.
    pub(crate) reads: bool,
}

/// What would be looked for in stores: the key, and the fields that select a variant.
type InStores = (KeyBuf, HeaderMap);

/// What the cache would do with a request under these rules.
pub(crate) fn explain(cache: &Cache, rules: &Rules, asked: Asked<'_>) -> Explanation {
    walk(cache, rules, asked).0
}

/// The same with a look into the stores, if they would be asked.
pub(crate) async fn explain_with_stores(cache: &Cache, rules: &Rules, asked: Asked<'_>) -> Explanation {
    let (mut told, sought) = walk(cache, rules, asked);
    if let Some((key, headers)) = sought {
        let found = cache.look_into_stores(key.as_bytes(), &headers).await;
        let words = found.into_iter().map(|(name, found)| format!("{name}: {}", words::parcel(found, cache.now())));
        told.put("stores", format!("asked first: {}", words.collect::<Vec<_>>().join("; ")));
    }
    told
}

fn walk(cache: &Cache, rules: &Rules, asked: Asked<'_>) -> (Explanation, Option<InStores>) {
    let Asked { parts, content, passing, reads } = asked;
    let mut told = Explanation::new(rules);
    told.step("policy", rules.name.as_deref().unwrap_or(NAMELESS));
    let body = BodyFacts { empty: content.is_empty(), readable: reads };
    let mut key = rules.begin_key();
    let now = || cache.now();
    let looked_up = match admit_or_pass(rules, passing, parts, body, &now, &mut key) {
        Admission::Lookup(facts) => Ok((key, facts)),
        Admission::Read(_) if content.len() > rules.max_content => Err((Bypass::ContentTooLong, false)),
        Admission::Read(facts) => {
            admit_with_content(rules, parts, content, facts, now()).map_err(|reason| (reason, false))
        }
        Admission::Bypass(reason, change) => Err((reason, change.is_some())),
    };
    match looked_up {
        Ok((key, facts)) => Walk { cache, rules, parts, content, key, facts, now: now(), told, in_stores: None }.on(),
        Err((reason, changes)) => {
            told.step("admission", words::bypass(reason));
            let then = if changes { "; if it succeeds, what it changes is invalidated" } else { "" };
            told.conclude(Outcome::Bypass, Some(reason.as_str()), format!("passed on, the cache takes no part{then}"));
            (told, None)
        }
    }
}

/// A request with a key.
struct Walk<'a> {
    cache: &'a Cache,
    rules: &'a Rules,
    parts: &'a Parts,
    content: &'a [u8],
    key: KeyBuf,
    facts: Facts,
    now: Timestamp,
    told: Explanation,
    in_stores: Option<InStores>,
}

impl Walk<'_> {
    fn on(mut self) -> (Explanation, Option<InStores>) {
        let Self { rules, parts, now, .. } = self;
        self.admitted();
        self.name_key();
        let directives = heard(rules, self.facts, parts);
        let mut seen = parts.clone();
        rules.key.narrow(&mut seen.headers);
        let found = self.look(&seen);
        let warm = RequestStats::of(&parts.extensions).and_then(RequestStats::warm);
        if is_to_be_warmed(warm, &found, now) {
            self.facts = self.facts.with(Facts::REFETCH);
        }
        let sought = Sought { method: &parts.method, facts: self.facts, directives: directives.as_ref() };
        let changed = matches!(&found, Found::Entry(entry) if self.cache.has_changed(entry));
        let weighed = weigh(found, sought, rules, now, changed);
        match (&weighed.stored, weighed.act) {
            (Some(entry), Act::Serve) => {
                let early = now >= entry.refresh_from;
                let early = if early { "; a hit from now on may start a refresh in the background" } else { "" };
                self.told.conclude(Outcome::Hit, None, format!("served{early}"));
            }
            (Some(_), Act::ServeStale) => self.told.conclude(
                Outcome::Stale,
                Some("stale"),
                "served stale: the client accepts that, or the inner service has failed a moment ago",
            ),
            (Some(_), Act::ServeAndRefresh) => self.told.conclude(
                Outcome::Stale,
                Some("stale-while-revalidate"),
                "served stale, and refreshed in the background",
            ),
            _ => self.missed(&weighed, directives.as_ref(), &seen),
        }
        (self.told, self.in_stores)
    }

    fn admitted(&mut self) {
        let method = &self.parts.method;
        let mut text = match self.content.len() {
            _ if matches!(*method, Method::GET | Method::HEAD) => format!("{method} without content"),
            length => format!("{method} with {length} bytes of content"),
        };
        if self.facts.has(Facts::CREDENTIALS) {
            text.push_str(match self.rules.share_with_credentials {
                true => "; with credentials",
                false => "; with credentials: only what says public, s-maxage or must-revalidate",
            });
        }
        if self.facts.has(Facts::REFETCH) {
            text.push_str("; refetch_if(..) of the policy wants another answer");
        }
        self.told.step("admission", text);
    }

    fn name_key(&mut self) {
        let secret = |name: &str| self.rules.is_secret(name);
        let readable = Readable { key: self.key.as_bytes(), secret: &secret };
        let (text, named) = (readable.to_string(), readable.named());
        (self.told.key, self.told.key_parts) = (Some(text), named);
        self.told.tenant = Said::of(self.key.as_bytes()).tenant().map(str::to_owned);
    }

    /// What there is in memory, as a lookup would find it.
    fn look(&mut self, seen: &Parts) -> Found {
        if self.rules.observe_only {
            self.told.step("memory", "not looked at: the policy only observes");
            return Found::Nothing;
        }
        let (cache, key) = (self.cache, self.key.as_bytes());
        let entry = match cache.0.memory.peek(key, &seen.headers) {
            Found::Entry(entry) => entry,
            found => {
                let fields = words::fields(&cache.nominated(key));
                self.told.step(
                    "memory",
                    match &found {
                        Found::OtherVariants => format!("other variants than this request selects by {fields}"),
                        _ => "nothing".to_owned(),
                    },
                );
                return found;
            }
        };
        self.told.is_own = entry.usage.policy() == &**self.rules.tally.name();
        let age = Secs(self.now.since(entry.received()));
        let selected = match &*entry.nominated {
            [] => String::new(),
            names => format!(", selected by {}", words::fields(names)),
        };
        let (status, length) = (entry.status.as_u16(), entry.body.len());
        self.told.step("memory", format!("found, stored {age} ago: {status}, {length} bytes{selected}"));
        let fitness = cache.fitness(key, &entry);
        let ledger = self.judge(&entry, fitness, seen);
        self.told.step("ledger", ledger);
        if fitness != Fitness::Good {
            return Found::Nothing;
        }
        let source = words::source(&entry, self.rules, cache.status_line().hit());
        self.told.step("freshness", words::freshness(&entry, source, self.now));
        Found::Entry(entry)
    }

    /// What the ledger says of an entry.
    fn judge(&self, entry: &Arc<Entry>, fitness: Fitness, seen: &Parts) -> String {
        let ledger = self.cache.ledger();
        let standing = ledger.standing(entry.claim(self.key.as_bytes()), &entry.checked);
        match (fitness, standing) {
            (Fitness::Isolated, _) => "the shared log cannot be read: not used until it can".to_owned(),
            (Fitness::Gone, _) => format!("invalidated since by {}", self.culprits(entry, seen)),
            (Fitness::Good, Standing::Ended(at)) => {
                let since = Secs(self.now.since(at));
                format!("stale for {since} by an invalidation of {}", self.culprits(entry, seen))
            }
            (Fitness::Good, _) => "nothing newer selects it".to_owned(),
        }
    }

    /// What has invalidated an entry.
    fn culprits(&self, entry: &Entry, seen: &Parts) -> String {
        let (ledger, place) = (self.cache.ledger(), Place::of(self.rules, seen));
        let identity = seen.extensions.get::<Identity>();
        let keyed: Vec<_> = identity.into_iter().flat_map(|identity| self.rules.scope.keyed(identity)).collect();
        let mut named: Vec<(String, Subject<'_>)> =
            place.resources().map(|subject| ("its resource".to_owned(), subject)).collect();
        let policy = self.rules.name.as_deref().map(|name| (format!("policy {name}"), Subject::Policy(name)));
        named.extend(policy);
        named.extend(keyed.iter().map(|(name, value)| (format!("its {name}"), Subject::Attribute { name, value })));
        named.extend(entry.tags.subjects().map(|subject| (word_of(subject), subject)));
        named.push(("everything".to_owned(), Subject::Everything));
        let tenant = keyed.iter().find(|(name, _)| *name == TENANT).map(|(_, value)| Within::Tenant(value));
        let withins = [tenant.unwrap_or(Within::Nobody), Within::Anyone];
        let rows: Vec<_> =
            named.iter().flat_map(|(_, subject)| withins.map(|within| ledger.rows().row(*subject, within))).collect();
        let Culprits { rows, ban, everything } = ledger.culprits(entry.claim(self.key.as_bytes()), &rows);
        let mut words: Vec<_> = rows.iter().map(|row| named[row / withins.len()].0.clone()).collect();
        words.extend(ban.then(|| "a pattern, or several tags at once".to_owned()));
        words.extend(everything.then(|| "everything".to_owned()));
        words.dedup();
        if words.is_empty() {
            "a record that is not told apart any more".to_owned()
        } else {
            words::listed(words.iter())
        }
    }

    /// The inner service is asked, or a store before it, or somebody is waited for.
    fn missed(&mut self, weighed: &Weighed, directives: Option<&RequestDirectives>, seen: &Parts) {
        let Self { cache, rules, now, facts, .. } = *self;
        let Weighed { stored, act, forward } = weighed;
        let only_if_cached = directives.is_some_and(|said| said.only_if_cached);
        let refetch = facts.has(Facts::REFETCH);
        let stores = cache.has_stores_for(rules);
        if !stores && only_if_cached {
            let text = "504: the request says only-if-cached";
            return self.told.conclude(Outcome::Miss, Some("only-if-cached"), text);
        }
        let hash = cache.uncacheable().hash(self.key.as_bytes(), facts.has(Facts::CREDENTIALS));
        let known = cache.uncacheable().peek(hash, now);
        if let Some(known) = &known {
            let left = Secs(known.until().since(now));
            let text = format!("known for {left} more to give nothing that can be stored: {}", known.why);
            self.told.step("remembered", text);
        }
        if known.as_ref().is_some_and(|known| known.is_left_alone(stored.as_deref(), rules)) {
            self.store_step();
            let text = "the inner service is asked, the cache only watches whether that changes";
            return self.told.conclude(Outcome::Miss, Some(forward.as_str()), text);
        }
        if self.is_awaited(weighed, directives, seen, known.as_ref()) {
            self.told.step("collapse", "the same is being filled for another request");
            let text = "waits for that, and has what it brings if that is for it";
            return self.told.conclude(Outcome::Collapsed, Some(forward.as_str()), text);
        }
        if stores {
            let names = words::listed(cache.0.tiers.all.iter().map(|tier| tier.store.name()));
            self.told.step(
                "stores",
                match (refetch, &known) {
                    (true, _) => "not asked: another answer is wanted".to_owned(),
                    (false, Some(_)) => "not asked: nothing can be stored".to_owned(),
                    (false, None) => format!("asked first: {names}"),
                },
            );
            self.in_stores = (!refetch && known.is_none()).then(|| (self.key.clone(), seen.headers.clone()));
        }
        self.store_step();
        if cache.fill_places().is_some_and(|places| places.available_permits() == 0) {
            self.told.step("places", "no place for another fill is free now: it waits for one");
        }
        let validates = *act == Act::Validate && self.parts.method == Method::GET;
        let fallback = stored.as_ref().is_some_and(|entry| !refetch && entry.lifespan().allows_error(directives, now));
        let fallback = if fallback { "; the stale response stands in if that fails" } else { "" };
        let otherwise = if only_if_cached { ", else 504" } else { "" };
        let why = match (forward, &weighed.stored) {
            (Forward::Miss, _) => "what is stored is not for requests with credentials; ",
            (Forward::Request, _) if refetch => "another answer is wanted; ",
            (Forward::Request, Some(entry)) if cache.has_changed(entry) => "it has changed in a store, perhaps; ",
            (Forward::Request, Some(entry)) if !entry.lifespan().always_validate && !entry.is_to_be_compared(now) => {
                "the request does not take it as it is; "
            }
            _ => "",
        };
        let (outcome, text) = match (validates, only_if_cached) {
            (_, true) => (Outcome::Miss, "what a store has, if it may be served".to_owned()),
            (true, _) => (Outcome::Revalidated, "the inner service is asked whether it still holds".to_owned()),
            (false, _) => (Outcome::Miss, "the inner service is asked".to_owned()),
        };
        self.told.conclude(outcome, Some(forward.as_str()), format!("{why}{text}{otherwise}{fallback}"));
    }

    fn store_step(&mut self) {
        let uses = self.cache.uses().peek(self.key.as_bytes());
        self.told.step("storing", words::storing(self.rules, &self.parts.method, self.facts, uses));
    }

    /// Whether a fill is under way that the request would wait for.
    fn is_awaited(
        &self,
        weighed: &Weighed,
        directives: Option<&RequestDirectives>,
        seen: &Parts,
        known: Option<&Known>,
    ) -> bool {
        let Self { cache, rules, key, facts, .. } = self;
        let sought = Sought { method: &seen.method, facts: *facts, directives };
        if known.is_some() || asks_alone(rules, sought, weighed.stored.as_deref()) {
            return false;
        }
        let nominated: Box<[HeaderName]> = cache.selecting_fields(
            weighed.stored.as_deref(),
            weighed.forward,
            key.as_bytes(),
            cache.has_stores_for(rules),
        );
        let footprint = || {
            let identity = seen.extensions.get::<Identity>();
            Place::of(rules, seen).footprint(cache.ledger().rows(), rules, identity)
        };
        let asking = Asking {
            bytes: key.as_bytes(),
            footprint: &footprint,
            wait_limit: rules.fill.wait_limit,
            may_lead: weighed.act == Act::Validate || is_whole(&seen.method, *facts),
        };
        cache.is_being_filled(&FlightKey::new(key, &seen.headers, *facts, &nominated), &asking)
    }
}

fn word_of(subject: Subject<'_>) -> String {
    match subject {
        Subject::Tag(tag) | Subject::GlobalTag(tag) => format!("tag {tag}"),
        Subject::TagPrefix(prefix) | Subject::GlobalTagPrefix(prefix) => format!("tags {prefix}*"),
        Subject::Name(name) => format!("a change of {name}"),
        _ => "what it depends on".to_owned(),
    }
}
