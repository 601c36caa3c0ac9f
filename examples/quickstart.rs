//! An application worth caching: a slow dashboard for each tenant, a page for each user, products for all, and an endpoint
//! that changes them.
//!
//! `cargo run --example quickstart`, then try the lines that it prints. `PORT=8080` chooses another port than 3000, and
//! `REDIS_URL=redis://127.0.0.1:6379/1` puts that Redis behind the memory, `CACHE_DIR=/tmp/quickstart` a folder on
//! disk, before Redis if there is one.
#![allow(clippy::print_stdout, reason = "it tells what to try")]

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header::ETAG, request::Parts},
    response::IntoResponse,
    routing::get,
};
use larder::{
    Cache, CacheLayer, Disk, Identity, IdentityLayer, Policy, Preset, Redis, Reporter, StatsLayer, WarmRequest,
    WarmSource, Warmer,
    admin::{self, Token},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, signal, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = port()?;
    let (cache, store) = open_cache(port).await?;
    println!("Responses are kept {store}.\n");
    let shop = Shop { cache: cache.clone(), database: Arc::new(Database::new()) };

    // A dashboard may be a minute old, and the users of a tenant share it. For two more minutes it is still served at
    // once, while one request makes a new one. It is made of products: when they change, it is not served any more.
    let dashboards = Policy::named("dashboard").fresh_for(MINUTE).stale_while_revalidate(2 * MINUTE).ignore_query();
    let dashboards = dashboards.per_tenant().depends_on(["Product"]);
    // What belongs to one user: 30 minutes, and nobody else gets it.
    let own = Policy::preset(Preset::User).per_user();
    // Products are the same for everybody, and stay until somebody changes them. That one is not there is soon asked again:
    // without this, a 404 would stay as long as a product.
    let products = Policy::named("products").fresh_for(60 * MINUTE).ignore_query().shared();
    let products = products.status_lifetime(StatusCode::NOT_FOUND, Duration::from_secs(10));
    // Their list, until any of them changes.
    let lists = Policy::named("lists").fresh_for(60 * MINUTE).ignore_query().shared().depends_on(["Product"]);

    let app = Router::new()
        .route("/dashboard", get(dashboard).layer(CacheLayer::new(&cache, dashboards)))
        .route("/me", get(greet).layer(CacheLayer::new(&cache, own)))
        .route("/products", get(list_products).layer(CacheLayer::new(&cache, lists)))
        .route("/products/{id}", get(show_product).post(change_price).layer(CacheLayer::new(&cache, products)))
        .route("/queries", get(count_queries))
        .route("/stats", get(show_stats))
        .with_state(shop)
        // X-Cache and its like on every response: for development, as they tell one user what others have asked for.
        .layer(StatsLayer::debug(cfg!(debug_assertions)))
        // Outside of every cache: who is asking.
        .layer(IdentityLayer::from_fn(who));

    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| format!("port {port}: {error}"))?;
    let host = listener.local_addr()?.to_string();

    // Nobody meets a cold dashboard of these two tenants: it is made before the first connection is accepted.
    let tenants = [2, 3].map(|tenant| Identity::new().with_tenant(tenant).with_user("ann"));
    let dashboards = WarmSource::from([WarmRequest::get("/dashboard")]).for_each_identity(tenants);
    let warmer = Warmer::new().host(&host).category("dashboards", 1, dashboards);
    println!("Warmed:\n{}\n", warmer.run::<Body>(app.clone()).await);

    // What goes on, why, and what to change: for whoever has the token. A report every six hours.
    let (token, secret) = match env::var("CACHE_ADMIN_TOKEN") {
        Ok(secret) => (Token::new(&secret), secret),
        Err(_) => Token::random(),
    };
    Reporter::new(&cache).start()?;
    let admin = admin::router([&cache], token).warmer::<Body>(&warmer, app.clone());
    let app = app.nest_service("/admin/cache", admin).route_service("/health", admin::health([&cache]));

    println!("{}", WHAT_TO_TRY.replace("HOST", &host).replace("SECRET", &secret));
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    cache.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// In memory, and in a folder and in Redis if the environment names them; and where that is.
async fn open_cache(port: u16) -> Result<(Cache, &'static str), Box<dyn Error>> {
    let (folder, has_redis) = (env::var_os("CACHE_DIR"), env::var_os("REDIS_URL").is_some());
    if folder.is_none() && !has_redis {
        return Ok((
            Cache::in_memory(64 << 20),
            "in memory; with REDIS_URL=redis://127.0.0.1:6379/1 in that Redis too, with CACHE_DIR=/tmp/quickstart on disk",
        ));
    }
    let mut builder = Cache::builder().namespace(format!("quickstart-{port}")).memory(64 << 20);
    if let Some(folder) = folder {
        builder = builder.disk(Disk::open(folder).bytes(1 << 30));
    }
    if has_redis {
        builder = builder.redis(Redis::from_env()?);
    }
    let cache = builder.build()?;
    let is_there = cache.ready(Duration::from_secs(2)).await;
    // The database of this example is new with each start, and knows nothing of what an earlier one has sold. A real one does:
    // then this line would throw away what is good.
    match cache.bump_version().await {
        Err(error) if !error.is_unconfirmed() => return Err(error.into()),
        _ => {}
    }
    let store = match is_there {
        true => {
            "in memory, and in what CACHE_DIR and REDIS_URL say. What an earlier run has left there is not used: the database \
             of this example starts anew"
        }
        false => "in memory: what CACHE_DIR and REDIS_URL say cannot be used yet",
    };
    Ok((cache, store))
}

