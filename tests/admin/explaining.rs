//! Explaining where several layers may be meant.

use super::*;

/// An application with a layer at each route, as axum's method routers have them.
struct Site {
    admin: Admin,
    routes: Vec<(&'static str, App)>,
}

impl Site {
    fn open() -> Self {
        let (cache, _) = test_util::cache();
        let fresh = |name| Policy::named(name).fresh_for(MINUTE);
        let who = || {
            IdentityLayer::from_fn(|parts| {
                Some(Identity::new().with_tenant(parts.headers.get("x-tenant")?.to_str().ok()?))
            })
        };
        let under = |layer: CacheLayer| boxed(who().layer(layer.layer(service_fn(handler))));
        let route = |policy: Policy| under(CacheLayer::new(&cache, policy));
        let routes = vec![
            ("/dashboard", route(fresh("dashboard").per_tenant())),
            ("/products", route(fresh("lists").shared())),
            ("/products/7", route(fresh("products").shared())),
            ("/about", route(Policy::fresh_for(MINUTE).shared())),
            ("/change", under(CacheLayer::invalidating(&cache))),
        ];
        Self { admin: admin::router([&cache], tokens()), routes }
    }

    async fn get(&self, uri: &str, tenant: &str) {
        let (_, app) = self.routes.iter().find(|(route, _)| *route == uri).unwrap();
        let request = Request::get(uri).header("host", "shop.example").header("x-tenant", tenant);
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }

    async fn look(&self, token: &str, query: &str) -> Told {
        send(&self.admin, request(&Method::GET, &format!("api/explain?{query}"), token, &[], "")).await
    }

    /// Policies and outcomes, and how many were left out.
    async fn told(&self, token: &str, query: &str) -> (Vec<(String, String)>, u64) {
        let told = self.look(token, query).await.ok();
        members(&told, &["cache", "explanations", "omitted"]);
        let all = told["explanations"].as_array().unwrap().iter().map(|why| {
            members(why, &["cache", "policy", "outcome", "reason", "key", "key_parts", "steps"]);
            let text = |member: &str| why[member].as_str().unwrap().to_owned();
            (text("policy"), text("outcome"))
        });
        (all.collect(), told["omitted"].as_u64().unwrap())
    }
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(policy, outcome)| ((*policy).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test]
async fn what_is_not_stored_is_explained_under_each_that_it_may_be() {
    let site = Site::open();
    // Those that take part come first; one without a name is called as in metrics.
    let all = of(&[("lists", "miss"), ("products", "miss"), ("policy-1", "miss"), ("dashboard", "bypass")]);
    assert_eq!(site.told(FULL, "uri=/dashboard").await, (all, 0));
    let told = site.look(FULL, "uri=/dashboard").await.ok();
    assert_eq!(told["explanations"][3]["reason"], "identity-missing");
    let (all, _) = site.told(FULL, "uri=/dashboard&tenant=2").await;
    assert_eq!((all.len(), &*all[0].0, &*all[0].1), (4, "dashboard", "miss"));
    // What a name stands for can be asked for.
    for name in ["dashboard", "policy-1"] {
        let one = site.told(FULL, &format!("uri=/dashboard&tenant=2&policy={name}")).await;
        assert_eq!(one, (of(&[(name, "miss")]), 0));
    }
    let error = site.look(FULL, "uri=/dashboard&policy=x").await.error(404);
    assert_eq!(error, "no layer over this cache has a policy `x`");
    let (all, _) = site.told(FULL, "uri=/products/7&method=POST").await;
    assert!(all.len() == 5 && all.iter().all(|(_, outcome)| outcome == "bypass"), "{all:?}");
    assert_eq!(all.last().unwrap().0, "no-policy", "as in metrics");
}

#[tokio::test]
async fn what_is_stored_tells_whose_it_is() {
    let site = Site::open();
    for uri in ["/dashboard", "/products/7", "/about"] {
        site.get(uri, "2").await;
    }
    // The keys of all that is shared are alike: the entry knows who has stored it.
    for (query, policy) in [
        ("uri=/dashboard&tenant=2", "dashboard"),
        ("uri=/products/7&tenant=2", "products"),
        ("uri=/products/7", "products"),
        ("uri=/about", "policy-1"),
    ] {
        assert_eq!(site.told(FULL, query).await, (of(&[(policy, "hit")]), 0), "{query}");
    }
}

#[tokio::test]
async fn those_of_a_tenant_are_told_nothing_of_others() {
    let site = Site::open();
    site.get("/dashboard", "1").await;
    assert_eq!(site.told(TENANT, "uri=/dashboard").await, (of(&[("dashboard", "hit")]), 0));
    let before = site.told(TENANT, "uri=/products").await;
    assert_eq!(before, (of(&[("dashboard", "miss")]), 0));
    site.get("/products", "2").await;
    assert_eq!(site.told(TENANT, "uri=/products").await, before);
}

#[tokio::test]
async fn where_no_layer_is_nothing_is_explained() {
    let (cache, _) = test_util::cache();
    let layer = CacheLayer::new(&cache, PolicyTable::new().route("/x", Policy::fresh_for(MINUTE)));
    let admin = admin::router([&cache], Token::new(FULL));
    let look = || send(&admin, request(&Method::GET, "api/explain?uri=/y", FULL, &[], ""));
    assert_eq!(look().await.error(404), "no layer over this cache has a policy for this request");
    drop(layer);
    assert_eq!(look().await.error(404), "no layer over this cache has a policy for this request");
}
