//! The reference: everything that has happened, in a list, and what follows from it. No index, no stamp, no row: whether an
//! answer may be given is found by going through all of it.

use larder::{Identity, Selector, Tags};
use std::collections::{HashMap, HashSet};

/// The order of what happens.
pub(crate) type Tick = u64;

/// What is kept under one key: a variant of a resource under a policy, or a value. Of the identity it has what is keyed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) keyed: Vec<(String, String)>,
    pub(crate) place: Place,
    pub(crate) lang: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// For each identity; stale for half a minute while it is refreshed.
    List,
    /// For each tenant.
    Shop,
    /// For everybody; stale for long if the service fails.
    All,
    /// A value, for each tenant. Its path is its parameter.
    Rate,
}

/// A host, if one is named, and a path with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) host: Option<&'static str>,
    pub(crate) path: &'static str,
}

pub(crate) const PLACES: [Place; 6] = [
    Place { host: None, path: "/a" },
    Place { host: None, path: "/b" },
    Place { host: None, path: "/b?x=1" },
    Place { host: Some("a.example"), path: "/c" },
    Place { host: Some("b.example"), path: "/c" },
    Place { host: Some("a.example"), path: "/d" },
];

/// One call of the service, or one load of a value: the bytes of its answer are its number.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) thing: Thing,
    /// Its tags; those that are global are marked.
    pub(crate) tags: Vec<(String, bool)>,
    pub(crate) span: Span,
    /// It is for whoever has asked alone: a failure, or for somebody whom the policy does not know.
    pub(crate) alone: bool,
}

/// The service was asked whether some bytes still hold, and they do.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) of: usize,
    pub(crate) span: Span,
}

/// When the service was asked, and when its answer was there, in order and in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) began: (Tick, u64),
    pub(crate) headed: Option<u64>,
    pub(crate) ended: Option<Tick>,
}

/// An invalidation that has returned.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) selected: Selected,
    pub(crate) when: (Tick, u64),
}

/// What a selector says.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) what: What,
    pub(crate) within: Within,
    pub(crate) soft: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Everything,
    Resource(Place),
    Tag(String),
    AllOf(Vec<&'static str>),
    /// Of one origin, if one is named.
    Group(Option<&'static str>, &'static str),
    Policy(&'static str),
    Pattern(&'static str),
    Value(&'static str),
    Attribute(&'static str, &'static str),
    /// What depends on a name.
    Name(&'static str),
    /// One thing alone.
    Only(Thing),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Anyone,
    Tenant(&'static str),
    Nobody,
}

/// All that has happened.
#[derive(Debug, Default)]
pub(crate) struct Events {
    tick: Tick,
    /// In seconds.
    pub(crate) now: u64,
    pub(crate) fills: Vec<Fill>,
    pub(crate) checks: Vec<Check>,
    records: Vec<Record>,
    pub(crate) sweeps: Vec<Tick>,
    /// Who has gone away, and when.
    pub(crate) left: Vec<(Tick, Thing)>,
    /// The keys as people read them.
    pub(crate) texts: HashMap<Thing, String>,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Shop => "shop",
            Self::All => "all",
            Self::Rate => "rate",
        }
    }

    /// How long it is fresh, and for how long it may then still be served, in seconds.
    pub(crate) const fn lifetime(self) -> (u64, u64) {
        match self {
            Self::List => (60, 30),
            Self::Shop => (100, 0),
            Self::All => (60, 200),
            Self::Rate => (90, 0),
        }
    }

    fn depends_on(self) -> &'static str {
        match self {
            Self::List => "People",
            Self::Shop => "",
            Self::All | Self::Rate => "Asset",
        }
    }

    /// What it keys on. Nothing if the identity lacks it.
    pub(crate) fn keyed(self, who: &Identity) -> Option<Vec<(String, String)>> {
        let all = ["role", "tenant", "user"];
        let names = match self {
            Self::List => &all[..],
            Self::Shop | Self::Rate => &all[1..2],
            Self::All => &[],
        };
        let keyed: Vec<_> =
            names.iter().filter_map(|name| Some(((*name).to_owned(), who.get(name)?.to_owned()))).collect();
        (self == Self::List || keyed.len() == names.len()).then_some(keyed)
    }
}

impl Place {
    /// What the handler says of it: tags, global tags, groups.
    fn said(self) -> (&'static [&'static str], &'static [&'static str], &'static [&'static str]) {
        match (self.path, self.host) {
            ("/a", _) => (&["item:5", "item:6:name"], &[], &[]),
            ("/b", _) => (&["x", "y"], &[], &[]),
            ("/b?x=1", _) => (&["y"], &["x"], &[]),
            ("/c", Some("a.example")) => (&["item:5:name"], &[], &["g", "h"]),
            ("/c", _) => (&[], &["item:5", "y"], &["g"]),
            _ => (&[], &[], &[]),
        }
    }

    pub(crate) fn groups(self) -> &'static [&'static str] {
        self.said().2
    }
}

