//! Who is who: ids that look alike, ids that are used again, and closures that fail to tell.

use crate::{App, MINUTE, answering, ask, boxed, by, cached, get, outcome, told};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response};
use larder::{
    CacheLayer, Identity, IdentityLayer, Policy, Selector, assert_bypass, assert_hit, assert_miss, test_util,
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};

/// Ids that one reader or another takes for the same, or for none.
fn look_alikes() -> Vec<String> {
    let long = "x".repeat(255);
    let ids = [
        "1",
        "01",
        "1.0",
        "+1",
        "-1",
        "1e0",
        "0x1",
        "１",
        "²",
        "a",
        "A",
        "а",
        "a ",
        " a",
        "a\t",
        "a\r\n",
        "a\0",
        "a\0b",
        "\0",
        "a\u{200b}",
        "a\u{feff}",
        "a\u{ad}",
        "\u{e9}",
        "e\u{301}",
        "\u{c9}",
        "E\u{301}",
        "ß",
        "ss",
        "SS",
        "ﬁ",
        "fi",
        "ı",
        "i",
        "I",
        "İ",
        "K",
        "\u{212a}",
        "null",
        "None",
        "undefined",
        "nobody",
        "*",
        "a*",
        "?",
        "a:b",
        "a=b",
        "a|b",
        "a/b",
        "a,b",
        "a%3Ab",
        "tenant=1",
        "\u{1e}",
        "\u{1f}",
        "\u{fffd}",
        "\u{10ffff}",
    ];
    let mut ids: Vec<String> = ids.map(str::to_owned).into();
    ids.extend(["", "a", "b", &long].map(|end| format!("{long}{end}")));
    ids
}

fn whoever(name: &'static str) -> App {
    answering(move |request| {
        let id = request.extensions().get::<Identity>().and_then(|identity| identity.get(name));
        Response::new(Body::from(format!("{id:?}")))
    })
}

#[tokio::test]
async fn o_15_ids_that_look_alike_are_not() {
    let minute = || Policy::fresh_for(MINUTE);
    for (name, policy, selectable) in [
        ("user", minute(), true),
        ("tenant", minute(), true),
        ("user", minute().per_user(), true),
        ("user", minute().per_user().sealed(), true),
        ("tenant", minute().per_tenant(), true),
        ("role", minute().per(["role"]), true),
        // A context is no attribute.
        ("role", minute().per_context(|identity| identity.get("role").map(str::to_owned)), false),
    ] {
        let (cache, _) = crate::behind::cache();
        let app = cached(&cache, policy, &whoever(name));
        let ids = look_alikes();
        let with = |id: &String| by(Identity::new().with(name, id), get("/", &[]));
        for expected in ["miss", "hit"] {
            for id in &ids {
                let (response, body) = ask(&app, with(id)).await;
                assert_eq!((test_util::outcome(response.headers()), body), (expected, format!("{:?}", Some(id))));
            }
        }
        for id in ids.iter().filter(|_| selectable) {
            cache.invalidate(Selector::attribute(name, id)).await.unwrap();
            for other in &ids {
                let expected = if other == id { "miss" } else { "hit" };
                assert_eq!(outcome(&app, with(other)).await, expected, "{name} {id:?} {other:?}");
            }
        }
    }
}

#[tokio::test]
async fn o_15_blank_is_nobody() {
    for blank in ["", " ", "\t", "\u{a0}", "\u{2003}\n"] {
        let (cache, _) = crate::behind::cache();
        for policy in [Policy::fresh_for(MINUTE).per_user(), Policy::fresh_for(MINUTE).per_tenant()] {
            let app = cached(&cache, policy, &whoever("user"));
            let identity = Identity::new().with_tenant(blank).with_user(blank);
            assert_bypass!(ask(&app, by(identity, get("/", &[]))).await.0);
        }
        assert!(cache.invalidate(Selector::user(blank)).await.is_err());
        assert!(cache.invalidate(Selector::user(1).within(blank)).await.is_err());
    }
}

