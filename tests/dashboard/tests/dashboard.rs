//! The dashboard, from sign-in to action, in a real browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::{Router, body::Body, routing::get};
use larder::{
    Cache, CacheLayer, Identity, IdentityLayer, Policy, PolicyTable, WarmRequest, Warmer,
    admin::{self, Access, Token},
};
use larder_dashboard_tests::Browser;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MINUTE: Duration = Duration::from_secs(60);
const TOKEN: &str = "correct-horse-battery-staple";

/// An application, and its dashboard for those who have the token. Gives the address of the dashboard, and that of the
/// application.
async fn serve(access: Access) -> (String, String) {
    let cache = Cache::builder().namespace("shop").memory(16 << 20).build().unwrap();
    let table = PolicyTable::new()
        .route("/products/{id}", Policy::named("products").fresh_for(60 * MINUTE).shared().tags(["catalog"]))
        .otherwise(Policy::named("dashboard").fresh_for(10 * MINUTE).per_tenant().depends_on(["People"]));
    // Another layer over the same cache; its handler never says the same twice, which verification finds.
    let asked = Arc::new(AtomicU64::new(0));
    let me = get(move || std::future::ready(format!("{}", asked.fetch_add(1, Ordering::Relaxed))));
    let own = Router::new()
        .route("/me", me)
        .layer(CacheLayer::new(&cache, Policy::named("own").fresh_for(60 * MINUTE).shared().verify(1.0)));
    let app = Router::new()
        .route("/products/{id}", get(|| async { "<script>document.title = 'broken into'</script>" }))
        .route("/dashboard", get(|| async { "figures" }))
        .route("/cart", get(|| async { ([("set-cookie", "a=b")], "cart") }))
        .layer(CacheLayer::new(&cache, table))
        .merge(own)
        .layer(IdentityLayer::from_fn(|request| {
            let tenant = request.headers.get("x-tenant")?.to_str().ok()?;
            Some(Identity::new().with_tenant(tenant).with_user("ann"))
        }));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let warmer = Warmer::new().host(&host).category(
        "products",
        1,
        (1..=5).map(|id| WarmRequest::get(format!("/products/{id}"))),
    );
    let admin = admin::router([&cache], Token::new(TOKEN).grants(access)).warmer::<Body>(&warmer, app.clone());
    let whole = app.nest_service("/admin/cache", admin);
    tokio::spawn(async move { axum::serve(listener, whole).await.unwrap() });
    (format!("http://{host}/admin/cache/"), host)
}

/// So many requests for different products, each twice; and some that are not cached.
async fn traffic(host: &str, products: u32) {
    for id in 0..products {
        for _ in 0..2 {
            ask(host, &format!("/products/{id}"), "").await;
        }
        ask(host, "/cart", "x-tenant: 1\r\n").await;
    }
    for tenant in ["1", "2", "<b>3</b>"] {
        ask(host, "/dashboard", &format!("x-tenant: {tenant}\r\n")).await;
    }
}

async fn ask(host: &str, path: &str, fields: &str) {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
}

async fn sign_in(browser: &Browser, address: &str) {
    browser.goto(address).await;
    browser.fill("signin-token", TOKEN).await;
    browser.click("signin-submit").await;
    browser.find("hit-ratio").await;
}

