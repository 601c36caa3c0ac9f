//! Many requests at once for what is not in the cache, on a real runtime and in real time.
//!
//! ```sh
//! cargo bench -p larder-benches --bench stampede            # everything
//! cargo bench -p larder-benches --bench stampede -- purge   # what has one of these words in its name: misses, purge,
//!                                                           # uncacheable
//! ```
//!
//! Fails if a promise is broken: another number of fills than there are things to fill, or more of them at once than the
//! fill limit. Times are printed and nothing more: they depend on the machine.
#![allow(clippy::print_stdout, reason = "benches print what they measure")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod handler;

use bytes::Bytes;
use handler::{Frames, Handler};
use http::{
    Request, Response, StatusCode, Uri,
    header::{ACCEPT_LANGUAGE, CACHE_CONTROL, HeaderValue, VARY},
};
use http_body::Body;
use http_body_util::Full;
use larder::{Cache, CacheLayer, CacheService, Policy, Selector};
use larder_benches::{
    is_wanted,
    random::Random,
    requests::{NoBody, Requests},
    work::item,
};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_layer::Layer;
use tower_service::Service;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    let all = async {
        let mut kept = true;
        if is_wanted("misses") {
            kept &= one_key().await;
            kept &= streaming().await;
            kept &= variants().await;
        }
        if is_wanted("purge") {
            kept &= purge(Some(FILL_LIMIT)).await;
            kept &= purge(None).await;
        }
        if is_wanted("uncacheable") {
            uncacheable().await;
        }
        kept
    };
    match runtime.block_on(async { timeout(Duration::from_secs(120), all).await }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) => {
            println!("BROKEN: it hangs");
            ExitCode::FAILURE
        }
    }
}

async fn one_key() -> bool {
    let handler = Handler::new(|_| async {
        sleep(HANDLER).await;
        Response::new(Full::new(PAGE))
    });
    let all = at_once(&cached(&cache(), &handler), |_| Requests::of_a_browser()).await;
    let (fills, took) = (handler.calls.made(), ms(all.last_byte(1.0)));
    println!("1 000 concurrent misses of one key = {} ({took} ms; {HANDLER_TAKES})", said(fills));
    all.are_whole(PAGE.len()) & is_kept(fills == 1, "one fill for one key")
}

async fn streaming() -> bool {
    let handler = Handler::new(|_| async {
        sleep(HANDLER).await;
        Response::new(Frames::new())
    });
    let all = at_once(&cached(&cache(), &handler), |_| Requests::of_a_browser()).await;
    let (fills, first, took) = (handler.calls.made(), all.first_byte(0.5), all.last_byte(1.0));
    println!(
        "1 000 concurrent misses of 1 MiB that is streamed = {} (first byte after {} ms, at the slowest {} ms; last byte \
         after {} ms; {HANDLER_TAKES}, then sends 64 KiB each {} ms, the last after {} ms)",
        said(fills),
        ms(first),
        ms(all.first_byte(1.0)),
        ms(took),
        ms(Frames::EACH),
        ms(HANDLER + Frames::EACH * Frames::COUNT),
    );
    all.are_whole(Frames::LENGTH) & is_kept(fills == 1, "one fill for one key that is streamed")
}

async fn variants() -> bool {
    let handler = Handler::new(|request: Request<NoBody>| async move {
        sleep(HANDLER).await;
        let language = request.headers()[ACCEPT_LANGUAGE].as_bytes();
        let mut response = Response::new(Full::new(Bytes::from([language, &PAGE].concat())));
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept-language"));
        response
    });
    let languages = ["de", "en", "fr"].map(|language| Requests::bare().and("accept-language", language));
    let all = at_once(&cached(&cache(), &handler), |number| languages[number % 3].clone()).await;
    let (fills, took) = (handler.calls.made(), ms(all.last_byte(1.0)));
    println!(
        "1 000 concurrent misses of 3 variants of one key = {} ({took} ms: the first answer tells that there are variants; \
         {HANDLER_TAKES})",
        said(fills),
    );
    all.are_whole(PAGE.len() + 2) & is_kept(fills == 3, "one fill for each variant")
}

/// A hot set is invalidated under load.
async fn purge(limit: Option<usize>) -> bool {
    let mut builder = Cache::builder();
    if let Some(limit) = limit {
        builder = builder.fill_limit(limit);
    }
    let cache = builder.build().expect("a cache");
    let handler = Handler::new(|_| async {
        sleep(Duration::from_millis(20)).await;
        Response::new(Full::new(PAGE))
    });
    let load = Load::on(&cached(&cache, &handler));
    if !is_kept(load.until_warm().await, "the hit ratio comes up to 99 %") {
        return false;
    }
    handler.calls.forget();
    let purged = load.started.elapsed();
    cache.invalidate(Selector::everything()).await.expect("a selector");
    sleep(Duration::from_secs(2)).await;
    let (fills, most, back) = (handler.calls.made(), handler.calls.most(), load.back_after(purged));
    let (rate, refused) = (load.rate_before(purged), load.refused.load(Relaxed));
    load.stop().await;
    println!(
        "5 000 keys purged under {} requests/s of 64 clients, {}: hit ratio over 99 % again {}, {} fills, at most {most} at \
         once (the handler takes 20 ms)",
        grouped(rate),
        limit.map_or("no fill limit".to_owned(), |limit| format!("fill limit {limit}")),
        back.map_or("not within 2 s".to_owned(), |back| format!("after {} ms", ms(back))),
        grouped(fills),
    );
    is_kept(back.is_some(), "the hit ratio comes back")
        & is_kept(refused == 0, "nobody is refused who waits less than the wait limit")
        & is_kept(limit.is_none_or(|limit| most <= limit), "no more fills at once than the limit")
}