/// Stands in for the application's own authentication, which verifies what it says. A real one never believes a field that
/// anybody can send.
fn who(request: &Parts) -> Option<Identity> {
    let said = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    Some(Identity::new().with_tenant(said("x-tenant").unwrap_or("1")).with_user(said("x-user").unwrap_or("ann")))
}

async fn greet(State(shop): State<Shop>, Extension(who): Extension<Identity>) -> String {
    shop.database
        .query(|_| format!("Hello {}, of tenant {}\n", who.user().unwrap_or("?"), who.tenant().unwrap_or("?")))
        .await
}

/// 15 queries, 2 seconds. From the cache: none, and no time.
async fn dashboard(State(shop): State<Shop>, Extension(who): Extension<Identity>) -> Json<Value> {
    let mut revenue = 0;
    for day in 0..QUERIES_OF_A_DASHBOARD {
        let sold =
            |products: &mut Products| products.values().map(|product| u64::from(product.cents) * day).sum::<u64>();
        revenue += shop.database.query(sold).await;
    }
    Json(json!({
        "tenant": who.tenant(),
        "revenue": revenue,
        "queries": QUERIES_OF_A_DASHBOARD,
        "queries_so_far": shop.database.queries(),
    }))
}

async fn list_products(State(shop): State<Shop>) -> Json<Value> {
    shop.database.query(|products| Json(products.iter().map(|(id, product)| product.to_json(*id)).collect())).await
}

/// The entity tag is all that it takes: the cache answers `If-None-Match` with 304.
async fn show_product(State(shop): State<Shop>, Path(id): Path<u32>) -> Result<impl IntoResponse, Fault> {
    let product = shop.database.query(|products| products.get(&id).cloned()).await.ok_or_else(|| no_product(id))?;
    Ok(([(ETAG, format!("\"{id}-{}\"", product.version))], Json(product.to_json(id))))
}

