//! Requests that change something: groups (RFC 9875), `Invalidates`, and `InvalidateLayer`.

use crate::{
    shop::{Answer, Desk, Shop, of},
    support::{Down, HOUR, Script, settle, until},
};
use http::{Method, Request, request};
use larder::{
    Cache, CacheLayer, Dependencies, Identity, InvalidateLayer, Invalidates, Policy, Selector, Tags, test_util,
};
use std::sync::Arc;
use tokio::sync::Notify;
use tower::{Layer, ServiceExt};

fn at(method: &Method, host: &str, uri: &str) -> request::Builder {
    Request::builder().method(method).uri(uri).header("host", host)
}

/// GETs are in the groups that their query names; other methods end those that theirs names.
fn grouped() -> Shop {
    Shop::new(Policy::fresh_for(HOUR), |request, number| {
        let names = request.uri.query().unwrap_or_default().replace("%22", "\"");
        let status = if request.uri.path() == "/fails" { 400 } else { 200 };
        let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let field = if safe && request.uri.path() != "/says" { "cache-groups" } else { "cache-group-invalidation" };
        Answer::status(status, format!("v{number}")).with(field, names)
    })
}

#[tokio::test]
async fn groups_are_those_of_one_origin() {
    for (host, uri, who, gone) in [
        ("a.example", "/change?%22g%22", Identity::new(), ["miss", "miss", "hit", "miss", "hit"]),
        ("a.example", "/change?%22g%22;x=1", of("1"), ["miss", "miss", "hit", "hit", "hit"]),
        ("A.Example:80", "/change?%22no%22,%22g%22", of("2"), ["miss", "hit", "hit", "miss", "hit"]),
        ("b.example", "/change?%22g%22", Identity::new(), ["hit", "hit", "miss", "hit", "hit"]),
        ("a.example:8080", "/change?%22g%22", Identity::new(), ["hit"; 5]),
        ("a.example", "/change?%22G%22", Identity::new(), ["hit"; 5]),
        ("a.example", "/change?g", Identity::new(), ["hit"; 5]),
        ("a.example", "/fails?%22g%22", Identity::new(), ["hit"; 5]),
    ] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let shop = grouped();
            let all = [
                ("a.example", "/1?%22g%22", Identity::new()),
                ("a.example", "/2?%22f%22,%20%22g%22", of("1")),
                ("b.example", "/3?%22g%22", Identity::new()),
                ("a.example", "/4?%22g%22", of("2")),
                ("a.example", "/5?%22gg%22", Identity::new()),
            ];
            for (host, uri, who) in &all {
                let uri = uri.replace("%20", "");
                assert_eq!(shop.send(who, at(&Method::GET, host, &uri)).await.outcome(), "miss");
            }
            shop.send(&who, at(&method, host, uri)).await;
            for ((theirs, path, whose), gone) in all.iter().zip(gone) {
                let path = path.replace("%20", "");
                let outcome = shop.send(whose, at(&Method::GET, theirs, &path)).await.outcome();
                assert_eq!(outcome, gone, "{method} {host}{uri} by {who:?}: {theirs}{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_safe_method_ends_no_group() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let shop = grouped();
        shop.send(&Identity::new(), at(&Method::GET, "a", "/1?%22g%22")).await;
        shop.send(&Identity::new(), at(&method, "a", "/says?%22g%22")).await;
        assert_eq!(shop.send(&Identity::new(), at(&Method::GET, "a", "/1?%22g%22")).await.outcome(), "hit", "{method}");
    }
}

#[tokio::test]
async fn in_too_many_groups_it_is_not_stored() {
    for (count, outcome) in [(32, "hit"), (64, "hit"), (65, "miss")] {
        let shop = Shop::new(Policy::fresh_for(HOUR), move |_, _| {
            let names: Vec<_> = (0..count).map(|at| format!("\"{at:032}\"")).collect();
            Answer::ok("x").with("cache-groups", names.join(", "))
        });
        shop.get("/x").await;
        assert_eq!(shop.get("/x").await.outcome(), outcome, "{count}");
    }
}

fn inventory(request: &request::Parts, number: usize) -> Answer {
    match (&request.method, request.uri.path()) {
        (&Method::GET, _) => Answer::ok(format!("v{number}")).saying(Tags::new(["inventory"]).global("stock")),
        (_, "/bad") => Answer::ok("x").saying(Invalidates::new([Selector::tag(" "), Selector::tag("inventory")])),
        (_, "/soft") => Answer::ok("x").saying(Invalidates::new([Selector::tag("inventory").soft()])),
        (_, "/other") => Answer::ok("x").saying(Invalidates::new([Selector::tag("inventory").within(2)])),
        (_, "/fails") => Answer::status(409, "x").saying(Invalidates::new([Selector::everything()])),
        (_, "/stock") => Answer::ok("x").saying(Invalidates::new([Selector::tag("stock")])),
        _ => Answer::status(303, "").saying(Invalidates::new([Selector::tag("inventory"), Selector::tag("none")])),
    }
}

#[tokio::test]
async fn what_a_handler_invalidates_is_its_tenants_and_nobodys() {
    let [no, hit, gone, stale] = ["", "hit", "miss", "stale"];
    for (uri, who, outcomes) in [
        ("/items", "1", [gone, hit, gone]),
        ("/items", no, [gone, gone, gone]),
        ("/bad", "1", [gone, hit, gone]),
        ("/soft", "1", [stale, hit, stale]),
        ("/other", "1", [hit, gone, hit]),
        ("/fails", "1", [hit, hit, hit]),
        ("/stock", "1", [gone, gone, gone]),
    ] {
        let shop = Shop::new(Policy::fresh_for(HOUR).stale_while_revalidate(HOUR), inventory);
        let all = [of("1"), of("2"), Identity::new()];
        for whose in &all {
            shop.send(whose, Request::get("/list")).await;
        }
        shop.send(&of(who), Request::post(uri)).await;
        for (whose, outcome) in all.iter().zip(outcomes) {
            let got = shop.send(whose, Request::get("/list")).await.outcome();
            assert_eq!(got, outcome, "{uri} of `{who}` for {:?}", whose.tenant());
        }
        settle().await;
    }
}

#[tokio::test]
async fn a_handler_says_nothing_of_another_tenant() {
    let shop = Shop::new(Policy::fresh_for(HOUR), |request, number| match request.method {
        Method::GET => Answer::ok(format!("v{number}")),
        _ => Answer::ok("x").saying(Invalidates::new([Selector::tenant(1)])),
    });
    shop.send(&of("1"), Request::get("/list")).await;
    shop.send(&of("2"), Request::post("/other")).await;
    assert_eq!(shop.send(&of("1"), Request::get("/list")).await.outcome(), "hit");
    shop.send(&of("1"), Request::post("/other")).await;
    assert_eq!(shop.send(&of("1"), Request::get("/list")).await.outcome(), "miss");
}

/// Two caches, one around the other: each hears what the handler has changed.
#[tokio::test]
async fn every_cache_on_the_way_hears_it() {
    let (outer, _) = test_util::cache();
    let (inner, _) = test_util::cache();
    let desk = Desk::new(inventory);
    let policy = || Policy::fresh_for(HOUR).tags(["inventory"]);
    let service = CacheLayer::new(&outer, policy()).layer(CacheLayer::new(&inner, policy()).layer(desk.clone()));
    let send = |request: request::Builder| {
        let service = service.clone();
        async move {
            let response = service.oneshot(request.body(Script::new()).unwrap()).await.unwrap();
            http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes()
        }
    };
    let first = send(Request::get("/list")).await;
    assert_eq!(send(Request::get("/list")).await, first);
    send(Request::post("/items")).await;
    assert!(!inner.contains("/list"));
    assert!(!outer.contains("/list"));
    assert_ne!(send(Request::get("/list")).await, first);
}

/// A service behind `InvalidateLayer`, and a cache with something that depends on `People`.
struct Office {
    shop: Shop,
    cache: Cache,
    gate: Arc<Notify>,
    desk: Desk,
    layer: InvalidateLayer,
}

async fn office(dependencies: Dependencies) -> Office {
    let builder = Cache::builder().memory(1 << 20).dependencies(dependencies);
    let shop = Shop::over(builder, Policy::fresh_for(HOUR).depends_on(["People"]), |_, n| Answer::ok(format!("v{n}")));
    for who in [of("1"), of("2"), Identity::new()] {
        shop.send(&who, Request::get("/people")).await;
    }
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let desk = Desk::new(move |request, _| match request.uri.path() {
        "/down" => Answer::down(),
        "/held" => Answer::ok("x").gate(&held),
        path => Answer::status(path[1..].parse().unwrap(), ""),
    });
    let layer = InvalidateLayer::changed(&shop.cache, ["Nothing", "People"]);
    Office { cache: shop.cache.clone(), shop, gate, desk, layer }
}

impl Office {
    async fn send(&self, who: &Identity, method: Method, uri: &str) -> Result<u16, Down> {
        let request = Request::builder().method(method).uri(uri).extension(who.clone()).body(Script::new()).unwrap();
        self.layer.layer(self.desk.clone()).oneshot(request).await.map(|response| response.status().as_u16())
    }

    async fn outcomes(&self) -> [&'static str; 3] {
        let mut all = [""; 3];
        for (place, who) in all.iter_mut().zip([of("1"), of("2"), Identity::new()]) {
            *place = self.shop.send(&who, Request::get("/people")).await.outcome();
        }
        all
    }
}

#[tokio::test]
async fn invalidate_layer_tells_what_has_succeeded() {
    let (one, all, none) = (["miss", "hit", "miss"], ["miss"; 3], ["hit"; 3]);
    for (method, uri, who, outcomes) in [
        (Method::POST, "/200", of("1"), one),
        (Method::PUT, "/204", of("1").with_user(3), one),
        (Method::PATCH, "/201", of("3"), ["hit", "hit", "miss"]),
        (Method::DELETE, "/303", of("1"), one),
        (Method::POST, "/200", Identity::new(), all),
        (Method::from_bytes(b"PURGE").unwrap(), "/200", of("1"), one),
        (Method::POST, "/400", of("1"), none),
        (Method::POST, "/404", of("1"), none),
        (Method::POST, "/500", of("1"), none),
        (Method::GET, "/200", of("1"), none),
        (Method::HEAD, "/200", of("1"), none),
        (Method::OPTIONS, "/200", of("1"), none),
        // Nobody knows what it has done.
        (Method::POST, "/down", of("1"), one),
    ] {
        let office = office(Dependencies::new()).await;
        let answered = office.send(&who, method.clone(), uri).await;
        assert_eq!(answered.is_err(), uri == "/down");
        assert_eq!(office.outcomes().await, outcomes, "{method} {uri} {:?}", who.tenant());
    }
}

#[tokio::test]
async fn invalidate_layer_tells_what_was_cancelled() {
    let office = Arc::new(office(Dependencies::new()).await);
    let asking = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.send(&of("1"), Method::POST, "/held").await }
    });
    until("the call", || office.desk.calls() == 1).await;
    settle().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(office.outcomes().await, ["miss", "hit", "miss"]);
    drop(Arc::clone(&office.gate));
    assert_eq!(office.cache.stats().background, 0);
}

