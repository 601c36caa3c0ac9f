//! What has to go when a model changes: the graphs of the seeds, by name, through the layers and for values.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "behind/mod.rs"]
mod behind;
#[path = "dependencies/closures.rs"]
mod closures;
#[path = "cases/crowd.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod crowd;
#[path = "cases/script.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod script;
#[path = "invalidation/shop.rs"]
#[allow(dead_code, reason = "it belongs to the tests of invalidation")]
mod shop;
#[path = "cases/support.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod support;

use http::Request;
use larder::{Cache, ChangeKind, Changed, Dependencies, Policy, Selector, Tags, Value};
use shop::{Answer, Shop, of};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex},
};
use support::HOUR;

/// Each path is tagged with what follows the slash: `/dimension_catalog:7` with `dimension_catalog:7`.
fn shop(dependencies: Dependencies) -> Shop {
    let builder = Cache::builder().memory(4 << 20).dependencies(dependencies);
    let policy = Policy::fresh_for(HOUR).tag_with(|request, _| [request.uri.path()[1..].to_owned()]);
    Shop::over(builder, policy, |_, number| Answer::ok(format!("v{number}")))
}

async fn fill(shop: &Shop, tenant: &str, names: &[&str]) {
    for name in names {
        shop.send(&of(tenant), Request::get(format!("/{name}"))).await;
    }
}

/// Which of them are gone. They are filled again.
async fn gone<'a>(shop: &Shop, tenant: &str, names: &[&'a str]) -> BTreeSet<&'a str> {
    let mut gone = BTreeSet::new();
    for name in names {
        if shop.send(&of(tenant), Request::get(format!("/{name}"))).await.outcome() == "miss" {
            gone.insert(*name);
        }
    }
    gone
}

fn set<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    names.iter().copied().collect()
}

/// Rules depend on rules: 7 on nothing, 8 and 9 inherit from 7.
fn rules() -> Dependencies {
    let dependents = |id: Option<&str>| match id {
        Some("7") => vec!["8", "9"],
        Some(_) => vec![],
        None => vec!["*"],
    };
    Dependencies::new()
        .tags("Rule", ["dimension_catalog:{id}", "field_templates:{id}", "inheritance_matrix:{id}"])
        .selectors("Rule", move |changed: Changed| async move {
            let inherits = changed.kind() != ChangeKind::Created;
            let ids = dependents(changed.id()).into_iter().filter(|_| inherits);
            ids.map(|id| Selector::tag(format!("inheritance_matrix:{id}"))).collect()
        })
        .names("Template", ["Rule"])
}

const OF_RULES: [&str; 9] = [
    "dimension_catalog:7",
    "field_templates:7",
    "inheritance_matrix:7",
    "dimension_catalog:8",
    "inheritance_matrix:8",
    "inheritance_matrix:9",
    "inheritance_matrix:10",
    "field_templates:71",
    "other:7",
];

#[tokio::test]
async fn a_rule_and_what_inherits_from_it() {
    let own = ["dimension_catalog:7", "field_templates:7", "inheritance_matrix:7"];
    let heirs = ["inheritance_matrix:8", "inheritance_matrix:9"];
    for kind in [ChangeKind::Updated, ChangeKind::Deleted, ChangeKind::Created] {
        let shop = shop(rules());
        fill(&shop, "1", &OF_RULES).await;
        fill(&shop, "2", &OF_RULES).await;
        shop.cache.changed("Rule").tenant("1").id(7).kind(kind).await.unwrap();
        let mut expected = set(&own);
        if kind != ChangeKind::Created {
            expected.extend(heirs);
        }
        assert_eq!(gone(&shop, "1", &OF_RULES).await, expected, "{kind:?}");
        assert_eq!(gone(&shop, "2", &OF_RULES).await, set(&[]), "{kind:?}");
    }
}

#[tokio::test]
async fn which_rule_is_not_known_through_another_name() {
    let shop = shop(rules());
    fill(&shop, "1", &OF_RULES).await;
    shop.cache.changed("Template").tenant("1").id(7).await.unwrap();
    let mut all = set(&OF_RULES);
    all.remove("other:7");
    assert_eq!(gone(&shop, "1", &OF_RULES).await, all);
    shop.cache.changed("Rule").id(8).await.unwrap();
    assert_eq!(gone(&shop, "1", &OF_RULES).await, set(&["dimension_catalog:8", "inheritance_matrix:8"]));
}

/// `model_dependencies` of the second seed, by its names.
fn models() -> Dependencies {
    Dependencies::new()
        .tags("People", ["dropdown:people", "dashboard:metrics", "attendance:summary"])
        .tags("Asset", ["dropdown:asset", "dashboard:metrics", "asset:status"])
        .tags("PeopleEventlog", ["dashboard:metrics", "attendance:summary", "trends:monthly"])
}

const OF_MODELS: [&str; 7] = [
    "dropdown:people",
    "dropdown:asset",
    "dashboard:metrics",
    "attendance:summary",
    "asset:status",
    "trends:monthly",
    "dropdown:site",
];

