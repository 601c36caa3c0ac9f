//! Values of the application kept like responses: what a database, a report generator or a template engine made.
//!
//! ```sh
//! cargo run --example values
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use larder::{Cache, Dependencies, Identity, InvalidateError, Selector, Value};
use serde_json::{Value as Json, json};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

const MINUTE: Duration = Duration::from_secs(60);

/// 1. The rows of a query, one set for each tenant.
static ASSETS: Value<Vec<String>> =
    Value::named("assets").fresh_for(MINUTE.saturating_mul(15)).per_tenant().depends_on(&["Asset"]);

/// 2. A report by its parameters: slow, so what is stale is shown while it is made anew.
static ATTENDANCE: Value<Json> = Value::named("attendance:summary")
    .fresh_for(MINUTE.saturating_mul(60))
    .stale_while_revalidate(MINUTE.saturating_mul(10))
    .stale_if_error(MINUTE.saturating_mul(600))
    .per_tenant()
    .tags(&["reports"])
    .depends_on(&["PeopleEventlog"]);

/// 3. A rendered fragment, the same for everyone.
static FOOTER: Value<String> = Value::named("fragment:footer").fresh_for(MINUTE.saturating_mul(10)).shared();

/// 4. What a method found out about one user; that there is nothing is worth less time.
static QUOTA: Value<Option<u32>> = Value::named("quota")
    .lifetime_of(|quota: &Option<u32>| Some(if quota.is_some() { MINUTE.saturating_mul(5) } else { MINUTE }))
    .per_user();

/// 5. The choices of a drop-down.
static PEOPLE: Value<Vec<(u32, String)>> =
    Value::named("dropdown:people").fresh_for(MINUTE.saturating_mul(30)).per_tenant().depends_on(&["People"]);

/// The slow part of the application, which counts how often it is asked.
#[derive(Debug, Default)]
struct Database(AtomicU32);

impl Database {
    async fn query<T>(&self, answer: T) -> Result<T, Infallible> {
        self.0.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(answer)
    }
}

static DATABASE: Database = Database(AtomicU32::new(0));

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dependencies = Dependencies::new().names("Site", ["Asset", "People"]);
    let cache = Cache::builder().memory(64 << 20).dependencies(dependencies).build()?;
    // A mistake in a declaration shows at start.
    declare(&cache)?;

    let user = Identity::new().with_tenant(1).with_user("ann");
    for round in ["first", "second"] {
        let before = DATABASE.0.load(Relaxed);
        page(&cache, &user).await?;
        println!("{round} page: {} queries", DATABASE.0.load(Relaxed) - before);
    }
    page(&cache, &Identity::new().with_tenant(1).with_user("bob")).await?;
    println!("a colleague's page: all but their own quota was there, {} queries so far", DATABASE.0.load(Relaxed));

    cache.changed("Site").tenant(1).await?;
    let before = DATABASE.0.load(Relaxed);
    page(&cache, &user).await?;
    println!("a site has changed, and with it assets and people: {} queries", DATABASE.0.load(Relaxed) - before);

    cache.invalidate(Selector::tag("reports").within(1)).await?;
    let before = DATABASE.0.load(Relaxed);
    page(&cache, &user).await?;
    println!("reports are invalid: {} queries", DATABASE.0.load(Relaxed) - before);

    // A hundred at once load once.
    let before = DATABASE.0.load(Relaxed);
    let tenant = Identity::new().with_tenant(2);
    let many: Vec<_> = (0..100)
        .map(|_| {
            let (cache, tenant) = (cache.clone(), tenant.clone());
            tokio::spawn(async move { assets(&cache, &tenant).await })
        })
        .collect();
    for one in many {
        one.await??;
    }
    println!("100 requests at once: {} query", DATABASE.0.load(Relaxed) - before);

    // What is saved takes the place of what was kept.
    let saved = cache.value(&PEOPLE).for_identity(&tenant);
    saved.write_through(vec![(1, "Ann".to_owned())], async |_| DATABASE.query(()).await).await?;
    let kept = cache.value(&PEOPLE).for_identity(&tenant).get().await;
    println!("saved and kept: {kept:?}");
    Ok(())
}

fn declare(cache: &Cache) -> Result<(), InvalidateError> {
    cache.declare(&ASSETS)?;
    cache.declare(&ATTENDANCE)?;
    cache.declare(&FOOTER)?;
    cache.declare(&QUOTA)?;
    cache.declare(&PEOPLE)
}

/// All that a page needs.
async fn page(cache: &Cache, user: &Identity) -> Result<(), Infallible> {
    assets(cache, user).await?;
    for days in [7, 30] {
        let report = cache.value(&ATTENDANCE).for_identity(user).param("days", days);
        report.get_or_load(move || DATABASE.query(json!({ "days": days, "present": 0.93 }))).await?;
    }
    cache.value(&FOOTER).get_or_load(|| DATABASE.query("<footer>..</footer>".to_owned())).await?;
    cache.value(&QUOTA).for_identity(user).get_or_load(|| DATABASE.query(Some(12))).await?;
    let people = cache.value(&PEOPLE).for_identity(user);
    people.get_or_load(|| DATABASE.query(vec![(1, "Ann".to_owned()), (2, "Bob".to_owned())])).await?;
    Ok(())
}

async fn assets(cache: &Cache, user: &Identity) -> Result<usize, Infallible> {
    let assets = cache.value(&ASSETS).for_identity(user);
    let assets = assets.get_or_load(|| DATABASE.query(vec!["pump".to_owned(), "valve".to_owned()])).await?;
    Ok(assets.len())
}