impl Thing {
    /// The tags of its fill with this number: from the policy, the handler, and different from fill to fill.
    pub(crate) fn tags(&self, number: usize) -> Vec<(String, bool)> {
        let (local, global, _) = self.place.said();
        let own = match self.kind {
            Kind::List => "list".to_owned(),
            Kind::All => format!("path:{}", self.place.path),
            Kind::Rate => return vec![("x".to_owned(), false), ("rate:gold".to_owned(), false)],
            Kind::Shop => String::new(),
        };
        let local = local.iter().map(|tag| ((*tag).to_owned(), false));
        let all = local.chain(global.iter().map(|tag| ((*tag).to_owned(), true)));
        let turn = (format!("turn:{}", number % 2), false);
        all.chain([(own, false), turn]).filter(|(tag, _)| !tag.is_empty()).collect()
    }

    /// Those of the tags that the handler puts into the extensions.
    pub(crate) fn handler_tags(&self, number: usize) -> Tags {
        let own = if self.kind == Kind::All { "path:" } else { "list" };
        let all = self.tags(number).into_iter().filter(|(tag, _)| !tag.starts_with(own));
        all.fold(Tags::default(), |tags, (tag, global)| if global { tags.global(tag) } else { tags.and([tag]) })
    }

    fn tenant(&self) -> Option<&str> {
        self.keyed.iter().find(|(name, _)| name == "tenant").map(|(_, value)| &**value)
    }
}

impl Selected {
    pub(crate) fn all(what: What) -> Self {
        Self { what, within: Within::Anyone, soft: false }
    }

    /// Unless it is narrowed: to what is this tenant's, and to what is nobody's.
    pub(crate) fn narrowed_to(self, tenant: Option<&'static str>) -> Vec<Self> {
        match tenant {
            Some(tenant) if self.within == Within::Anyone => {
                vec![Self { within: Within::Tenant(tenant), ..self.clone() }, Self { within: Within::Nobody, ..self }]
            }
            _ => vec![self],
        }
    }

    pub(crate) fn selector(&self) -> Selector {
        let selector = match &self.what {
            What::Everything => Selector::everything(),
            What::Resource(Place { host: Some(host), path }) => Selector::resource(format!("http://{host}{path}")),
            What::Resource(Place { path, .. }) => Selector::resource(*path),
            What::Tag(tag) => Selector::tag(tag.clone()),
            What::AllOf(tags) => Selector::all_of(tags.clone()),
            What::Group(_, name) => Selector::group(*name),
            What::Policy(name) => Selector::policy(*name),
            What::Pattern(pattern) => Selector::pattern(*pattern),
            What::Value(name) => Selector::value(*name),
            What::Attribute("tenant", value) => Selector::tenant(value),
            What::Attribute("user", value) => Selector::user(value),
            What::Attribute(name, value) => Selector::attribute(*name, value),
            What::Name(_) | What::Only(_) => unreachable!("there is no selector for it"),
        };
        let selector = if self.soft { selector.soft() } else { selector };
        match self.within {
            Within::Tenant(tenant) => selector.within(tenant),
            Within::Anyone | Within::Nobody => selector,
        }
    }

    /// Whether it selects a fill, whenever that was.
    fn selects(&self, fill: &Fill, text: Option<&str>) -> bool {
        let Fill { thing, tags, .. } = fill;
        let inside = match self.within {
            Within::Anyone => true,
            Within::Tenant(tenant) => thing.tenant() == Some(tenant),
            Within::Nobody => thing.tenant().is_none(),
        };
        let has = |wanted: &str, least: bool| {
            let fits = |tag: &str| match wanted.strip_suffix('*') {
                Some(prefix) => tag.starts_with(prefix),
                None => tag == wanted,
            };
            tags.iter().any(|(tag, global)| fits(tag) && (*global || !least))
        };
        let response = thing.kind != Kind::Rate;
        match &self.what {
            What::Tag(tag) => (inside && has(tag, false)) || (self.within != Within::Anyone && has(tag, true)),
            What::AllOf(all) => {
                (inside && all.iter().all(|tag| has(tag, false)))
                    || (self.within != Within::Anyone && all.iter().all(|tag| has(tag, true)))
            }
            _ if !inside => false,
            What::Everything => true,
            What::Resource(place) => {
                response && place.path == thing.place.path && (place.host.is_none() || place.host == thing.place.host)
            }
            What::Group(host, name) => {
                response && thing.place.groups().contains(name) && (host.is_none() || *host == thing.place.host)
            }
            What::Policy(name) => response && thing.kind.name() == *name,
            What::Value(name) => !response && thing.kind.name() == *name,
            What::Attribute(name, value) => thing.keyed.iter().any(|(n, v)| n == name && v == value),
            What::Name(name) => thing.kind.depends_on() == *name,
            What::Only(other) => thing == other,
            What::Pattern(pattern) => text.is_some_and(|text| {
                let (pattern, text) = (pattern.replace('=', ":"), text.replace('=', ":"));
                let after = text.strip_prefix("shop:v7:").expect("namespace and version");
                [&*text, after].into_iter().any(|text| like(pattern.as_bytes(), text.as_bytes()))
            }),
        }
    }

