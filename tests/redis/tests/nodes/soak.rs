//! Three nodes over one Redis for a while, with everything going wrong at once. Some seconds; ten minutes with
//! `LARDER_SOAK=long`.

use crate::support::{Answer, Node, Setup, full, millis, now, secs};
use http::{Request, Response, StatusCode};
use larder::{Cache, Identity, Policy, Redis, Selector};
use larder_redis_tests::{Close, Fault, Proxy, Server, Way, until};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::Instant;

const PATHS: usize = 20;
const TENANTS: usize = 3;
const USERS: usize = 3;
const BOUND: Duration = secs(1);
const ISOLATION: Duration = secs(2);

/// What is so, and since when everybody has to know.
#[derive(Default)]
struct Truth {
    versions: [AtomicU64; PATHS],
    /// Path, version, node, and when its purge was confirmed.
    purged: Mutex<Vec<(usize, u64, usize, Instant)>>,
    asked: AtomicUsize,
    own_failures: AtomicUsize,
    checked: AtomicUsize,
}

/// A generator for one task, so that what is done is the same again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// The answer tells whose it is, and of which version. Some fail.
fn answers(truth: &Arc<Truth>) -> Answer {
    let truth = Arc::clone(truth);
    Arc::new(move |request, call| {
        let identity = request.extensions().get::<Identity>().unwrap();
        let (tenant, user) = (identity.get("tenant").unwrap().to_owned(), identity.get("user").unwrap().to_owned());
        let path = request.uri().path().to_owned();
        let number: usize = path[1..].parse().unwrap();
        let version = truth.versions[number].load(SeqCst);
        Box::pin(async move {
            tokio::time::sleep(millis(call as u64 % 4)).await;
            let mut answer = Response::new(full(format!("{tenant} {user} {path} {version}")));
            if call % 40 == 0 {
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                answer.headers_mut().insert("x-own", "1".parse().unwrap());
            }
            answer
        })
    })
}

async fn ask(node: &Node, number: usize, truth: &Truth, dice: &mut Dice) {
    let (tenant, user, path) = (dice.roll(TENANTS), dice.roll(USERS), dice.roll(PATHS));
    let identity = Identity::new().with_tenant(tenant).with_user(user);
    let start = now();
    let request = node.send(Request::get(format!("/{path}")).extension(identity));
    truth.asked.fetch_add(1, SeqCst);
    // A fifth of the clients go away.
    let patience = if dice.roll(5) == 0 { Duration::from_micros(dice.roll(3000) as u64) } else { secs(20) };
    let Ok(got) = tokio::time::timeout(patience, request).await else {
        assert!(patience < secs(20), "nobody waits for ever");
        return;
    };
    if got.status != StatusCode::OK {
        assert_eq!(got.header("x-own"), "1", "only the service fails, not the cache: {got:?}");
        truth.own_failures.fetch_add(1, SeqCst);
        return;
    }
    let words: Vec<&str> = got.body.split(' ').collect();
    let owner = [tenant.to_string(), user.to_string(), format!("/{path}")];
    assert_eq!(words[..3], owner, "somebody else's: {got:?}");
    let version: u64 = words[3].parse().unwrap();
    let purged = truth.purged.lock().unwrap();
    for (_, purged, by, at) in purged.iter().filter(|(other, ..)| *other == path) {
        let known = if *by == number { *at } else { *at + BOUND + ISOLATION };
        if known < start {
            assert!(version >= *purged, "version {version} of /{path}, after {purged} was confirmed: {got:?}");
            truth.checked.fetch_add(1, SeqCst);
        }
    }
}

async fn purge(node: &Node, number: usize, truth: &Truth, dice: &mut Dice) {
    let path = dice.roll(PATHS);
    let version = truth.versions[path].fetch_add(1, SeqCst) + 1;
    if node.cache.invalidate(Selector::tag(format!("t{path}"))).await.is_ok() {
        let mut purged = truth.purged.lock().unwrap();
        // The last confirmed one of each node is enough.
        purged.retain(|(other, _, by, at)| *other != path || *by != number || now() - *at < secs(5));
        purged.push((path, version, number, now()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_and_nothing_is_left() {
    let long = std::env::var("LARDER_SOAK").is_ok_and(|how| how == "long");
    let (span, restarts) = if long { (secs(600), 20) } else { (secs(10), 2) };
    let mut server = Server::standalone().await;
    let truth = Arc::new(Truth::default());
    let policy = || {
        Policy::fresh_for(secs(1))
            .stale_while_revalidate(secs(1))
            .stale_if_error(secs(30))
            .per_user()
            .tag_with(|request, _| [format!("t{}", &request.uri.path()[1..])])
    };
    let mut nodes = Vec::new();
    let mut proxies = Vec::new();
    for seed in 0..3 {
        let proxy = Proxy::to(server.address());
        let redis = Redis::open(proxy.url()).unwrap().budget(millis(100));
        let builder = |builder: larder::CacheBuilder| builder.coherence_bound(BOUND).isolation(ISOLATION);
        nodes.push(Setup::over(redis, policy()).answer(answers(&truth)).builder(builder).start().await);
        proxy.set(Fault::Delay { way: Way::ToClient, by: millis(5), jitter: millis(50), seed });
        proxies.push(proxy);
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for task in 0..24_u64 {
        let (nodes, truth, over) = (nodes.clone(), Arc::clone(&truth), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            let mut dice = Dice(task * 7919 + 1);
            while !over.load(SeqCst) {
                let number = dice.roll(nodes.len());
                if task < 2 {
                    purge(&nodes[number], number, &truth, &mut dice).await;
                    tokio::time::sleep(millis(20)).await;
                } else {
                    ask(&nodes[number], number, &truth, &mut dice).await;
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    let mut dice = Dice(99);
    for restart in 0..restarts * 4 {
        tokio::time::sleep(span / (restarts * 4)).await;
        match restart % 4 {
            1 => proxies[dice.roll(3)].cut(Close::Rst).await,
            3 => {
                server.stop();
                tokio::time::sleep(millis(300)).await;
                server.start().await;
            }
            _ => {}
        }
    }
    over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    proxies.iter().for_each(Proxy::clear);
    for node in &nodes {
        let stats = || node.cache.stats();
        until("nothing is under way", async || {
            let stats = stats();
            stats.fills == 0 && stats.background == 0 && stats.writes_waiting == 0 && stats.log.unwrap().waiting == 0
        })
        .await;
    }
    let (asked, checked) = (truth.asked.load(SeqCst), truth.checked.load(SeqCst));
    assert!(asked > 1000 && checked > 100, "{asked} requests, {checked} checks");
    // Connections are those of three nodes that have just begun, and end with them.
    until("connections", async || proxies.iter().all(|proxy| proxy.counts().open <= 3)).await;
    let caches: Vec<Cache> = nodes.iter().map(|node| node.cache.clone()).collect();
    drop(nodes);
    for cache in caches {
        assert_eq!(cache.shutdown(secs(5)).await.aborted, 0);
    }
    until("no connections", async || proxies.iter().all(|proxy| proxy.counts().open == 0)).await;
}
