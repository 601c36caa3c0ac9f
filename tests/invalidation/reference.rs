//! The whole of invalidation against a naive reference: requests of several tenants for several things, held or not, with
//! whatever can end their use in between. Nobody who asks after an invalidation has returned gets what was begun before it;
//! what nothing has selected stays.
//!
//! `PROPTEST_CASES=10000` tries more.

use crate::{
    events::{Check, Events, Fill, Kind, PLACES, Place, Selected, Thing, Tick, What, Within},
    shop::{Answer, Desk},
    steps::{Changes, Hold, Step, Way, step, who},
    support::{Down, Got, HOUR, Script, settle},
};
use http::{Method, Request, header::IF_NONE_MATCH, request};
use larder::{
    Cache, CacheLayer, CacheService, Changing, Dependencies, Identity, Invalidates, Policy, Selector, Value,
    test_util::{self, ManualClock},
};
use proptest::prelude::*;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};
use tower::{Layer, ServiceExt};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() })]
    #[test]
    fn as_a_list_of_all_that_has_happened_would_have_it(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let played = runtime.block_on(play(&steps));
        prop_assert!(played.is_ok(), "{}\n{steps:?}", played.unwrap_err());
    }
}

/// `Team` changes with it what `People` does; who knows an asset knows more.
fn dependencies() -> Dependencies {
    Dependencies::new()
        .tags("People", ["item:{id}", "list"])
        .names("Team", ["People"])
        .selectors("Asset", |_| async { vec![Selector::tag("x").soft(), Selector::resource("/a").within(2)] })
}

/// The same, for the list of events.
fn changed(name: &'static str, tenant: Option<&'static str>, id: Option<&str>) -> Vec<Selected> {
    let item = id.map_or("item:*".to_owned(), |id| format!("item:{id}"));
    let more = match name {
        "People" => vec![Selected::all(What::Tag(item)), Selected::all(What::Tag("list".to_owned()))],
        "Team" => changed("People", tenant, None),
        "Asset" => vec![
            Selected { soft: true, ..Selected::all(What::Tag("x".to_owned())) },
            Selected { within: Within::Tenant("2"), ..Selected::all(What::Resource(PLACES[0])) },
        ],
        _ => vec![],
    };
    let all = [Selected::all(What::Name(name))].into_iter().chain(more);
    all.flat_map(|selected| selected.narrowed_to(tenant)).collect()
}

static RATE: Value<usize> = Value::named("rate")
    .fresh_for(Duration::from_secs(Kind::Rate.lifetime().0))
    .per_tenant()
    .tags(&["x", "rate:gold"])
    .depends_on(&["Asset"])
    .wait_limit(Duration::from_secs(3_600_000));

fn policy(kind: Kind) -> Policy {
    let (lifetime, window) = kind.lifetime();
    let (lifetime, window) = (Duration::from_secs(lifetime), Duration::from_secs(window));
    let policy = Policy::named(kind.name()).fresh_for(lifetime).wait_limit(1000 * HOUR);
    match kind {
        Kind::List => policy.stale_while_revalidate(window).tags(["list"]).depends_on(["People"]),
        Kind::Shop => policy.per_tenant(),
        _ => {
            let path = |request: &request::Parts, _: &http::response::Parts| {
                [format!("path:{}", request.uri.path_and_query().unwrap())]
            };
            policy.stale_if_error(window).shared().tag_with(path).depends_on(["Asset"])
        }
    }
}

/// What happens, and what is to happen next.
#[derive(Default)]
struct State {
    events: Events,
    next: Option<(Hold, Way)>,
    changes: Option<Changes>,
    held: Vec<(Held, Arc<Notify>)>,
}