#[tokio::test]
async fn people_assets_and_their_logs() {
    for (model, expected) in [
        ("People", ["dropdown:people", "dashboard:metrics", "attendance:summary"]),
        ("Asset", ["dropdown:asset", "dashboard:metrics", "asset:status"]),
        ("PeopleEventlog", ["dashboard:metrics", "attendance:summary", "trends:monthly"]),
    ] {
        let shop = shop(models());
        for tenant in ["1", "2"] {
            fill(&shop, tenant, &OF_MODELS).await;
        }
        shop.cache.changed(model).tenant("1").id(17).await.unwrap();
        assert_eq!(gone(&shop, "1", &OF_MODELS).await, set(&expected), "{model}");
        assert_eq!(gone(&shop, "2", &OF_MODELS).await, set(&[]), "of another tenant");
        shop.cache.changed(model).await.unwrap();
        assert_eq!(gone(&shop, "2", &OF_MODELS).await, set(&expected), "without a tenant everyone's");
        shop.cache.changed("Site").await.unwrap();
        assert_eq!(gone(&shop, "1", &OF_MODELS).await, set(&expected), "it was everyone's before");
        assert_eq!(gone(&shop, "1", &OF_MODELS).await, set(&[]));
    }
}

static DASHBOARD: Value<u32> =
    Value::named("dashboard").fresh_for(HOUR).per_tenant().depends_on(&["InventoryItem"]).tags(&["dashboard"]);

/// The fifth seed: an inventory item takes with it the tenant's inventory, the dashboard, and the inventory of its branch.
fn inventory() -> Dependencies {
    Dependencies::new().tags("InventoryItem", ["inventory", "inventory:item:{id}", "dashboard"]).selectors(
        "InventoryItem",
        |changed: Changed| async move {
            // The branch of an item, from the database.
            let branch = changed.id().map(|id| if id == "5" { "north" } else { "south" });
            branch.map(|branch| Selector::tag(format!("inventory:branch:{branch}"))).into_iter().collect()
        },
    )
}

const OF_INVENTORY: [&str; 7] = [
    "inventory",
    "inventory:item:5",
    "inventory:item:6",
    "inventory:branch:north",
    "inventory:branch:south",
    "dashboard",
    "sales",
];

#[tokio::test]
async fn an_inventory_item_its_branch_and_the_dashboard() {
    let shop = shop(inventory());
    let report = shop.beside(Policy::named("report").fresh_for(HOUR).depends_on(["InventoryItem", "Sale"]));
    let load = |n: u32| move || async move { Ok::<_, Infallible>(n) };
    for tenant in ["123", "4"] {
        fill(&shop, tenant, &OF_INVENTORY).await;
        report.send(&of(tenant), Request::get("/report")).await;
        shop.cache.value(&DASHBOARD).for_identity(&of(tenant)).get_or_load(load(1)).await.unwrap();
    }
    shop.cache.changed("InventoryItem").tenant("123").id(5).await.unwrap();
    let expected = set(&["inventory", "inventory:item:5", "inventory:branch:north", "dashboard"]);
    assert_eq!(gone(&shop, "123", &OF_INVENTORY).await, expected);
    assert_eq!(gone(&shop, "4", &OF_INVENTORY).await, set(&[]));
    assert_eq!(report.send(&of("123"), Request::get("/report")).await.outcome(), "miss");
    assert_eq!(report.send(&of("4"), Request::get("/report")).await.outcome(), "hit");
    assert!(shop.cache.value(&DASHBOARD).for_identity(&of("123")).peek().is_none());
    assert!(shop.cache.value(&DASHBOARD).for_identity(&of("4")).peek().is_some());
    // The seed's `inventory:*`, and one tenant's.
    shop.invalidate(Selector::tag("inventory:*").within(4)).await;
    let all = set(&["inventory:item:5", "inventory:item:6", "inventory:branch:north", "inventory:branch:south"]);
    assert_eq!(gone(&shop, "4", &OF_INVENTORY).await, all);
    assert_eq!(gone(&shop, "123", &OF_INVENTORY).await, set(&[]));
}

#[tokio::test]
async fn a_transaction_tells_all_or_nothing() {
    let shop = shop(models());
    fill(&shop, "1", &OF_MODELS).await;
    let before = shop.cache.stats().invalidations;
    {
        let mut changes = shop.cache.changes();
        changes.changed("People").tenant(1).id(17).kind(ChangeKind::Deleted);
        // Rolled back: an error on the way drops it.
    }
    assert_eq!(gone(&shop, "1", &OF_MODELS).await, set(&[]));
    assert_eq!(shop.cache.stats().invalidations, before);

    let mut changes = shop.cache.changes();
    changes.changed("People").tenant(1).id(17);
    changes.changed("Asset").tenant(1);
    changes.changed("Asset").tenant(2);
    assert_eq!(gone(&shop, "1", &OF_MODELS).await, set(&[]), "nothing before it is committed");
    changes.commit().await.unwrap();
    assert_eq!(shop.cache.stats().invalidations, before + 1, "one record");
    let mut expected = set(&OF_MODELS);
    expected.remove("trends:monthly");
    expected.remove("dropdown:site");
    assert_eq!(gone(&shop, "1", &OF_MODELS).await, expected);

    shop.cache.changes().commit().await.unwrap();
    assert_eq!(shop.cache.stats().invalidations, before + 1, "nothing is nothing");
}

