//! What others would keep: small models of the published policies, by bytes, as their papers describe them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A cache of a certain size.
pub(crate) trait Keeps {
    /// Asks for a thing of this weight, and stores it unless it is there. Whether it was.
    fn ask(&mut self, thing: u32, weight: u64) -> bool;
}

/// Who goes first is who comes first in an order that each use may change: a number, and a second one among equals.
struct Ordered {
    room: u64,
    held: HashMap<u32, Held>,
    order: BTreeSet<(u64, u64, u32)>,
}

#[derive(Clone, Copy)]
struct Held {
    weight: u64,
    place: (u64, u64),
}

impl Ordered {
    fn of(bytes: u64) -> Self {
        Self { room: bytes, held: HashMap::new(), order: BTreeSet::new() }
    }

    fn place(&self, thing: u32) -> Option<(u64, u64)> {
        self.held.get(&thing).map(|held| held.place)
    }

    fn put(&mut self, thing: u32, weight: u64, place: (u64, u64)) {
        if let Some(old) = self.held.insert(thing, Held { weight, place }) {
            self.order.remove(&(old.place.0, old.place.1, thing));
            self.room += old.weight;
        }
        self.order.insert((place.0, place.1, thing));
        self.room -= weight.min(self.room);
    }

    /// Removes the first, and tells its number.
    fn evict(&mut self) -> u64 {
        let (number, _, thing) = self.order.pop_first().expect("something is held");
        self.room += self.held.remove(&thing).map_or(0, |held| held.weight);
        number
    }
}

/// Least recently used goes first.
pub(crate) struct Lru(Ordered, u64);

impl Lru {
    pub(crate) fn of(bytes: u64) -> Self {
        Self(Ordered::of(bytes), 0)
    }
}

impl Keeps for Lru {
    fn ask(&mut self, thing: u32, weight: u64) -> bool {
        self.1 += 1;
        let found = self.0.place(thing).is_some();
        while !found && self.0.room < weight {
            self.0.evict();
        }
        self.0.put(thing, weight, (self.1, 0));
        found
    }
}

/// LFU with ageing (Arlitt et al., "Evaluating content management techniques for Web proxy caches", 2000): what has the
/// smallest sum goes, of its uses and of the age that the cache had at the last of them. The age is the sum that went last.
pub(crate) struct AgeingLfu {
    order: Ordered,
    uses: HashMap<u32, u64>,
    age: u64,
    time: u64,
}

impl AgeingLfu {
    pub(crate) fn of(bytes: u64) -> Self {
        Self { order: Ordered::of(bytes), uses: HashMap::new(), age: 0, time: 0 }
    }
}

impl Keeps for AgeingLfu {
    fn ask(&mut self, thing: u32, weight: u64) -> bool {
        self.time += 1;
        let found = self.order.place(thing).is_some();
        while !found && self.order.room < weight {
            self.age = self.order.evict();
        }
        let uses = self.uses.entry(thing).or_default();
        *uses = if found { *uses + 1 } else { 1 };
        self.order.put(thing, weight, (self.age + *uses, self.time));
        found
    }
}

/// What is used again last goes first, if it is not stored at all (Belady 1966). Where all are as large, nothing is better.
pub(crate) struct Farthest {
    order: Ordered,
    /// When each request is made again.
    next: Vec<u64>,
    time: usize,
}

impl Farthest {
    pub(crate) fn of(bytes: u64, requests: &[u32]) -> Self {
        let mut next = vec![u64::MAX; requests.len()];
        let mut seen = HashMap::new();
        for (time, thing) in requests.iter().enumerate().rev() {
            next[time] = seen.insert(thing, time as u64).unwrap_or(u64::MAX);
        }
        Self { order: Ordered::of(bytes), next, time: 0 }
    }
}

impl Keeps for Farthest {
    fn ask(&mut self, thing: u32, weight: u64) -> bool {
        let next = u64::MAX - self.next[self.time];
        self.time += 1;
        let found = self.order.place(thing).is_some();
        while !found && self.order.room < weight {
            if self.order.order.first().is_none_or(|(first, ..)| *first >= next) {
                return false;
            }
            self.order.evict();
        }
        self.order.put(thing, weight, (next, 0));
        found
    }
}

/// SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024): a queue in which nothing moves. A hand goes from the oldest
/// to the youngest and round again; it takes away the mark of what was used, and what has none.
pub(crate) struct Sieve {
    room: u64,
    places: HashMap<u32, u64>,
    queue: BTreeMap<u64, (u32, u64, bool)>,
    hand: u64,
    time: u64,
}