enum Held {
    Fill(usize),
    Check(usize),
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer(&self, kind: Kind, request: &request::Parts) -> Answer {
        let state = &mut *self.lock();
        if request.method != Method::GET {
            let Changes { status, location, group, says } = state.changes.take().expect("it was said before");
            let says = Invalidates::new(says.iter().map(Selected::selector));
            let answer = Answer::status(status, "").saying(says);
            let answer = group
                .iter()
                .fold(answer, |answer, name| answer.with("cache-group-invalidation", format!("\"{name}\"")));
            return location.iter().fold(answer, |answer, to| answer.with("location", to));
        }
        let (hold, way) = state.next.take().unwrap_or((Hold::No, Way::New));
        let thing = thing(kind, request);
        let gate = Arc::new(Notify::new());
        let asked =
            request.headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().unwrap().trim_matches('"').parse().ok());
        if let Some(of) = asked.filter(|_| way == Way::Same) {
            let span = state.events.span(hold != Hold::No, hold != Hold::No);
            state.events.checks.push(Check { of, span });
            let answer = Answer::status(304, "").with("etag", format!("\"{of}\""));
            if hold == Hold::No {
                return answer;
            }
            state.held.push((Held::Check(state.events.checks.len() - 1), Arc::clone(&gate)));
            return answer.gate(&gate);
        }
        let (number, failed) = (state.events.fills.len(), way == Way::Fails);
        let alone = failed || kind.keyed(&identity(request)).is_none();
        let span = state.events.span(hold == Hold::Head, hold != Hold::No);
        let (text, tags, groups) = (number.to_string(), thing.tags(number), thing.place.groups());
        let handler_tags = thing.handler_tags(number);
        let varies = thing.lang.is_some();
        state.events.fills.push(Fill { thing, tags, span, alone });
        if hold != Hold::No {
            state.held.push((Held::Fill(number), Arc::clone(&gate)));
        }
        let answer = if failed { Answer::status(500, &text) } else { Answer::ok(&text).saying(handler_tags) };
        let answer = groups.iter().fold(answer, |answer, name| answer.with("cache-groups", format!("\"{name}\"")));
        let answer = if varies { answer.with("vary", "x-lang") } else { answer };
        // Two of the kinds can be asked whether what they have still holds.
        let answer = if kind == Kind::Shop { answer } else { answer.with("etag", format!("\"{number}\"")) };
        let body = Script::new().wait(&gate).data(text.clone());
        match hold {
            Hold::No => answer,
            Hold::Head => answer.gate(&gate),
            Hold::Body => answer.body(body),
            Hold::Declared => answer.body(body.exact(text.len() as u64)),
        }
    }

    /// One of those that are held comes.
    fn release(&self, number: usize) {
        let state = &mut *self.lock();
        if state.held.is_empty() {
            return;
        }
        let number = number % state.held.len();
        let (held, gate) = state.held.remove(number);
        let events = &mut state.events;
        let (ended, now) = (events.tick(), events.now);
        let span = match held {
            Held::Fill(number) => &mut events.fills[number].span,
            Held::Check(number) => &mut events.checks[number].span,
        };
        span.ended = Some(ended);
        span.headed.get_or_insert(now);
        gate.notify_one();
    }
}

fn identity(request: &request::Parts) -> Identity {
    request.extensions.get::<Identity>().cloned().unwrap_or_default()
}

/// What a request is for.
fn thing(kind: Kind, request: &request::Parts) -> Thing {
    let host = request.headers.get("host").map(|host| host.to_str().unwrap());
    let path = request.uri.path_and_query().unwrap().as_str();
    let place = PLACES.into_iter().find(|place| place.host == host && place.path == path).expect("one of them");
    let lang = varies(place).then(|| request.headers.contains_key("x-lang"));
    Thing { kind, keyed: kind.keyed(&identity(request)).unwrap_or_default(), place, lang }
}

fn varies(place: Place) -> bool {
    matches!(place.path, "/a" | "/d")
}

/// A request or a load that was begun, and its answer.
struct Asked {
    thing: Thing,
    /// The policy wants more of the identity than there is.
    unknown: bool,
    /// When it was begun.
    start: (Tick, u64),
    answer: JoinHandle<Result<Got, usize>>,
}

struct World {
    cache: Cache,
    clock: ManualClock,
    shared: Shared,
    services: [CacheService<Desk>; 3],
    asked: Vec<Asked>,
}

async fn play(steps: &[Step]) -> Result<(), String> {
    let mut world = World::new();
    for (at, step) in steps.iter().enumerate() {
        world.step(step).await.map_err(|why| format!("step {at}: {why}"))?;
    }
    // All that was held comes, and then everybody asks for everything at once.
    while !world.shared.lock().held.is_empty() {
        world.step(&Step::Release(0)).await?;
    }
    if !world.asked.is_empty() {
        return Err(format!("{} are never answered", world.asked.len()));
    }
    let (kept, most) = (world.cache.stats().resources, world.shared.lock().events.most_kept());
    if kept > most as u64 {
        return Err(format!("{kept} are kept, where {most} were good when they came"));
    }
    for who in 0..5 {
        for place in PLACES {
            for kind in [Kind::List, Kind::Shop, Kind::All] {
                world.ask(kind, who, place, false);
                if varies(place) {
                    world.ask(kind, who, place, true);
                }
            }
            world.load(who, place, false);
        }
    }
    settle().await;
    world.answered().await.map_err(|why| format!("at the end: {why}"))?;
    let stats = world.cache.stats();
    if (stats.fills, stats.background) == (0, 0) { Ok(()) } else { Err(format!("something runs on: {stats:?}")) }
}