#[tokio::test]
async fn closures_hear_what_has_changed_and_circles_end() {
    let heard: Arc<Mutex<Vec<Changed>>> = Arc::default();
    let (all, others) = (Arc::clone(&heard), Arc::clone(&heard));
    let dependencies = Dependencies::new()
        .names("A", ["B"])
        .names("B", ["A", "B", "C"])
        .selectors("A", move |changed| {
            all.lock().unwrap().push(changed);
            async { vec![Selector::everything().within(3)] }
        })
        .selectors("C", move |changed| {
            others.lock().unwrap().push(changed);
            async { vec![] }
        })
        .tags("C", ["c"]);
    let shop = shop(dependencies);
    for tenant in ["1", "2", "3"] {
        fill(&shop, tenant, &["c", "d"]).await;
    }
    shop.cache.changed("A").tenant(1).id(7).kind(ChangeKind::Created).await.unwrap();
    assert_eq!(gone(&shop, "1", &["c", "d"]).await, set(&["c"]));
    assert_eq!(gone(&shop, "2", &["c", "d"]).await, set(&[]));
    assert_eq!(gone(&shop, "3", &["c", "d"]).await, set(&["c", "d"]), "what a closure narrows is narrowed");
    let heard = heard.lock().unwrap();
    let said: Vec<_> = heard.iter().map(|c| (c.name(), c.tenant(), c.id(), c.kind())).collect();
    let created = ChangeKind::Created;
    assert_eq!(said, [("A", Some("1"), Some("7"), created), ("C", Some("1"), None, created)]);
}

#[tokio::test]
async fn the_graph_can_be_looked_at_and_faults_are_found_when_it_is_built() {
    let graph = rules().names("Rule", ["Template"]);
    let cache = Cache::builder().dependencies(graph).build().unwrap();
    let edges: Vec<_> = cache.dependencies().edges().collect();
    let of_rule =
        ["dimension_catalog:{id}", "field_templates:{id}", "inheritance_matrix:{id}", "(closure)", "-> Template"];
    assert_eq!(edges, [("Rule", of_rule.map(str::to_owned).to_vec()), ("Template", vec!["-> Rule".to_owned()])]);
    for bad in [
        Dependencies::new().tags("A", ["a{id}"]),
        Dependencies::new().tags("A", ["{id}"]),
        Dependencies::new().tags("A", [""]),
        Dependencies::new().tags("", ["a"]),
        Dependencies::new().names("A", [" "]),
    ] {
        assert!(Cache::builder().dependencies(bad.clone()).build().is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn what_is_everyones_goes_with_every_tenants_change() {
    let shop = Shop::over(
        Cache::builder().memory(1 << 20).dependencies(models()),
        Policy::fresh_for(HOUR),
        |request, number| match request.uri.path() {
            "/global" => Answer::ok(format!("v{number}")).saying(Tags::default().global("asset:status")),
            _ => Answer::ok(format!("v{number}")).saying(Tags::new(["asset:status"])),
        },
    );
    let nobody = larder::Identity::new();
    for (who, uri) in [(&of("1"), "/global"), (&of("1"), "/own"), (&nobody, "/own")] {
        shop.send(who, Request::get(uri)).await;
    }
    shop.cache.changed("Asset").tenant(2).await.unwrap();
    assert_eq!(shop.send(&of("1"), Request::get("/global")).await.outcome(), "miss");
    assert_eq!(shop.send(&of("1"), Request::get("/own")).await.outcome(), "hit");
    assert_eq!(shop.send(&nobody, Request::get("/own")).await.outcome(), "miss");
    assert!(shop.cache.changed("Asset").tenant(" ").await.is_err(), "a tenant without a name is a mistake");
}

/// A load that was under way when its model changed is not kept.
#[tokio::test]
async fn what_was_being_filled_is_not_stored() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&gate);
    let shop = Shop::over(
        Cache::builder().memory(1 << 20),
        Policy::fresh_for(HOUR).depends_on(["People"]),
        move |_, number| match number {
            1 => Answer::ok("v1").gate(&held),
            number => Answer::ok(format!("v{number}")),
        },
    );
    let first = shop.spawn("/x");
    support::until("the flight", || shop.calls() == 1).await;
    support::settle().await;
    shop.cache.changed("People").await.unwrap();
    let later = shop.spawn("/x");
    support::settle().await;
    gate.notify_one();
    assert_eq!(first.await.unwrap().text(), "v1");
    assert_eq!(later.await.unwrap().text(), "v2");
    assert_eq!(shop.get("/x").await.text(), "v2");
}