    /// Whether it is kept in a list, and dropped from that when all that is stored was tried on it.
    fn is_ban(&self) -> bool {
        matches!(self.what, What::AllOf(_) | What::Pattern(_))
    }
}

fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if like(rest, text) => true,
        (Some((b'*', _)), Some((_, text))) => like(pattern, text),
        (Some((letter, rest)), Some((other, text))) => letter == other && like(rest, text),
        _ => false,
    }
}

impl Events {
    pub(crate) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// Something begins. It ends at once unless it is held.
    pub(crate) fn span(&mut self, held_at_head: bool, held: bool) -> Span {
        let began = (self.tick(), self.now);
        let headed = (!held_at_head).then_some(self.now);
        Span { began, headed, ended: (!held).then(|| self.tick()) }
    }

    pub(crate) fn record(&mut self, all: impl IntoIterator<Item = Selected>) {
        let when = (self.tick(), self.now);
        self.records.extend(all.into_iter().map(|selected| Record { selected, when }));
    }

    /// What has selected a fill after one tick and before another.
    fn touching(&self, fill: usize, after: Tick, before: Tick) -> impl Iterator<Item = &Record> {
        let fill = &self.fills[fill];
        let text = self.texts.get(&fill.thing).map(String::as_str);
        let between = self.records.iter().filter(move |record| (after..before).contains(&record.when.0));
        between.filter(move |record| record.selected.selects(fill, text))
    }

    /// When the bytes of a fill were known to be good: as they were made, and when they were asked about.
    fn bases(&self, fill: usize) -> impl Iterator<Item = Span> {
        let checks = self.checks.iter().filter(move |check| check.of == fill).map(|check| check.span);
        [self.fills[fill].span].into_iter().chain(checks)
    }

    /// What must be a hit for who asks at this moment: the youngest fill, if it is complete and fresh and nothing has
    /// selected it, and nothing was on its way beside it.
    pub(crate) fn expected(&self, thing: &Thing, (start, at): (Tick, u64)) -> Option<usize> {
        let ended = |fill: &Fill| fill.span.ended.filter(|ended| *ended < start);
        let same = self.fills.iter().enumerate().filter(|(_, fill)| fill.thing == *thing && fill.span.began.0 < start);
        let (number, fill) =
            same.filter(|(_, fill)| ended(fill).is_some()).max_by_key(|(_, fill)| fill.span.began.0)?;
        let end = ended(fill)?;
        let began = fill.span.began.0;
        let beside =
            self.fills.iter().any(|other| other.thing == *thing && (began + 1..end).contains(&other.span.began.0));
        // A ban that was swept ends all that was on its way meanwhile.
        let swept = self.records.iter().any(|record| {
            let since = record.when.0;
            record.selected.is_ban() && since > began && self.sweeps.iter().any(|sweep| (since..end).contains(sweep))
        });
        let untouched = self.touching(number, began, start).next().is_none();
        let fresh = at < fill.span.began.1 + thing.kind.lifetime().0;
        (!fill.alone && !beside && !swept && untouched && fresh).then_some(number)
    }

    /// How many resources and values there can be at most: what was selected while it was made is not stored.
    pub(crate) fn most_kept(&self) -> usize {
        let kept = self.fills.iter().enumerate().filter(|(number, fill)| {
            let Span { began: (began, _), ended: Some(ended), .. } = fill.span else { return false };
            !fill.alone && self.touching(*number, began, ended).all(|record| record.selected.soft)
        });
        kept.map(|(_, fill)| Thing { lang: None, ..fill.thing.clone() }).collect::<HashSet<_>>().len()
    }

    /// Whether the bytes of a fill may be the answer, or why not. `stale` tells that the answer says so.
    pub(crate) fn may_have(
        &self,
        thing: &Thing,
        number: usize,
        (start, at): (Tick, u64),
        (hit, stale): (bool, bool),
    ) -> Result<(), String> {
        let fill = self.fills.get(number).ok_or("bytes that nobody made")?;
        if fill.thing != *thing {
            return Err(format!("the bytes of another: {:?}", fill.thing));
        }
        if fill.span.began.0 > start {
            return Ok(());
        }
        if fill.alone {
            return Err("it was for another alone".to_owned());
        }
        if let Some(hard) = self.touching(number, fill.span.began.0, start).find(|record| !record.selected.soft) {
            return Err(format!("invalidated by {hard:?}"));
        }
        let (lifetime, window) = thing.kind.lifetime();
        let good = self.bases(number).any(|basis| {
            let softs = self.touching(number, basis.began.0, start).map(|record| record.when.1);
            let end = basis.headed.map_or(u64::MAX, |headed| headed + lifetime);
            match stale {
                true => at < softs.chain([end]).min().unwrap_or(end).saturating_add(window),
                false => softs.count() == 0 && (!hit || at < end),
            }
        });
        if good { Ok(()) } else { Err(format!("not fresh any more: {:?}", fill.span)) }
    }
}