/// Requests of 64 clients, each with 16 at a time as over HTTP/2, which ask for any of the hot keys and pause 10 ms.
struct Load {
    started: Instant,
    /// Requests and hits in each [`SLICE`].
    slices: Arc<[[AtomicU64; 2]]>,
    refused: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    fn on<S, B>(service: &S) -> Self
    where
        S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send,
    {
        let started = Instant::now();
        let slices: Arc<[[AtomicU64; 2]]> = (0..500).map(|_| Default::default()).collect();
        let (refused, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for seed in 0..64 * 16 {
            let (slices, refused, ends) = (Arc::clone(&slices), Arc::clone(&refused), Arc::clone(&ends));
            let (mut service, requests, mut random) = (service.clone(), Requests::of_a_browser(), Random::seeded(seed));
            tasks.spawn(async move {
                while !ends.load(Relaxed) {
                    sleep(Duration::from_micros(5_000 + random.below(10_000))).await;
                    let Ok(response) = service.call(requests.get(item(random.below(5_000)))).await;
                    let hit = response.headers().get("cache-status").is_some_and(|said| said == "larder; hit");
                    if let Some([asked, hits]) = slices.get(Self::slice(started.elapsed())) {
                        asked.fetch_add(1, Relaxed);
                        hits.fetch_add(u64::from(hit), Relaxed);
                    }
                    refused.fetch_add(u64::from(response.status() != StatusCode::OK), Relaxed);
                }
            });
        }
        Self { started, slices, refused, ends, tasks }
    }

    /// The slice of this moment.
    fn slice(moment: Duration) -> usize {
        (moment.as_nanos() / SLICE.as_nanos()) as usize
    }

    fn is_warm(&self, slice: usize) -> bool {
        let [asked, hits] = self.slices[slice].each_ref().map(|count| count.load(Relaxed));
        asked > 0 && hits * 100 > asked * 99
    }

    /// Waits until almost all requests have been hits for a while.
    async fn until_warm(&self) -> bool {
        for _ in 0..200 {
            sleep(SLICE).await;
            let now = Self::slice(self.started.elapsed());
            if now > 20 && (now - 10..now).all(|slice| self.is_warm(slice)) {
                return true;
            }
        }
        false
    }

    /// How long after this moment the hit ratio is over 99 % and stays there.
    fn back_after(&self, purged: Duration) -> Option<Duration> {
        let (first, now) = (Self::slice(purged), Self::slice(self.started.elapsed()));
        let last_cold = (first..now).rev().find(|slice| !self.is_warm(*slice)).unwrap_or(first);
        (last_cold + 1 < now).then(|| SLICE * (last_cold as u32 + 1) - purged)
    }

    /// Requests in a second, before this moment.
    fn rate_before(&self, moment: Duration) -> usize {
        let end = Self::slice(moment);
        let asked: u64 = self.slices[end - 10..end].iter().map(|[asked, _]| asked.load(Relaxed)).sum();
        (asked as f64 / (10.0 * SLICE.as_secs_f64())) as usize
    }

    async fn stop(mut self) {
        self.ends.store(true, Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A route whose answers say `no-store`, through the layer and without it.
async fn uncacheable() {
    let handler = Handler::new(|_| async {
        sleep(Duration::from_millis(5)).await;
        let mut response = Response::new(Full::new(PAGE));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    });
    let service = cached(&cache(), &handler);
    let first = at_once(&service, |_| Requests::of_a_browser()).await;
    let second = at_once(&service, |_| Requests::of_a_browser()).await;
    println!(
        "1 000 concurrent requests for no-store, met for the first time: {} ms; the next 1 000: {} ms (the handler takes 5 ms)",
        ms(first.last_byte(1.0)),
        ms(second.last_byte(1.0))
    );
    let (mut with, mut without, mut ratios) = (Answers::default(), Answers::default(), Vec::new());
    for round in 0..11 {
        let (one, other) = if round % 2 == 0 {
            let one = keep_asking(&service).await;
            (one, keep_asking(&handler).await)
        } else {
            let other = keep_asking(&handler).await;
            (keep_asking(&service).await, other)
        };
        // The first round makes room and wakes threads.
        if round > 0 {
            ratios.push(one.0.len() as f64 / other.0.len() as f64);
            with.0.extend(one.0);
            without.0.extend(other.0);
        }
    }
    ratios.sort_unstable_by(f64::total_cmp);
    for (name, answers) in [("through the layer", with), ("without it", without)] {
        let rate = answers.0.len() as f64 / (ratios.len() as f64 * TURN.as_secs_f64());
        let [half, most] = [0.5, 0.99].map(|part| answers.part(part).as_secs_f64() * 1e3);
        println!(
            "no-store under 1 000 concurrent requests {name}: {} requests/s, p50 {half:.1} ms, p99 {most:.1} ms",
            grouped(rate as usize)
        );
    }
    println!("ratio no-store larder:bare = {:.2} (requests/s)", ratios[ratios.len() / 2]);
}

/// How long requests took.
#[derive(Default)]
struct Answers(Vec<Duration>);

impl Answers {
    fn part(&self, part: f64) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        times[((times.len() - 1) as f64 * part) as usize]
    }
}

/// 1 000 clients ask again as soon as they are answered.
async fn keep_asking<S, B>(service: &S) -> Answers
where
    S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Send> + Send,
{
    let mut tasks = JoinSet::new();
    let end = Instant::now() + TURN;
    for _ in 0..1_000 {
        let (mut service, requests) = (service.clone(), Requests::of_a_browser());
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let asked = Instant::now();
                let Ok(response) = service.call(requests.get(Uri::from_static("/now"))).await;
                read(response.into_body(), || {}).await;
                let now = Instant::now();
                if now >= end {
                    return times;
                }
                times.push(now - asked);
            }
        });
    }
    Answers(tasks.join_all().await.concat())
}

