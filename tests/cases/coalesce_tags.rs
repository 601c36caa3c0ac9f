//! COALESCE: flights and what is only known of an answer when its head is there: tags, groups, names (O-21).

use crate::{
    crowd::{Crowd, ms, pass},
    support::{App, HOUR, Inner, MINUTE, Reply, Script, settle},
};
use http::Request;
use larder::{Policy, Selector, assert_hit};
use std::{pin::Pin, sync::Arc};
use tokio::sync::Notify;

type Event = (&'static str, fn(&App) -> Pin<Box<dyn Future<Output = ()> + Send>>);

fn invalidate(app: &App, selector: Selector) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let cache = app.cache.clone();
    Box::pin(async move {
        cache.invalidate(selector).await.unwrap();
    })
}

const EVENTS: [Event; 9] = [
    ("a tag of the policy", |app| invalidate(app, Selector::tag("fixed"))),
    ("a tag by the answer", |app| invalidate(app, Selector::tag("page:/x"))),
    ("tags that begin so", |app| invalidate(app, Selector::tag("page:*"))),
    ("a tag in a field", |app| invalidate(app, Selector::tag("listed"))),
    ("all of several tags", |app| invalidate(app, Selector::all_of(["fixed", "listed"]))),
    ("a group", |app| invalidate(app, Selector::group("g"))),
    ("the policy", |app| invalidate(app, Selector::policy("pages"))),
    ("a pattern", |app| invalidate(app, Selector::pattern("*pages*/x"))),
    ("a model", |app| {
        let cache = app.cache.clone();
        Box::pin(async move {
            cache.changed("People").await.unwrap();
        })
    }),
];

fn policy() -> Policy {
    Policy::named("pages")
        .from_response()
        .tags(["fixed"])
        .tag_with(|request, _| [format!("page:{}", request.uri.path())])
        .tag_header("x-tags")
        .depends_on(["People"])
}

/// The first GET is held: at its head, in its body, or in a body of declared length.
fn held(gate: &Arc<Notify>, at: usize) -> Inner {
    let gate = Arc::clone(gate);
    Inner::by(move |call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        let reply = reply.with("x-tags", "other listed").with("cache-groups", "\"g\"");
        let body = Script::new().data("v").wait(&gate).data("1");
        match (call.number, at) {
            (1, 0) => reply.gate(&gate),
            (1, 1) => reply.body(body),
            (1, _) => reply.body(body.exact(2)),
            _ => reply.after(ms(100)),
        }
    })
}

/// Nobody who came after a record that selects the response gets it, also where that is not known before the head is there.
#[tokio::test(start_paused = true)]
async fn o_21_the_fence_of_what_the_answer_says() {
    for (what, event) in EVENTS {
        for at in 0..3 {
            for overtakes in [false, true] {
                let what = format!("{what}, held at {at}, {overtakes}");
                let gate = Arc::new(Notify::new());
                let app = App::new(policy(), held(&gate, at));
                let before = Crowd::get(&app, 10, "/x").await;
                pass(10).await;
                event(&app).await;
                let after = Crowd::get(&app, 10, "/x").await;
                if overtakes {
                    pass(150).await;
                }
                gate.notify_one();
                // Who came before may have it; the first has asked for it.
                let before = before.all().await;
                assert!(
                    before[0].text() == "v1" && before.iter().all(|got| ["v1", "v2"].contains(&got.text())),
                    "{what}"
                );
                let after = after.all().await;
                assert!(after.iter().all(|got| got.text() != "v1" && got.text() == after[0].text()), "{what}");
                assert_eq!(app.calls(), 2, "{what}: they share another");
                settle().await;
                let last = app.get("/x").await;
                assert_hit!(last);
                assert_eq!(last.text(), "v2", "{what}");
                assert_eq!((app.stats().fills, app.stats().background), (0, 0));
            }
        }
    }
}

/// What is about others is no reason not to share.
#[tokio::test(start_paused = true)]
async fn o_21_tags_of_others() {
    for at in 0..3 {
        let gate = Arc::new(Notify::new());
        let app = App::new(policy(), held(&gate, at));
        let before = Crowd::get(&app, 10, "/x").await;
        pass(10).await;
        for selector in [
            Selector::tag("page:/y"),
            Selector::tag("pages"),
            Selector::all_of(["fixed", "absent"]),
            Selector::group("h"),
            Selector::policy("page"),
            Selector::pattern("*pages*/y"),
        ] {
            app.cache.invalidate(selector).await.unwrap();
        }
        app.cache.changed("Asset").await.unwrap();
        let after = Crowd::get(&app, 10, "/x").await;
        gate.notify_one();
        for got in before.all().await.iter().chain(&after.all().await) {
            assert_eq!(got.text(), "v1", "{at}");
        }
        assert_eq!(app.calls(), 1);
        assert_hit!(app.get("/x").await);
    }
}

/// Made stale while it is on its way: nobody who comes later takes it for fresh.
#[tokio::test(start_paused = true)]
async fn o_21_what_is_made_stale_on_its_way_is_not_fresh() {
    for selector in [Selector::tag("page:/x").soft(), Selector::resource("/x").soft()] {
        for at in 0..3 {
            let gate = Arc::new(Notify::new());
            let app = App::new(policy().stale_if_error(HOUR), held(&gate, at));
            let before = Crowd::get(&app, 10, "/x").await;
            pass(10).await;
            app.cache.invalidate(selector.clone()).await.unwrap();
            let after = Crowd::get(&app, 10, "/x").await;
            gate.notify_one();
            assert_eq!(before.all().await[0].text(), "v1");
            assert!(after.all().await.iter().all(|got| got.text() == "v2"), "{at}");
            let last = app.get("/x").await;
            assert_hit!(last);
            assert_eq!(last.text(), "v2", "{at}");
        }
    }
}

/// Responses that many keys share a tag of: one purge, one call for each key.
#[tokio::test(start_paused = true)]
async fn o_21_a_mass_purge_is_one_call_for_each_key() {
    let inner = Inner::by(|call| Reply::ok(format!("v{}", call.number)).after(ms(100)));
    let app = App::new(Policy::named("pages").fresh_for(MINUTE).tags(["fixed"]), inner);
    let request = |n: usize| Request::get(format!("/{}", n % 50));
    for round in 1..=4 {
        Crowd::of(&app, 500, request).await.all().await;
        assert_eq!(app.calls(), 50 * round);
        app.cache.invalidate(Selector::tag("fixed")).await.unwrap();
    }
}
