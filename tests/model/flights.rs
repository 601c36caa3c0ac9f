//! Who leads, who waits, and what those who wait get.

use crate::{
    flight::{Flight, Flights, Joined, Lead, Over, Wait},
    play::{
        Gate, all, any, below, caught_async, cut, exhaust, explore, note, one_in, panic_as_staged, pause, waker_that,
    },
};
use shuttle::{
    future::{block_on, spawn},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

const KEY: u8 = 7;

/// What is known of a flight: which it is, and what had been invalidated when it started.
struct Meta {
    id: u64,
    stamp: u64,
}

type ThisFlight = Arc<Flight<Meta, u64>>;
type ThisLead = Lead<u8, Meta, u64>;
type ThisWait = Wait<Meta, u64>;

/// A table of flights that bring their own numbers.
struct World {
    flights: Arc<Flights<u8, Meta, u64>>,
    /// How much has been invalidated.
    ledger: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    flights: Vec<ThisFlight>,
    /// What their leaders have said last.
    said: BTreeMap<u64, Result<u64, Over>>,
    /// Those that somebody leads, by their stamp.
    led: BTreeMap<u64, u64>,
    /// How many flights there were.
    leads: u64,
}

/// How a leader ends its flight.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Land,
    /// Says something else after it has landed.
    LandAndEnd,
    End(Over),
    Leave,
    Panic,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { flights: Arc::new(Flights::new(1)), ledger: AtomicU64::new(0), notes: Mutex::default() })
    }

    fn join(&self, may_lead: bool, refused: impl FnOnce(&ThisFlight) -> bool) -> Option<Joined<u8, Meta, u64>> {
        let fits = |flight: &ThisFlight| !refused(flight) && flight.meta().stamp == self.ledger.load(SeqCst);
        let meta = || {
            let stamp = self.ledger.load(SeqCst);
            may_lead.then(|| {
                let mut notes = note(&self.notes);
                notes.leads += 1;
                Meta { id: notes.leads, stamp }
            })
        };
        let joined = self.flights.join(&KEY, fits, meta);
        if let Some(Joined::Leads(lead)) = &joined {
            note(&self.notes).flights.push(Arc::clone(lead.flight()));
        }
        joined
    }

    /// The leader of the first flight.
    fn first(&self) -> ThisLead {
        match self.join(true, |_| false) {
            Some(Joined::Leads(lead)) => lead,
            _ => panic!("there was a flight"),
        }
    }

    /// One who waits for the flight that is under way.
    fn waits(&self) -> ThisWait {
        match self.join(false, |_| false) {
            Some(Joined::Waits(wait)) => wait,
            _ => panic!("there was no flight"),
        }
    }

    fn say(&self, flight: &ThisFlight, word: Result<u64, Over>) {
        note(&self.notes).said.entry(flight.meta().id).or_insert(word);
    }

    fn land(&self, flight: &ThisFlight) {
        self.say(flight, Ok(flight.meta().id));
        flight.land(flight.meta().id);
    }

    /// Waits, and looks at what comes.
    async fn wait(&self, wait: ThisWait, polls: Option<usize>) -> Option<Result<u64, Over>> {
        let id = wait.flight().meta().id;
        let word = cut(wait, polls).await?;
        let said = note(&self.notes).said.get(&id).copied();
        assert_eq!(word, said.unwrap_or(Err(Over::Gone)), "of flight {id}");
        Some(word)
    }

    /// Leads to the end, as the only one of those with its stamp.
    async fn lead(&self, lead: ThisLead, deed: Deed, pauses: [usize; 2]) {
        let alone = Alone::new(self, lead.flight().meta().stamp);
        pause(pauses[0]).await;
        match deed {
            Deed::Land | Deed::LandAndEnd => {
                self.land(lead.flight());
                pause(pauses[1]).await;
                if matches!(deed, Deed::LandAndEnd) {
                    drop(alone);
                    lead.end(Over::Refused);
                }
            }
            Deed::End(over) => {
                self.say(lead.flight(), Err(over));
                drop(alone);
                lead.end(over);
            }
            Deed::Leave => {}
            Deed::Panic => panic_as_staged(),
        }
    }

    fn is_empty_again(&self) {
        assert_eq!(self.flights.len(), 0, "flights under way");
        let notes = std::mem::take(&mut *note(&self.notes));
        assert!(notes.led.values().all(|&led| led == 0));
        assert!(notes.flights.iter().all(|flight| flight.waiting() == 0), "somebody waits");
    }
}

/// One leads, and nobody else with its stamp. Dropped before the lead.
struct Alone<'a>(&'a World, u64);