impl World {
    fn new() -> Self {
        let builder = Cache::builder().memory(4 << 20).namespace("shop").version("7").dependencies(dependencies());
        let (cache, clock) = test_util::cache_with(builder).unwrap();
        let shared = Shared::default();
        let services = [Kind::List, Kind::Shop, Kind::All].map(|kind| {
            let shared = shared.clone();
            CacheLayer::new(&cache, policy(kind)).layer(Desk::new(move |request, _| shared.answer(kind, request)))
        });
        Self { cache, clock, shared, services, asked: Vec::new() }
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask { kind, who, place, lang, hold, way } => {
                self.shared.lock().next = Some((*hold, *way));
                self.ask(*kind, *who, *place, *lang);
            }
            Step::Load { who, place, hold } => self.load(*who, *place, *hold != Hold::No),
            Step::Leave(number) if !self.asked.is_empty() => {
                let number = number % self.asked.len();
                let Asked { thing, answer, .. } = self.asked.remove(number);
                answer.abort();
                let events = &mut self.shared.lock().events;
                let left = events.tick();
                events.left.push((left, thing));
            }
            Step::Leave(_) => {}
            Step::Release(number) => self.shared.release(*number),
            Step::Invalidate(all) => {
                let told = self.cache.invalidate_many(all.iter().map(Selected::selector)).await;
                told.map_err(|error| error.to_string())?;
                self.shared.lock().events.record(all.clone());
            }
            Step::Others(many) => {
                for number in 0..*many {
                    let told = self.cache.invalidate(Selector::tag(format!("other-{number}"))).await;
                    told.map_err(|error| error.to_string())?;
                }
            }
            Step::Changed { name, tenant, id } => {
                let told = self.cache.changed(*name);
                let told = tenant.iter().fold(told, Changing::tenant);
                let told = id.iter().fold(told, Changing::id);
                told.await.map_err(|error| error.to_string())?;
                self.shared.lock().events.record(changed(name, *tenant, *id));
            }
            Step::Unsafe { who, place, answer } => self.change(*who, *place, answer).await,
            Step::Put { who, place } => self.put(*who, *place),
            Step::Remove { who, place } => self.remove(*who, *place),
            Step::Pass(secs) => {
                self.clock.advance(Duration::from_secs(*secs));
                self.shared.lock().events.now += secs;
            }
            Step::Sweep => {
                tokio::time::sleep(Duration::from_secs(31)).await;
                let events = &mut self.shared.lock().events;
                let sweep = events.tick();
                events.sweeps.push(sweep);
            }
        }
        settle().await;
        self.shared.lock().next = None;
        self.answered().await
    }

    fn start(&self) -> (Tick, u64) {
        let events = &mut self.shared.lock().events;
        (events.tick(), events.now)
    }

    fn ask(&mut self, kind: Kind, number: usize, place: Place, lang: bool) {
        let (identity, _) = who(number);
        let mut request = request(Method::GET, &identity, place);
        if lang {
            request.headers_mut().insert("x-lang", "fr".parse().unwrap());
        }
        let (head, body) = request.into_parts();
        let (thing, unknown) = (thing(kind, &head), kind.keyed(&identity).is_none());
        let service = self.services[kind as usize].clone();
        let answer = tokio::spawn(async move {
            let response = service.oneshot(Request::from_parts(head, body)).await;
            Ok(Got::read(response.map_err(|Down| usize::MAX)?).await)
        });
        self.asked.push(Asked { thing, unknown, start: self.start(), answer });
    }

    fn load(&mut self, number: usize, place: Place, held: bool) {
        let (identity, _) = who(number);
        let (cache, shared) = (self.cache.clone(), self.shared.clone());
        let thing = rate(&identity, place);
        let (start, unknown, loaded) = (self.start(), Kind::Rate.keyed(&identity).is_none(), thing.clone());
        let answer = tokio::spawn(async move {
            let call = cache.value(&RATE).for_identity(&identity).param("path", param(place));
            if let Some(text) = call.key_text() {
                shared.lock().events.texts.insert(loaded.clone(), text);
            }
            let load = async move || {
                let gate = Arc::new(Notify::new());
                let number = shared.lock().fill(loaded.clone(), held, unknown, &gate);
                if held {
                    gate.notified().await;
                }
                Ok::<_, Infallible>(number)
            };
            let number: Result<_, Infallible> = call.get_or_load(load).await;
            Err(number.map_or(usize::MAX, |number| *number))
        });
        self.asked.push(Asked { thing, unknown, start, answer });
    }

    fn put(&mut self, number: usize, place: Place) {
        let (identity, _) = who(number);
        let call = self.cache.value(&RATE).for_identity(&identity).param("path", param(place));
        let (thing, unknown) = (rate(&identity, place), Kind::Rate.keyed(&identity).is_none());
        let number = self.shared.lock().fill(thing, false, unknown, &Arc::default());
        call.put(number);
    }

    fn remove(&mut self, number: usize, place: Place) {
        let (identity, _) = who(number);
        self.cache.value(&RATE).for_identity(&identity).param("path", param(place)).remove();
        let only = Selected::all(What::Only(rate(&identity, place)));
        self.shared.lock().events.record([only]);
    }

    async fn change(&mut self, number: usize, place: Place, answer: &Changes) {
        let (identity, tenant) = who(number);
        self.shared.lock().changes = Some(answer.clone());
        let request = request(Method::POST, &identity, place);
        let response = self.services[number % 3].clone().oneshot(request).await.expect("an answer");
        drop(Got::read(response).await);
        if answer.status >= 400 {
            return;
        }
        let at = |path| Selected::all(What::Resource(Place { host: place.host, path }));
        let places = [place.path].into_iter().chain(answer.location).map(at);
        let groups = answer.group.iter().map(|name| Selected::all(What::Group(place.host, name)));
        let said = groups.chain(answer.says.iter().cloned());
        let said = said.flat_map(|selected| selected.narrowed_to(tenant));
        self.shared.lock().events.record(places.chain(said));
    }

    /// Looks at what has been answered by now.
    async fn answered(&mut self) -> Result<(), String> {
        let (done, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.asked).into_iter().partition(|asked| asked.answer.is_finished());
        self.asked = waiting;
        for asked in done {
            let Asked { thing, unknown, start, answer } = asked;
            let got = answer.await.map_err(|error| format!("{thing:?}: {error}"))?;
            let events = &mut self.shared.lock().events;
            let (number, outcome, loaded) = match &got {
                Ok(got) => {
                    if let Some(text) = key(got) {
                        events.texts.insert(thing.clone(), text);
                    }
                    (got.text().parse().unwrap_or(usize::MAX), got.outcome(), false)
                }
                Err(number) => (*number, "", true),
            };
            let story = |why: String| format!("{thing:?} from {start:?}: {number}, {outcome}: {why}");
            if unknown && events.fills.get(number).is_none_or(|fill| fill.span.began.0 < start.0) {
                return Err(story("not its own".to_owned()));
            }
            if unknown {
                continue;
            }
            events.may_have(&thing, number, start, (loaded || outcome == "hit", outcome == "stale")).map_err(story)?;
            if let Some(expected) = events.expected(&thing, start)
                && (number, loaded || outcome == "hit") != (expected, true)
            {
                return Err(story(format!("{expected} is there, and nothing has selected it")));
            }
        }
        Ok(())
    }
}

