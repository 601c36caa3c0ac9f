//! How much of what the stores hold an invalidation would hit: an estimate, by the heads of what is there.

use super::Tier;
use crate::{
    cache::Cache,
    clock::Moment,
    invalidation::{Batch, Claim, Footprint, Subject, key_digest},
    key::Said,
    store::{Glimpse, StoreError},
};
use std::time::Duration;

/// What of the stores is hit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Whether all was looked at.
    pub(crate) complete: bool,
}

impl Cache {
    /// Looks at what the stores hold, in limited time. What they hold of the same is counted in each.
    pub(crate) async fn count_in_stores(&self, batch: &Batch) -> Counted {
        let mut counted = Counted { complete: true, ..Counted::default() };
        let since = Moment::now();
        for tier in &self.0.tiers.all {
            counted.complete &= self.count_in(tier, batch, since, &mut counted).await.unwrap_or(false);
        }
        counted
    }

    /// Whether all of it was looked at.
    async fn count_in(
        &self,
        tier: &Tier,
        batch: &Batch,
        since: Moment,
        counted: &mut Counted,
    ) -> Result<bool, StoreError> {
        let mut from = None;
        while since.elapsed() < LONGEST {
            let page = tier.store.scan(self.0.tiers.places.prefix(), from, HEAD).await?;
            for (place, head) in &page.found {
                let Ok(glimpse) = self.0.tiers.codec.peek(head, place) else { continue };
                if self.is_hit(&glimpse, batch) {
                    counted.entries += 1;
                    counted.bytes += glimpse.stored;
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_hit(&self, glimpse: &Glimpse, batch: &Batch) -> bool {
        let Some(facts) = glimpse.facts else { return false };
        let Some(stamp) = self.inward(facts.stamp).filter(|_| facts.discard_at > self.now()) else { return false };
        let footprint = self.footprint_of(glimpse);
        let claim = Claim { stamp, footprint: &footprint, key: &glimpse.key };
        batch.selects(claim)
    }

    /// What it can be hit by, as far as its key and tags tell.
    pub(crate) fn footprint_of(&self, glimpse: &Glimpse) -> Footprint {
        let said = Said::of(&glimpse.key);
        let (authority, query) = (said.authority, said.query);
        let resource = said.path.map(|path| Subject::Resource { authority, path, query });
        let names = [resource, said.policy.map(Subject::Policy), said.value.map(Subject::Value)];
        let digest = key_digest(&glimpse.key);
        let own = [Subject::Key(&digest)];
        let subjects = names.into_iter().flatten().chain(own).chain(glimpse.tags.subjects());
        self.0.ledger.rows().footprint(subjects, &said.identity)
    }
}

/// So long the stores are looked through, at most.
const LONGEST: Duration = Duration::from_secs(2);

/// So many of the first bytes are looked at: the key and the tags of all but the strangest are in them.
pub(crate) const HEAD: usize = 4096;