impl<'a> Alone<'a> {
    fn new(world: &'a World, stamp: u64) -> Self {
        let led = note(&world.notes).led.insert(stamp, 1).unwrap_or(0);
        assert_eq!(led, 0, "another leads");
        Self(world, stamp)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        note(&self.0.notes).led.insert(self.1, 0);
    }
}

const DEEDS: [Deed; 7] = [
    Deed::Land,
    Deed::Land,
    Deed::LandAndEnd,
    Deed::End(Over::Failed),
    Deed::End(Over::Overloaded),
    Deed::Leave,
    Deed::Panic,
];

/// One request, from its join to its end. What it may have started before is not for it.
async fn request(world: Arc<World>, delay: usize, may_lead: bool, cut_after: Option<usize>, deed: Deed) {
    pause(delay).await;
    let seen = world.ledger.load(SeqCst);
    match world.join(may_lead, |_| false) {
        None => assert!(!may_lead),
        Some(Joined::Leads(lead)) => {
            assert!(may_lead);
            let leading = world.lead(lead, deed, [below(3), below(3)]);
            // Cancelled or panicking, it is over.
            let _ = caught_async(cut(leading, cut_after)).await;
        }
        Some(Joined::Waits(wait)) => {
            assert!(wait.flight().meta().stamp >= seen, "a flight from before what was invalidated");
            world.wait(wait, cut_after).await;
        }
    }
}

fn some_cut() -> Option<usize> {
    one_in(3).then(|| below(4))
}

#[test]
fn all_who_wait_hear_how_it_ends() {
    explore(24_000, || {
        block_on(async {
            let world = World::new();
            let mut tasks: Vec<_> = (0..4)
                .map(|_| spawn(request(Arc::clone(&world), below(4), !one_in(5), some_cut(), any(&DEEDS))))
                .collect();
            if one_in(2) {
                let (world, delay) = (Arc::clone(&world), below(4));
                tasks.push(spawn(async move {
                    pause(delay).await;
                    world.ledger.fetch_add(1, SeqCst);
                }));
            }
            all(tasks).await;
            world.is_empty_again();
        });
    });
}

#[test]
fn one_who_waits_hears_in_every_order() {
    let deeds = [Deed::Land, Deed::End(Over::Refused), Deed::Leave];
    for (deed, polls) in deeds.iter().flat_map(|&deed| [None, Some(0), Some(1)].map(|polls| (deed, polls))) {
        let orders = exhaust(move || {
            block_on(async {
                let world = World::new();
                let lead = world.first();
                let waiting = spawn(request(Arc::clone(&world), 0, false, polls, deed));
                world.lead(lead, deed, [0, 0]).await;
                waiting.await.unwrap();
                world.is_empty_again();
            });
        });
        assert!(orders > 100, "{orders} orders");
    }
}

#[test]
fn one_takes_over_in_every_order() {
    let orders = exhaust(|| {
        block_on(async {
            let world = World::new();
            let old = world.first();
            let (theirs, refused) = (Arc::clone(&world), Arc::clone(old.flight()));
            let late = spawn(async move {
                let joined = theirs.join(true, |flight| Arc::ptr_eq(flight, &refused));
                let Some(Joined::Leads(lead)) = joined else { panic!("there was another flight") };
                // Whatever has become of the old one.
                let wait = theirs.waits();
                assert!(Arc::ptr_eq(wait.flight(), lead.flight()));
                theirs.land(lead.flight());
                assert_eq!(theirs.wait(wait, None).await, Some(Ok(2)));
            });
            drop(old);
            late.await.unwrap();
            world.is_empty_again();
        });
    });
    assert!(orders > 100, "{orders} orders");
}

#[test]
fn one_of_those_who_come_leads() {
    explore(12_000, || {
        block_on(async {
            let world = World::new();
            let arrived = Arc::new(Gate::new(4));
            let tasks = (0..4).map(|_| {
                let (world, arrived, delay) = (Arc::clone(&world), Arc::clone(&arrived), below(3));
                // The leader lands before, while or after the others come, and stays until all are there.
                let lands_first = one_in(2);
                spawn(async move {
                    pause(delay).await;
                    let joined = world.join(true, |_| false);
                    arrived.arrive();
                    match joined {
                        Some(Joined::Leads(lead)) => {
                            if lands_first {
                                world.land(lead.flight());
                            }
                            arrived.passed().await;
                            world.land(lead.flight());
                        }
                        Some(Joined::Waits(wait)) => assert_eq!(world.wait(wait, None).await, Some(Ok(1))),
                        None => panic!("it may lead"),
                    }
                })
            });
            all(tasks.collect()).await;
            assert_eq!(note(&world.notes).leads, 1);
            world.is_empty_again();
        });
    });
}