/// What came of 1 000 requests that were made at once.
struct AtOnce(Vec<Answered>);

struct Answered {
    first_byte: Duration,
    last_byte: Duration,
    bytes: usize,
}

impl AtOnce {
    fn first_byte(&self, part: f64) -> Duration {
        Answers(self.0.iter().map(|answered| answered.first_byte).collect()).part(part)
    }

    fn last_byte(&self, part: f64) -> Duration {
        Answers(self.0.iter().map(|answered| answered.last_byte).collect()).part(part)
    }

    fn are_whole(&self, bytes: usize) -> bool {
        is_kept(
            self.0.len() == 1_000 && self.0.iter().all(|answered| answered.bytes == bytes),
            "all get the whole body",
        )
    }
}

async fn at_once<S, B>(service: &S, requests: impl Fn(usize) -> Requests) -> AtOnce
where
    S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Send> + Send,
{
    let start = Arc::new(Barrier::new(1_000));
    let mut tasks = JoinSet::new();
    for number in 0..1_000 {
        let (mut service, start) = (service.clone(), Arc::clone(&start));
        let request = requests(number).get(Uri::from_static("/products/7"));
        tasks.spawn(async move {
            start.wait().await;
            let started = Instant::now();
            let Ok(response) = service.call(request).await;
            let mut first_byte = None;
            let bytes = read(response.into_body(), || {
                first_byte.get_or_insert_with(|| started.elapsed());
            });
            let bytes = bytes.await;
            let last_byte = started.elapsed();
            Answered { first_byte: first_byte.unwrap_or(last_byte), last_byte, bytes }
        });
    }
    AtOnce(tasks.join_all().await)
}

/// Reads a body, and tells its length; nothing of it counts if it breaks off.
async fn read<B: Body<Data = Bytes>>(body: B, mut each: impl FnMut()) -> usize {
    let (mut body, mut length) = (pin!(body), 0);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(frame) = frame else { return 0 };
        each();
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

fn cache() -> Cache {
    Cache::in_memory(64 << 20)
}

fn cached<S: Clone>(cache: &Cache, handler: &S) -> CacheService<S> {
    CacheLayer::new(cache, Policy::fresh_for(Duration::from_secs(3600))).layer(handler.clone())
}

fn is_kept(kept: bool, promise: &str) -> bool {
    if !kept {
        println!("BROKEN: {promise}");
    }
    kept
}

fn said(fills: usize) -> String {
    if fills == 1 { "1 fill".to_owned() } else { format!("{} fills", grouped(fills)) }
}

fn ms(span: Duration) -> u128 {
    span.as_millis()
}

fn grouped(number: usize) -> String {
    if number < 1_000 { number.to_string() } else { format!("{} {:03}", number / 1_000, number % 1_000) }
}

const HANDLER: Duration = Duration::from_millis(50);
const HANDLER_TAKES: &str = "the handler takes 50 ms";
const PAGE: Bytes = Bytes::from_static(&[b'x'; 1024]);
const FILL_LIMIT: usize = 200;
/// Hit ratios are those of spans of this length.
const SLICE: Duration = Duration::from_millis(20);
/// How long those ask by turns that are compared.
const TURN: Duration = Duration::from_millis(700);