impl Sieve {
    pub(crate) fn of(bytes: u64) -> Self {
        Self { room: bytes, places: HashMap::new(), queue: BTreeMap::new(), hand: 0, time: 0 }
    }

    fn evict(&mut self) {
        loop {
            let next = self.queue.range(self.hand..).next().or_else(|| self.queue.iter().next());
            let (&place, &(thing, weight, marked)) = next.expect("something is held");
            self.hand = place + 1;
            if !marked {
                self.queue.remove(&place);
                self.places.remove(&thing);
                self.room += weight;
                return;
            }
            self.queue.insert(place, (thing, weight, false));
        }
    }
}

impl Keeps for Sieve {
    fn ask(&mut self, thing: u32, weight: u64) -> bool {
        if let Some(held) = self.places.get(&thing).and_then(|place| self.queue.get_mut(place)) {
            held.2 = true;
            return true;
        }
        while self.room < weight {
            self.evict();
        }
        self.time += 1;
        self.places.insert(thing, self.time);
        self.queue.insert(self.time, (thing, weight, false));
        self.room -= weight;
        false
    }
}

/// S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a tenth for what is new, from which
/// what is used twice goes on to the main queue; the others are remembered for a while, and go there if they come again.
pub(crate) struct S3Fifo {
    bytes: u64,
    /// Uses and weight.
    held: HashMap<u32, (u8, u64)>,
    small: Queue,
    main: Queue,
    ghosts: Queue,
    /// How often each is in `ghosts`.
    remembered: HashMap<u32, u32>,
}

#[derive(Default)]
struct Queue {
    things: VecDeque<(u32, u64)>,
    bytes: u64,
}

impl Queue {
    fn push(&mut self, thing: u32, weight: u64) {
        self.things.push_back((thing, weight));
        self.bytes += weight;
    }

    fn pop(&mut self) -> Option<(u32, u64)> {
        let (thing, weight) = self.things.pop_front()?;
        self.bytes -= weight;
        Some((thing, weight))
    }
}

impl S3Fifo {
    pub(crate) fn of(bytes: u64) -> Self {
        let [small, main, ghosts] = [(); 3].map(|()| Queue::default());
        Self { bytes, held: HashMap::new(), small, main, ghosts, remembered: HashMap::new() }
    }

    fn evict(&mut self) {
        if self.small.bytes > self.bytes / 10 || self.main.things.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        let Some((thing, weight)) = self.small.pop() else { return };
        if self.held[&thing].0 > 1 {
            self.held.insert(thing, (0, weight));
            return self.main.push(thing, weight);
        }
        self.held.remove(&thing);
        self.ghosts.push(thing, weight);
        *self.remembered.entry(thing).or_default() += 1;
        while self.ghosts.bytes > self.bytes / 10 * 9 {
            let Some((oldest, _)) = self.ghosts.pop() else { return };
            self.remembered.entry(oldest).and_modify(|times| *times -= 1);
        }
    }

    fn evict_main(&mut self) {
        let Some((thing, weight)) = self.main.pop() else { return };
        match self.held[&thing].0 {
            0 => drop(self.held.remove(&thing)),
            uses => {
                self.held.insert(thing, (uses - 1, weight));
                self.main.push(thing, weight);
            }
        }
    }
}

impl Keeps for S3Fifo {
    fn ask(&mut self, thing: u32, weight: u64) -> bool {
        if let Some((uses, _)) = self.held.get_mut(&thing) {
            *uses = (*uses + 1).min(3);
            return true;
        }
        while self.small.bytes + self.main.bytes + weight > self.bytes {
            self.evict();
        }
        self.held.insert(thing, (0, weight));
        let is_remembered = self.remembered.get(&thing).is_some_and(|times| *times > 0);
        if is_remembered { &mut self.main } else { &mut self.small }.push(thing, weight);
        false
    }
}

/// W-TinyLFU (Einziger et al., "TinyLFU: A Highly Efficient Cache Admission Policy", 2017), as `moka` has it.
pub(crate) struct TinyLfu(moka::sync::Cache<u32, u64>);

impl TinyLfu {
    pub(crate) fn of(bytes: u64) -> Self {
        let weigh = |_: &u32, weight: &u64| u32::try_from(*weight).unwrap_or(u32::MAX);
        Self(moka::sync::Cache::builder().max_capacity(bytes).weigher(weigh).build())
    }
}

impl Keeps for TinyLfu {
    fn ask(&mut self, thing: u32, weight: u64) -> bool {
        let found = self.0.get(&thing).is_some();
        if !found {
            self.0.insert(thing, weight);
        }
        // What it puts off otherwise.
        self.0.run_pending_tasks();
        found
    }
}