/// Answers with the number of its call; the first waits until it is told to go on.
fn counting(go: &Arc<Notify>) -> App {
    let (go, calls) = (go.clone(), Arc::<AtomicUsize>::default());
    boxed(service_fn(move |_: Request<Body>| {
        let (go, call) = (go.clone(), calls.fetch_add(1, SeqCst) + 1);
        async move {
            if call == 1 {
                go.notified().await;
            }
            Ok::<_, Infallible>(Response::new(Body::from(call.to_string())))
        }
    }))
}

#[tokio::test]
async fn o_15_a_tenant_of_the_same_id_starts_empty() {
    let (cache, clock) = crate::behind::cache();
    let go = Arc::<Notify>::default();
    let minutes = |count| count * MINUTE;
    let policy = Policy::fresh_for(MINUTE).stale_while_revalidate(minutes(9)).stale_if_error(minutes(9));
    let app = cached(&cache, policy, &counting(&go));
    let of = |tenant: &str, user: &str| by(Identity::new().with_tenant(tenant).with_user(user), get("/", &[]));
    let on_its_way = tokio::spawn(app.clone().oneshot(of("gone", "1")));
    tokio::task::yield_now().await;
    for (tenant, user, answer) in [("gone", "2", "2"), ("stays", "1", "3"), ("gone ", "2", "4")] {
        assert_eq!(ask(&app, of(tenant, user)).await.1, answer);
    }
    clock.advance(minutes(2));
    cache.invalidate(Selector::tenant("gone")).await.unwrap();
    // What was on its way is answered, and not kept.
    go.notify_one();
    let late = on_its_way.await.unwrap().unwrap();
    assert_eq!(axum::body::to_bytes(late.into_body(), 9).await.unwrap(), "1");
    assert_eq!(cache.stats().not_stored["invalidated"], 1);
    for (tenant, user, answer) in [("gone", "1", "5"), ("gone", "2", "6")] {
        let (response, body) = ask(&app, of(tenant, user)).await;
        assert_miss!(response);
        assert_eq!(body, answer);
        assert_hit!(ask(&app, of(tenant, user)).await.0);
    }
    // Stale, and used all the same: nothing has happened to these.
    for (tenant, user, answer) in [("stays", "1", "3"), ("gone ", "2", "4")] {
        let (response, body) = ask(&app, of(tenant, user)).await;
        assert_eq!((test_util::outcome(response.headers()), &*body), ("stale", answer));
    }
}

#[tokio::test]
async fn o_15_a_panic_costs_its_request_and_nothing_else() {
    const ROUNDS: usize = 40;
    fn fails(parts: &http::request::Parts) -> bool {
        // Without the message that a panic prints.
        if parts.headers.contains_key("x-fail") {
            std::panic::resume_unwind(Box::new("as told"));
        }
        false
    }
    let minute = || Policy::fresh_for(MINUTE);
    let scoped = minute().per_context(|identity| {
        fails(&get("/", if identity.get("fail").is_some() { &[("x-fail", "1")] } else { &[] }).into_parts().0);
        identity.user().map(str::to_owned)
    });
    for policy in [
        minute(),
        scoped,
        minute().bypass_if(fails),
        minute().refetch_if(fails),
        minute().refuse_storage_if(|request, _| fails(request)),
        minute().key_part("part", |request| fails(request).then(String::new)),
        minute().uri(|request| {
            fails(request);
            request.uri.clone()
        }),
    ] {
        let (cache, _) = crate::behind::cache();
        let identity = IdentityLayer::from_async_fn(|parts| {
            let user = parts.headers["x-user"].to_str().unwrap().to_owned();
            let (fails_now, fails_later) =
                (parts.headers.get("x-fail-now"), parts.headers.get("x-fail-later").cloned());
            if fails_now.is_some() {
                std::panic::resume_unwind(Box::new("as told"));
            }
            let fails = parts.headers.contains_key("x-fail");
            async move {
                tokio::task::yield_now().await;
                if fails_later.is_some() {
                    std::panic::resume_unwind(Box::new("as told"));
                }
                let identity = Identity::new().with_user(user);
                Some(if fails { identity.with("fail", 1) } else { identity })
            }
        });
        let owner = answering(|request| Response::new(Body::from(request.headers()["x-user"].as_bytes().to_vec())));
        let app = told(&cache, boxed(identity.layer(CacheLayer::new(&cache, policy).layer(owner))));
        let mut asked = Vec::new();
        for round in 0..ROUNDS {
            for user in ["7", "8"] {
                let failing = ["x-fail-now", "x-fail-later", "x-fail", "x-well"][round % 4];
                let app = app.clone();
                asked.push(tokio::spawn(async move {
                    let (_, body) = ask(&app, get("/", &[("x-user", user), (failing, "1")])).await;
                    assert_eq!(body, user);
                }));
            }
        }
        for asked in asked {
            asked.await.unwrap();
        }
        assert!(cache.stats().bypasses["callback-panicked"] >= 2 * ROUNDS as u64 / 4);
        for user in ["7", "8"] {
            ask(&app, get("/", &[("x-user", user)])).await;
            let (response, body) = ask(&app, get("/", &[("x-user", user)])).await;
            assert_hit!(response);
            assert_eq!(body, user);
        }
    }
}