#[test]
fn at_the_limit_one_takes_over() {
    explore(15_000, || {
        block_on(async {
            let world = World::new();
            let lead = world.first();
            let late = Arc::new(Gate::new(3));
            let waits: Vec<_> = (0..3).map(|_| world.waits()).collect();
            let tasks = waits.into_iter().map(|wait| {
                let (world, late, patience) = (Arc::clone(&world), Arc::clone(&late), below(3));
                spawn(async move {
                    let old = Arc::clone(wait.flight());
                    if world.wait(wait, Some(patience)).await.is_some() {
                        late.arrive();
                        return;
                    }
                    let joined = world.join(true, |other| Arc::ptr_eq(other, &old));
                    late.arrive();
                    match joined {
                        Some(Joined::Leads(lead)) => {
                            late.passed().await;
                            world.land(lead.flight());
                        }
                        Some(Joined::Waits(wait)) => assert_eq!(world.wait(wait, None).await, Some(Ok(2))),
                        None => panic!("it may lead"),
                    }
                })
            });
            let tasks = tasks.collect();
            // The first flight ends whenever it does.
            world.lead(lead, any(&[Deed::Land, Deed::Leave, Deed::End(Over::Failed)]), [below(5), below(5)]).await;
            all(tasks).await;
            assert!(note(&world.notes).leads <= 2);
            world.is_empty_again();
        });
    });
}

#[test]
fn a_leader_hears_that_nobody_waits() {
    explore(12_000, || {
        block_on(async {
            let world = World::new();
            let lead = world.first();
            let tasks = (0..3).map(|_| {
                let (world, polls) = (Arc::clone(&world), below(3));
                let wait = world.waits();
                spawn(async move { assert_eq!(world.wait(wait, Some(polls)).await, None) })
            });
            let tasks = tasks.collect();
            poll_fn(|cx| lead.flight().poll_deserted(cx)).await;
            assert_eq!(lead.flight().waiting(), 0);
            drop(lead);
            all(tasks).await;
            world.is_empty_again();
        });
    });
}

#[test]
fn a_leader_works_until_nobody_waits() {
    explore(12_000, || {
        block_on(async {
            let world = World::new();
            let lead = world.first();
            let wait = world.waits();
            let (theirs, patience) = (Arc::clone(&world), some_cut());
            let mut tasks = vec![spawn(async move {
                let _ = theirs.wait(wait, patience).await;
            })];
            tasks.extend((0..2).map(|_| spawn(request(Arc::clone(&world), below(3), false, some_cut(), Deed::Leave))));
            let flight = Arc::clone(lead.flight());
            let mut work = Box::pin(world.lead(lead, Deed::Land, [below(6), 0]));
            poll_fn(|cx| if flight.poll_deserted(cx).is_ready() { Poll::Ready(()) } else { work.as_mut().poll(cx) })
                .await;
            // Given up, or done: its flight ends with it.
            drop(work);
            all(tasks).await;
            world.is_empty_again();
        });
    });
}

#[test]
fn one_who_waits_may_go_on_in_another_task() {
    explore(9_000, || {
        block_on(async {
            let world = World::new();
            let lead = world.first();
            let wait = world.waits();
            let before = spawn(async move {
                let mut wait = wait;
                let polled = poll_fn(|cx| Poll::Ready(pin!(&mut wait).poll(cx))).await;
                (wait, polled.is_ready())
            });
            let theirs = Arc::clone(&world);
            let after = spawn(async move {
                let (wait, ready) = before.await.unwrap();
                if !ready {
                    theirs.wait(wait, None).await;
                }
            });
            world.lead(lead, any(&[Deed::Land, Deed::Leave, Deed::End(Over::Failed)]), [below(3), 0]).await;
            after.await.unwrap();
            world.is_empty_again();
        });
    });
}

#[test]
fn wakers_are_dropped_under_no_lock() {
    exhaust(|| {
        let world = World::new();
        let lead = world.first();
        let wait = world.waits();
        let mut wait = Box::pin(wait);
        let busy = || {
            let (world, flight) = (Arc::clone(&world), Arc::clone(lead.flight()));
            waker_that(move || assert!(world.flights.len() + flight.waiting() > 0))
        };
        for _ in 0..2 {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&busy())).is_pending());
            assert!(lead.flight().poll_deserted(&mut Context::from_waker(&busy())).is_pending());
        }
        drop(wait);
        drop(lead);
    });
}
