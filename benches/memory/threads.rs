//! What a hit costs while another thread has hits of the same cache, beside what it costs alone.
//!
//! Both are measured by turns, and each time is the median of many, so that other work on the machine does little harm;
//! beside another thread only those count during which that one was at it too, and has got on.
//! What two cores can do at most is shown by threads that share nothing, what the response alone costs by threads that
//! clone the same ready one.

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;
use larder::{Cache, CacheLayer, Policy};
use larder_benches::{
    BATCH, Work,
    random::{Random, Zipf},
    requests::Requests,
    work,
    work::{Application, Cached, Prepared, call, item, read},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tower_layer::Layer;

/// Prints what becomes of a hit, in so many rounds.
pub(crate) fn compare(rounds: usize) {
    println!("a hit of 1 KiB alone, and while another thread does the same (goal: two threads do 1.8 times as much)");
    let service = filled();
    let ready = Arc::new((0..THINGS).map(|number| (item(number).path().to_owned(), copy(&service))).collect());
    let (one, zipf) = (Arc::new(copy(&service)), Arc::new(Zipf::new(THINGS as u32, 0.9)));
    let numbers = |seed| {
        let (zipf, mut random) = (Arc::clone(&zipf), Random::seeded(seed));
        move || zipf.draw(&mut random) as u64
    };
    let works: [(&str, [Running; 2]); 5] = [
        ("a ready response for each thread", [(); 2].map(|()| clones(Arc::new(copy(&service))))),
        ("the same ready response", [(); 2].map(|()| clones(Arc::clone(&one)))),
        ("ready responses in a map, Zipf", [1, 2].map(|seed| found(Arc::clone(&ready), numbers(seed)))),
        ("larder, one key", [(); 2].map(|()| hits(service.clone(), || 7))),
        ("larder, Zipf", [1, 2].map(|seed| hits(service.clone(), numbers(seed)))),
    ];
    for (name, mut pair) in works {
        let [mut alone, mut beside] = [(); 2].map(|()| Vec::with_capacity(rounds));
        // Rounds in which both had a core.
        for _ in 0..MOST * rounds {
            if beside.len() >= 2 * rounds {
                break;
            }
            alone.extend(run(&mut *pair[0], &Progress::default(), None));
            let (barrier, progress) = (Barrier::new(2), [(); 2].map(|()| Progress::default()));
            let [one, other] = &mut pair;
            let [of_one, of_other] = &progress;
            let both = thread::scope(|scope| {
                let other = scope.spawn(|| run(&mut **other, of_other, Some((&barrier, of_one))));
                [run(&mut **one, of_one, Some((&barrier, of_other))), other.join().expect("it does not panic")]
            });
            beside.extend(both.into_iter().flatten());
        }
        if beside.len() < rounds {
            println!("{name:<33} the machine is too busy");
            continue;
        }
        let (alone, beside) = (median(alone), median(beside));
        println!("{name:<33} {alone:>5.0} ns alone, {beside:>5.0} ns beside: {:.2} times", 2.0 * alone / beside);
    }
}

type Running = Box<dyn Work + Send>;

/// How far a thread is; odd while it has hits. Not in a line of the processor's caches that something else is in.
#[derive(Default)]
#[repr(align(128))]
struct Progress(AtomicU64);

/// Nanoseconds of one hit, for a while; none if the other thread has hardly run.
fn run(work: &mut dyn Work, own: &Progress, other: Option<(&Barrier, &Progress)>) -> Option<f64> {
    let mut times = Vec::new();
    let seen = || other.map(|(_, progress)| progress.0.load(Relaxed));
    if let Some((barrier, _)) = other {
        barrier.wait();
    }
    let started = Instant::now();
    while started.elapsed() < ROUND {
        let before = seen();
        work.prepare();
        own.0.fetch_add(1, Relaxed);
        let start = seen();
        let begun = Instant::now();
        work.run();
        let time = begun.elapsed();
        let end = seen();
        own.0.fetch_add(1, Relaxed);
        let has_hits = |count: Option<u64>| count.is_some_and(|count| count % 2 == 1);
        if other.is_none() || (end != before && (has_hits(start) || has_hits(end))) {
            times.push(time.as_secs_f64() * 1e9 / BATCH as f64);
        }
    }
    (times.len() >= ENOUGH).then(|| median(times))
}

/// A service in front of a full cache.
fn filled() -> Cached {
    let policy = Policy::fresh_for(Duration::from_secs(3600));
    let mut service = CacheLayer::new(&Cache::in_memory(1 << 30), policy).layer(Application::new(1024));
    let requests = Requests::of_a_browser();
    for number in 0..THINGS {
        read(call(&mut service, requests.get(item(number))).into_body());
    }
    service
}

/// The response of a hit, which shares nothing with it.
fn copy(service: &Cached) -> Prepared {
    let (head, body) = call(&mut service.clone(), Requests::of_a_browser().get(item(7))).into_parts();
    let mut response = Response::new(Full::new(Bytes::from(vec![b'x'; read(body)])));
    for (name, value) in &head.headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("it is one");
        response.headers_mut().append(name, value);
    }
    response
}

fn hits(mut service: Cached, mut number: impl FnMut() -> u64 + Send + 'static) -> Running {
    let requests = Requests::of_a_browser();
    Box::new(work(move || requests.get(item(number())), move |request| call(&mut service, request)))
}

fn clones(ready: Arc<Prepared>) -> Running {
    let requests = Requests::of_a_browser();
    Box::new(work(move || requests.get(item(7)), move |_| Prepared::clone(&ready)))
}

fn found(ready: Arc<HashMap<String, Prepared>>, mut number: impl FnMut() -> u64 + Send + 'static) -> Running {
    let requests = Requests::of_a_browser();
    let find = move |request: http::Request<_>| ready.get(request.uri().path()).cloned();
    Box::new(work(move || requests.get(item(number())), find))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

const THINGS: u64 = 100_000;
const ROUND: Duration = Duration::from_millis(40);

/// So many times make a median.
const ENOUGH: usize = 50;

/// So many times as many rounds are tried as are wanted.
const MOST: usize = 4;