/// A server drops the future of a request whose client has gone, also while it is being found out who asked.
#[tokio::test]
async fn o_15_who_goes_away_leaves_nothing_behind() {
    let (cache, _) = crate::behind::cache();
    let identity = IdentityLayer::from_async_fn(|parts| {
        let user = parts.extensions.get::<u32>().copied();
        async move {
            tokio::task::yield_now().await;
            Some(Identity::new().with_user(user?))
        }
    });
    let app = boxed(identity.layer(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(whoever("user"))));
    let of = |user: u32| {
        let mut request = get("/", &[]);
        request.extensions_mut().insert(user);
        request
    };
    for user in 0..50 {
        let mut gone = std::pin::pin!(app.clone().oneshot(of(user)));
        let polled = std::future::poll_fn(|cx| Poll::Ready(gone.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
        assert_eq!(ask(&app, of(user + 1000)).await.1, format!("{:?}", Some((user + 1000).to_string())));
    }
    assert_eq!(cache.stats().resources, 50);
}

/// A handler that reads the field itself may take it for somebody, so it is not nobody.
#[tokio::test]
async fn o_15_a_trusted_field_that_makes_no_sense_bypasses() {
    let (cache, _) = crate::behind::cache();
    let trusted = IdentityLayer::from_trusted_headers([
        ("tenant", HeaderName::from_static("x-tenant")),
        ("user", HeaderName::from_static("x-user")),
    ]);
    let reads = answering(|request| Response::new(Body::from(request.headers()["x-user"].as_bytes().to_vec())));
    let app = told(&cache, boxed(trusted.layer(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(reads))));
    for (user, again) in [("jos\u{e9}", None), ("zo\u{eb}", None), ("a", Some("x")), ("b", Some("x"))] {
        let mut request = get("/", &[("x-tenant", "1")]);
        request.headers_mut().append("x-user", HeaderValue::from_bytes(user.as_bytes()).unwrap());
        if let Some(again) = again {
            request.headers_mut().append("x-user", again.parse().unwrap());
        }
        let (response, body) = ask(&app, request).await;
        assert_bypass!(response);
        assert_eq!(body, user);
    }
    assert_eq!(cache.stats().bypasses["identity-unclear"], 4);
}

#[tokio::test]
async fn o_15_who_belongs_to_several_tenants_is_selected_in_each() {
    let (cache, _) = crate::behind::cache();
    let app = cached(&cache, Policy::fresh_for(MINUTE), &whoever("user"));
    let asked = || by(Identity::new().with_all("tenant", [1, 2]).with_user(7), get("/", &[]));
    for (tenant, expected) in [(1, "miss"), (2, "miss"), (3, "hit")] {
        ask(&app, asked()).await;
        cache.invalidate(Selector::user(7).within(tenant)).await.unwrap();
        assert_eq!(outcome(&app, asked()).await, expected, "{tenant}");
    }
}
