//! Patterns and names that look like patterns (O-43).

use crate::{
    shop::{Answer, Shop, of},
    support::HOUR,
};
use http::Request;
use larder::{Cache, Policy, Selector, Tags};

const TENANTS: [&str; 9] = ["*", "a*", "a?", "a[bc]", "a\\*", "abc", "ab", "a:b", "a=b"];

async fn filled(policy: Policy) -> Shop {
    let shop = Shop::new(policy, |_, number| Answer::ok(format!("v{number}")));
    for tenant in TENANTS {
        shop.send(&of(tenant), Request::get("/x")).await;
    }
    shop
}

async fn gone(shop: &Shop) -> Vec<&'static str> {
    let mut gone = Vec::new();
    for tenant in TENANTS {
        if shop.send(&of(tenant), Request::get("/x")).await.outcome() == "miss" {
            gone.push(tenant);
        }
    }
    gone
}

/// The name of a tenant as the text of keys has it.
fn escaped(tenant: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    tenant.bytes().map(letter).collect()
}

#[tokio::test]
async fn o_43_only_literal_matches_go() {
    for tenant in TENANTS {
        for selector in [
            Selector::tenant(tenant),
            Selector::everything().within(tenant),
            Selector::pattern(format!("tenant={}:*", escaped(tenant))),
            Selector::pattern(format!("tenant:{}:*", escaped(tenant))),
            Selector::pattern("*").within(tenant),
            Selector::policy("p").within(tenant),
            Selector::tag("t").within(tenant),
            Selector::all_of(["t", "u"]).within(tenant),
        ] {
            let shop = filled(Policy::named("p").fresh_for(HOUR).tags(["t", "u"])).await;
            shop.invalidate(selector.clone()).await;
            assert_eq!(gone(&shop).await, [tenant], "{selector:?}");
        }
    }
}

/// `\` makes the next character literal: a star in the name of a tenant, too.
#[tokio::test]
async fn o_43_a_literal_star_is_the_star_of_a_name() {
    for (pattern, tenant) in [(r"tenant=\*:*", "*"), (r"tenant=a\*:*", "a*"), (r"tenant=a\\\*:*", r"a\*")] {
        let shop = filled(Policy::fresh_for(HOUR)).await;
        shop.invalidate(Selector::pattern(pattern)).await;
        assert_eq!(gone(&shop).await, [tenant], "{pattern}");
    }
}

#[tokio::test]
async fn o_43_tags_with_any_signs_are_literal() {
    let names = ["a*", "a", "ab", "*", "a\nb", "}", "\"a'", "a b", "a,b", "{id}", "a:*", "$(x)", "%2A", "ä"];
    for selected in names {
        let shop = Shop::new(Policy::fresh_for(HOUR), move |request, _| {
            Answer::ok("x").saying(Tags::new([names[request.uri.path()[1..].parse::<usize>().unwrap()]]))
        });
        for at in 0..names.len() {
            shop.get(&format!("/{at}")).await;
        }
        shop.invalidate(Selector::tag(selected)).await;
        for (at, name) in names.iter().enumerate() {
            let gone = shop.get(&format!("/{at}")).await.outcome() == "miss";
            assert_eq!(gone, *name == selected, "{selected:?} {name:?}");
        }
    }
}

async fn text_is_found(builder: larder::CacheBuilder, patterns: &[&str]) {
    for pattern in patterns {
        let shop = Shop::over(builder.clone(), Policy::named("dash:board").fresh_for(HOUR).version("2"), |_, _| {
            Answer::ok("x")
        });
        shop.send(&of("1"), Request::get("/d/x?days=30")).await;
        shop.invalidate(Selector::pattern(*pattern)).await;
        let outcome = shop.send(&of("1"), Request::get("/d/x?days=30")).await.outcome();
        assert_eq!(outcome, "miss", "{pattern}");
    }
}

#[tokio::test]
async fn both_spellings_with_and_without_namespace_and_version() {
    let builder = Cache::builder().memory(1 << 20).namespace("shop").version("2026-11");
    let patterns =
        ["tenant=1:*dash*", "tenant:1:*dash:board:*", "shop:v2026-11:tenant=1:*", "shop:*", "*days=30", "*days:30"];
    text_is_found(builder, &patterns).await;
}

#[tokio::test]
async fn a_namespace_or_version_with_a_separator_in_it() {
    for builder in [
        Cache::builder().memory(1 << 20).namespace("shop:eu"),
        Cache::builder().memory(1 << 20).namespace("shop").version("2026:11"),
    ] {
        text_is_found(builder, &["tenant=1:*", "tenant:1:*dash*"]).await;
    }
}