impl State {
    /// A value is made, not of a request.
    fn fill(&mut self, thing: Thing, held: bool, alone: bool, gate: &Arc<Notify>) -> usize {
        let number = self.events.fills.len();
        let (tags, span) = (thing.tags(number), self.events.span(held, held));
        self.events.fills.push(Fill { thing, tags, span, alone });
        if held {
            self.held.push((Held::Fill(number), Arc::clone(gate)));
        }
        number
    }
}

fn request(method: Method, identity: &Identity, place: Place) -> Request<Script> {
    let request = Request::builder().method(method).uri(place.path);
    let request = place.host.iter().fold(request, |request, host| request.header("host", *host));
    let mut request = request.body(Script::new()).unwrap();
    if !identity.is_empty() {
        request.extensions_mut().insert(identity.clone());
    }
    request
}

/// A value of the kind, by its parameter.
fn rate(identity: &Identity, place: Place) -> Thing {
    let keyed = Kind::Rate.keyed(identity).unwrap_or_default();
    Thing { kind: Kind::Rate, keyed, place, lang: None }
}

fn param(place: Place) -> String {
    format!("{}{}", place.host.unwrap_or_default(), place.path)
}

/// The key as `Cache-Status` has it.
fn key(got: &Got) -> Option<String> {
    let status = got.header("cache-status");
    let (_, key) = status.split_once("key=\"")?;
    Some(key.split_once('"')?.0.to_owned())
}