async fn change_price(State(shop): State<Shop>, Path(id): Path<u32>, body: String) -> Result<String, Fault> {
    let cents =
        body.trim().parse().map_err(|_| fault(StatusCode::BAD_REQUEST, "the body is to be a price in cents"))?;
    let changed = |products: &mut Products| products.get_mut(&id).map(|product| product.change_price(cents));
    shop.database.query(changed).await.ok_or_else(|| no_product(id))?;

    // A POST that succeeds takes `/products/{id}` out of the cache by itself. What else shows prices has said so: the policies
    // that depend on products.
    let now = format!("product {id} now costs {cents} cents\n");
    match shop.cache.changed("Product").id(id).await {
        // It is so here. Other processes hear of it when the shared log can be reached again.
        Err(error) if error.is_unconfirmed() => Ok(format!("{now}{error}\n")),
        Err(error) => Err(fault(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
        Ok(_) => Ok(now),
    }
}

/// Not cached: no layer, no policy.
async fn count_queries(State(shop): State<Shop>) -> String {
    format!("{} queries so far\n", shop.database.queries())
}

async fn show_stats(State(shop): State<Shop>) -> String {
    let stats = shop.cache.stats();
    format!("{stats:#?}\n{:.0} % answered from the cache\n", 100.0 * stats.lookup_hit_ratio())
}

#[derive(Clone)]
struct Shop {
    cache: Cache,
    database: Arc<Database>,
}

/// A database far away: every query takes its time, and is counted.
struct Database {
    products: Mutex<Products>,
    queries: AtomicU64,
}

type Products = BTreeMap<u32, Product>;

#[derive(Clone)]
struct Product {
    name: &'static str,
    cents: u32,
    version: u32,
}

impl Database {
    fn new() -> Self {
        let products = [("teapot", 3490), ("cup", 890), ("kettle", 5900)];
        let products = products.map(|(name, cents)| Product { name, cents, version: 1 });
        Self { products: Mutex::new((1..).zip(products).collect()), queries: AtomicU64::new(0) }
    }

    async fn query<T>(&self, run: impl FnOnce(&mut Products) -> T) -> T {
        self.queries.fetch_add(1, Ordering::Relaxed);
        sleep(TIME_OF_A_QUERY).await;
        run(&mut self.lock())
    }

    fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Products> {
        self.products.lock().expect("no query panics")
    }
}

impl Product {
    fn change_price(&mut self, cents: u32) {
        self.cents = cents;
        self.version += 1;
    }

    fn to_json(&self, id: u32) -> Value {
        json!({ "id": id, "name": self.name, "cents": self.cents })
    }
}

type Fault = (StatusCode, String);

fn fault(status: StatusCode, why: &str) -> Fault {
    (status, format!("{why}\n"))
}

fn no_product(id: u32) -> Fault {
    fault(StatusCode::NOT_FOUND, &format!("there is no product {id}"))
}

fn port() -> Result<u16, String> {
    let Ok(port) = env::var("PORT") else { return Ok(3000) };
    port.parse().map_err(|_| format!("PORT={port}: it is to be a number up to 65535"))
}

async fn stopped() {
    // Without a signal handler there is nothing to wait for, and Ctrl-C ends the process at once.
    if signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const QUERIES_OF_A_DASHBOARD: u64 = 15;
const TIME_OF_A_QUERY: Duration = Duration::from_millis(2000 / QUERIES_OF_A_DASHBOARD);

const WHAT_TO_TRY: &str = "\
Listening on http://HOST, Ctrl-C stops. In another terminal try:

A dashboard: 2 seconds, 15 queries. The second time at once, and no more queries.
  curl -i http://HOST/dashboard
  curl -i http://HOST/dashboard
  curl http://HOST/queries

Another user of the tenant shares the dashboard, another tenant has its own. A page for one user is for nobody else.
That of tenant 2 was made on start, that of tenant 4 was not.
  curl -i http://HOST/dashboard -H 'X-User: bob'
  curl -i http://HOST/dashboard -H 'X-Tenant: 2'
  curl -i http://HOST/dashboard -H 'X-Tenant: 4'
  curl -i http://HOST/me
  curl -i http://HOST/me -H 'X-User: bob'

A product: whole, not modified, its first 10 bytes. The last two come from the cache.
  curl -i http://HOST/products/1
  curl -i http://HOST/products/1 -H 'If-None-Match: \"1-1\"'
  curl -i http://HOST/products/1 -r 0-9

A product that is not there: that is known for 10 seconds, and no longer.
  curl -i http://HOST/products/9

A new price: the product, the list and the dashboard are out of the cache.
  curl -i http://HOST/products/1 -d 2990
  curl -i http://HOST/products/1
  curl -i http://HOST/dashboard

What the cache has done, and what can be done about it, in a browser; the token in the address is new with each start:
  http://HOST/admin/cache/#token=SECRET

The same in a terminal:
  export LARDER_URL=http://HOST/admin/cache LARDER_TOKEN=SECRET
  cargo run -p larder --features cli --bin larder -- status
  cargo run -p larder --features cli --bin larder -- explain /dashboard --tenant 2

By numbers:
  curl http://HOST/stats
  curl http://HOST/health
";