/// A closure that has to look something up, until it is let go.
fn looking(gate: &Arc<Notify>) -> Dependencies {
    let gate = Arc::clone(gate);
    Dependencies::new().selectors("People", move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            vec![Selector::tag("looked-up")]
        }
    })
}

async fn cancelled_while(in_handler: bool) {
    let gate = Arc::new(Notify::new());
    let office = Arc::new(office(looking(&gate)).await);
    let asking = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.send(&of("1"), Method::POST, if in_handler { "/held" } else { "/200" }).await }
    });
    until("the call", || office.desk.calls() == 1).await;
    settle().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    gate.notify_one();
    settle().await;
    assert_eq!(office.outcomes().await, ["miss", "hit", "miss"], "in handler: {in_handler}");
    assert_eq!(office.cache.stats().background, 0);
}

#[tokio::test]
async fn invalidate_layer_tells_on_in_the_background() {
    cancelled_while(true).await;
}

/// The handler has succeeded; the client goes while a closure looks something up.
#[tokio::test]
async fn invalidate_layer_tells_also_if_it_is_dropped_while_it_tells() {
    cancelled_while(false).await;
}

/// A closure that panics or selects what cannot be selected is no reason to keep what is known to have changed.
async fn closure(selectors: fn() -> Vec<Selector>) {
    let dependencies = Dependencies::new().selectors("People", move |_| async move { selectors() });
    let office = Arc::new(office(dependencies).await);
    let answered = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.send(&of("1"), Method::POST, "/200").await }
    });
    assert_eq!(answered.await.expect("no panic").unwrap(), 200);
    assert_eq!(office.outcomes().await, ["miss", "hit", "miss"]);
}

#[tokio::test]
async fn a_closure_that_selects_nonsense_stops_nothing_else() {
    closure(|| vec![Selector::tag("")]).await;
}

#[tokio::test]
async fn a_closure_that_panics_stops_nothing_else() {
    closure(|| panic!("as the test wants")).await;
}

#[tokio::test]
async fn a_method_override_is_no_safe_method() {
    let office = office(Dependencies::new()).await;
    let request = Request::get("/200").header("x-http-method-override", "DELETE").extension(of("1"));
    office.layer.layer(office.desk.clone()).oneshot(request.body(Script::new()).unwrap()).await.unwrap();
    assert_eq!(office.outcomes().await, ["miss", "hit", "miss"]);
}
