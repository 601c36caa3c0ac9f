//! A look into what memory holds, for people: credentials in keys are shown as digests.

use super::{Cache, Preview};
use crate::{
    clock::Moment,
    entry::Entry,
    hex::{hex, unhex},
    invalidation::{InvalidateError, Selector},
    key::{Pattern, Said, shown},
    random,
    semantics::date::Timestamp,
    store::Variant,
};
use http::HeaderName;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, LazyLock},
    time::Duration,
};

/// What is looked for, and in which order.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) pattern: Option<Pattern>,
    pub(crate) tenant: Option<String>,
    /// The name of a policy or of a value.
    pub(crate) policy: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) sort: Sort,
    pub(crate) descending: bool,
    pub(crate) limit: usize,
    /// Only what comes after this one.
    pub(crate) after: Option<Mark>,
}

/// What entries are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Age,
    Hits,
    Key,
    Size,
    Ttl,
}

/// A place in the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    rank: Rank,
    id: Id,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(u64),
    Text(String),
    Backwards(Reverse<String>),
}

/// Names a variant within this process. Nobody can find out by it what the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id([u8; 16]);

/// What was found.
#[derive(Debug)]
pub(crate) struct Seen {
    /// All there is.
    pub(crate) total: u64,
    /// All that is like what was looked for.
    pub(crate) matching: u64,
    /// Whether all of it was looked at.
    pub(crate) complete: bool,
    pub(crate) rows: Vec<Row>,
    /// Where to go on.
    pub(crate) next: Option<Mark>,
}

/// An entry.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) key: Box<[u8]>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) variants: usize,
}

impl Cache {
    /// A page of what memory holds. Each page looks through everything, for a second at most.
    pub(crate) fn explore(&self, look: &Look) -> Seen {
        let (now, since, secrets) = (self.now(), Moment::now(), self.secrets());
        let mut top: BinaryHeap<(Mark, usize)> = BinaryHeap::new();
        let mut rows: Vec<Option<Row>> = Vec::new();
        let (mut total, mut matching, mut looked, mut complete) = (0, 0, 0_u64, true);
        self.0.memory.each_variant(|variant| {
            looked += 1;
            if !complete || (looked.is_multiple_of(256) && since.elapsed() > LONGEST) {
                complete = false;
                return;
            }
            if !self.is_there(&variant, look.tenant.as_deref(), now) {
                return;
            }
            total += 1;
            if !look.wants(&variant, &secrets) {
                return;
            }
            matching += 1;
            let rank = look.rank(&variant, &secrets);
            // The id takes longest: it decides between those of one rank.
            let before = look.after.as_ref().is_some_and(|after| rank < after.rank);
            if before || (top.len() > look.limit && top.peek().is_some_and(|(last, _)| rank > last.rank)) {
                return;
            }
            let mark = Mark { rank, id: Id::of(&variant) };
            if look.after.as_ref().is_some_and(|after| mark <= *after) {
                return;
            }
            // One more than is wanted tells whether there are more. What goes leaves its place to the next.
            let place = match top.len() <= look.limit {
                true => rows.len(),
                false if top.peek().is_some_and(|(last, _)| mark < *last) => top.pop().map_or(0, |(_, place)| place),
                false => return,
            };
            let row = Some(Row::of(mark.id, &variant));
            match rows.get_mut(place) {
                Some(old) => *old = row,
                None => rows.push(row),
            }
            top.push((mark, place));
        });
        let mut found = top.into_sorted_vec();
        let more = found.len() > look.limit;
        found.truncate(look.limit);
        let next = found.last().map(|(mark, _)| mark.clone()).filter(|_| more);
        let rows = found.into_iter().filter_map(|(_, place)| rows.get_mut(place)?.take()).collect();
        Seen { total, matching, complete, rows, next }
    }

    /// The entry of this id, if it is one of this tenant's.
    pub(crate) fn entry_of(&self, id: Id, tenant: Option<&str>) -> Option<Row> {
        let (now, mut found) = (self.now(), None);
        self.0.memory.each_variant(|variant| {
            if found.is_none() && id == Id::of(&variant) && self.is_there(&variant, tenant, now) {
                found = Some(Row::of(id, &variant));
            }
        });
        found
    }

    /// The text of the key of an entry.
    pub(crate) fn text_of(&self, key: &[u8]) -> String {
        shown(key, &self.secrets())
    }

    /// Whether a field of an entry may hold credentials.
    pub(crate) fn is_secret(&self, entry: &Entry, name: &HeaderName) -> bool {
        let said = entry.handler.as_ref().is_some_and(|rules| rules.credential_headers.contains(name));
        said || crate::credentials::is_credential_name(name.as_str()) || self.secrets().contains(name)
    }