/// Nothing was complained of but that the API asked for a token, and that there is no report yet.
async fn assert_content(browser: &Browser) {
    let complaints = browser.complaints().await;
    let other: Vec<_> =
        complaints.iter().filter(|line| !line.contains("401") && !line.contains("api/report")).collect();
    assert!(other.is_empty(), "{other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_sign_in_to_action() {
    let (address, host) = serve(Access::full()).await;
    traffic(&host, 20).await;
    let browser = Browser::open((1280, 900), false).await;

    browser.goto(&address).await;
    browser.fill("signin-token", "wrong").await;
    browser.click("signin-submit").await;
    browser.until("a wrong token is refused", async |it| !it.text("signin-error").await.is_empty()).await;
    sign_in(&browser, &address).await;
    assert_eq!(browser.text("health").await.to_lowercase(), "healthy");

    // Figures move by themselves, and survive a reload.
    browser.click("window-total").await;
    let before = browser.number("hits").await.unwrap();
    assert!(before >= 20.0, "{before}");
    traffic(&host, 5).await;
    browser.until("figures move", async |it| it.number("hits").await.unwrap() >= before + 10.0).await;
    browser.picture("overview").await;
    browser.reload().await;
    browser.until("they survive", async |it| it.number("hits").await.unwrap_or(0.0) >= before + 10.0).await;
    let ratio = browser.number("hit-ratio").await.unwrap();
    assert!((0.2..0.9).contains(&ratio), "{ratio}");

    // What verification finds is told on top.
    for _ in 0..2 {
        ask(&host, "/me", "").await;
    }
    browser
        .until("a problem is told", async |it| {
            let text = it.run("return document.body.innerText").await.to_string();
            text.contains("policy own: within a day 1 hit was not what the handler says")
        })
        .await;
    browser.picture("problem").await;

    browser.click("tab-advice").await;
    let uncacheable = browser.text("uncacheable").await;
    assert!(uncacheable.contains("/cart") && uncacheable.contains("strip_set_cookie"), "{uncacheable}");
    browser.picture("advice").await;
    browser.click("tab-traffic").await;
    assert!(browser.text("tenants").await.contains("<b>3</b>"), "names are text");
    browser.picture("traffic").await;

    browser.click("tab-keys").await;
    browser.fill("explore-pattern", "/products/1*").await;
    browser.click("explore-search").await;
    browser.until("1 and 10 to 19 are found", async |it| it.count("explore-row").await == 11).await;
    browser.picture("keys").await;
    browser.click("explore-row").await;
    assert!(browser.text("entry-dialog").await.contains("content-type"));
    browser.press("\u{e00c}").await;

    browser.click("tab-explain").await;
    browser.fill("explain-uri", &format!("http://{host}/products/1")).await;
    browser.click("explain-submit").await;
    browser.until("it is a hit", async |it| it.text("explain-outcome").await.to_lowercase().contains("hit")).await;
    assert_eq!(browser.count("explanation").await, 1, "it was stored by one of them");
    browser.picture("explain").await;
    // What is not stored is explained under each policy that it may come to.
    browser.fill("explain-uri", "/cold").await;
    browser.click("explain-submit").await;
    browser.until("there are two", async |it| it.count("explanation").await == 2).await;
    let told = browser.text("explain-result").await;
    assert!(told.contains("policy own") && told.contains("policy dashboard"), "{told}");
    browser.picture("explain-cold").await;

    browser.click("tab-dependencies").await;
    browser.until("the graph is drawn", async |it| it.count("graph-node").await >= 3).await;
    assert!(browser.text("graph-table").await.contains("People"));
    browser.picture("dependencies").await;

    // A preview, then a confirmation; then nothing is left.
    browser.click("tab-actions").await;
    browser.choose("invalidate-kind", "tag").await;
    browser.fill("invalidate-tag", "catalog").await;
    browser.click("invalidate-preview").await;
    assert_eq!(browser.number("invalidate-entries").await, Some(20.0));
    browser.picture("invalidate").await;
    browser.click("invalidate-confirm").await;
    browser.until("it is told", async |it| !it.text("invalidate-result").await.is_empty()).await;
    browser.until("it is on record", async |it| it.text("audit").await.contains("catalog")).await;
    browser.click("tab-keys").await;
    browser.fill("explore-pattern", "/products/*").await;
    browser.click("explore-search").await;
    browser.until("nothing is left", async |it| it.count("explore-row").await == 0).await;

    // Warming makes five of them anew.
    browser.click("tab-actions").await;
    browser.click("warm-category").await;
    browser.click("warm-start").await;
    browser.click("warm-confirm").await;
    browser.until("it is done", async |it| it.text("warm-result").await.contains('5')).await;
    browser.click("tab-keys").await;
    browser.until("five are there", async |it| it.count("explore-row").await == 5).await;

    assert_content(&browser).await;
    assert_ne!(browser.run("return document.title").await, "broken into");
    browser.click("signout").await;
    browser.find("signin-form").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_phone_in_the_dark() {
    let (address, host) = serve(Access::read_only()).await;
    traffic(&host, 5).await;
    let browser = Browser::open((390, 844), true).await;
    // The token in the address is taken, and gone from it.
    browser.goto(&format!("{address}#token={TOKEN}")).await;
    browser.find("hit-ratio").await;
    assert!(!browser.address().await.contains("token"), "{}", browser.address().await);
    for tab in ["overview", "traffic", "advice", "keys", "explain", "policies", "dependencies", "actions"] {
        browser.click(&format!("tab-{tab}")).await;
        browser
            .until("the page is as wide as the window", async |it| {
                it.run("return document.documentElement.scrollWidth <= window.innerWidth").await == true
            })
            .await;
        browser.picture(&format!("phone-{tab}")).await;
    }
    // Who may only read is told so.
    assert_eq!(
        browser
            .run("return [...document.querySelectorAll('[data-testid=invalidate-preview]')].some(it => !it.matches(':disabled'))")
            .await,
        false
    );
    assert_content(&browser).await;
    browser.close().await;
}