    /// What all of these selectors hit, looked for where it keeps nobody waiting.
    pub(crate) async fn preview_all(&self, selectors: &[Selector]) -> Result<Preview, InvalidateError> {
        let (batch, sound) = self.batch(selectors);
        sound?;
        let batch = Arc::new(batch);
        let (cache, here) = (self.clone(), Arc::clone(&batch));
        let found = crate::timer::aside(move || cache.hits(&here)).await;
        let stored = self.count_in_stores(&batch).await;
        Ok(Preview {
            stored_entries: stored.entries,
            stored_bytes: stored.bytes,
            complete: stored.complete && found.is_some(),
            ..found.unwrap_or_default()
        })
    }

    /// Whether it can be served to somebody, and is this tenant's.
    fn is_there(&self, variant: &Variant<'_>, tenant: Option<&str>, now: Timestamp) -> bool {
        let Variant { key, entry, .. } = *variant;
        entry.discard_at > now
            && tenant.is_none_or(|tenant| tenant_of(key).as_deref() == Some(tenant))
            && self.is_live(key, entry)
    }

    /// The fields that policies say hold credentials.
    fn secrets(&self) -> Vec<HeaderName> {
        let pages = self.0.book.pages();
        let mut all: Vec<HeaderName> = pages.iter().flat_map(|page| page.credentials()).collect();
        all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        all.dedup();
        all
    }
}

/// The tenant in a key.
pub(crate) fn tenant_of(key: &[u8]) -> Option<String> {
    Said::of(key).tenant().map(str::to_owned)
}

impl Look {
    fn wants(&self, variant: &Variant<'_>, secrets: &[HeaderName]) -> bool {
        let entry = variant.entry;
        self.policy.as_ref().is_none_or(|policy| entry.usage.policy() == policy)
            && self.tag.as_ref().is_none_or(|tag| entry.tags.names().any(|name| name == tag))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches_shown(variant.key, secrets))
    }

    fn rank(&self, variant: &Variant<'_>, secrets: &[HeaderName]) -> Rank {
        let entry = variant.entry;
        let number = match self.sort {
            // Those that do not change while pages are turned.
            Sort::Age => u64::MAX - entry.lifespan().born.as_unix_millis(),
            Sort::Ttl => entry.lifespan().fresh_until.as_unix_millis(),
            Sort::Hits => entry.usage.uses().into(),
            Sort::Size => entry.weight(),
            Sort::Key => {
                let text = shown(variant.key, secrets);
                // Of ASCII alone, so it can be cut anywhere.
                let text = text.chars().take(RANKED).collect();
                return if self.descending { Rank::Backwards(Reverse(text)) } else { Rank::Text(text) };
            }
        };
        Rank::Number(if self.descending { u64::MAX - number } else { number })
    }
}

impl Id {
    fn of(variant: &Variant<'_>) -> Self {
        static SEED: LazyLock<[u8; 32]> = LazyLock::new(random::bytes);
        let mut hasher = blake3::Hasher::new_keyed(&SEED);
        hasher.update(&(variant.key.len() as u64).to_le_bytes()).update(variant.key).update(variant.selecting);
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(Self(unhex(text)?.try_into().ok()?))
    }

    pub(crate) fn text(self) -> String {
        hex(&self.0)
    }
}

impl Mark {
    /// As a cursor, which only [`Mark::parse`] can read.
    pub(crate) fn text(&self) -> String {
        let (kind, rank) = match &self.rank {
            Rank::Number(number) => ('n', number.to_be_bytes().to_vec()),
            Rank::Text(text) => ('t', text.clone().into_bytes()),
            Rank::Backwards(Reverse(text)) => ('b', text.clone().into_bytes()),
        };
        format!("{kind}{}{}", self.id.text(), hex(&rank))
    }

    /// A mark of this look.
    pub(crate) fn parse(text: &str, sort: Sort, descending: bool) -> Option<Self> {
        let kind = text.chars().next()?;
        let bytes = unhex(text.get(1..)?)?;
        let (id, rank) = bytes.split_first_chunk::<16>()?;
        let string = || String::from_utf8(rank.to_vec()).ok();
        let rank = match (kind, sort == Sort::Key, descending) {
            ('n', false, _) => Rank::Number(u64::from_be_bytes(rank.try_into().ok()?)),
            ('t', true, false) => Rank::Text(string()?),
            ('b', true, true) => Rank::Backwards(Reverse(string()?)),
            _ => return None,
        };
        Some(Self { rank, id: Id(*id) })
    }
}

impl Row {
    fn of(id: Id, variant: &Variant<'_>) -> Self {
        Self { id, key: variant.key.into(), entry: Arc::clone(variant.entry), variants: variant.siblings }
    }
}

/// So long memory is looked through.
const LONGEST: Duration = Duration::from_secs(1);

/// Of so many signs of a key the order is made.
const RANKED: usize = 200;
