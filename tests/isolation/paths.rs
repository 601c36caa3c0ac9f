//! Web cache deception: paths that one reader takes for an asset and another for an account.

use crate::{App, MINUTE, answering, ask, by, cached, get};
use axum::body::Body;
use http::{Request, Response};
use larder::{Identity, Policy, PolicyTable, assert_bypass, test_util};

/// Serves `/account/me` for everything that could be read as it, in whatever spelling, and by whatever it finds of the
/// one who asks.
fn tolerant() -> App {
    answering(|request| {
        let mut path = request.uri().path().to_ascii_lowercase();
        while let Some(decoded) = once_decoded(&path) {
            path = decoded;
        }
        let path = path.replace('\\', "/");
        let is_account = path.contains("account/me");
        let user = request.headers().get("cookie").or(request.headers().get("authorization"));
        let user = user
            .map(|user| user.to_str().unwrap().to_owned())
            .or_else(|| request.extensions().get::<Identity>().and_then(Identity::user).map(str::to_owned));
        let body = match user {
            Some(user) if is_account => format!("account of {user}"),
            _ if is_account => "please log in".to_owned(),
            _ => "an asset".to_owned(),
        };
        Response::new(Body::from(body))
    })
}

fn once_decoded(path: &str) -> Option<String> {
    let at = path
        .as_bytes()
        .windows(3)
        .position(|window| window[0] == b'%' && window[1..].iter().all(u8::is_ascii_hexdigit))?;
    let byte = u8::from_str_radix(&path[at + 1..at + 3], 16).ok()?;
    Some(format!("{}{}{}", &path[..at], char::from(byte), &path[at + 3..]))
}

/// One hour for all of `/static`, and for whatever looks like a style sheet.
fn table() -> PolicyTable {
    let hour = || Policy::fresh_for(60 * MINUTE);
    PolicyTable::new()
        .route("/static/{*path}", hour())
        .when(|parts| parts.uri.path().to_ascii_lowercase().ends_with(".css"), hour())
        .otherwise(Policy::from_response())
}

const PATHS: [&str; 26] = [
    "/account/me/x.css",
    "/account/me;x.css",
    "/account/me%00.css",
    "/account/me%23x.css",
    "/account/me%3fx.css",
    "/account/me%3Fx.css",
    "/account/me%0ax.css",
    "/account/me%0d%0ax.css",
    "/account/me%20.css",
    "/account/me/.css",
    "/account/me/%2e%2e/x.css",
    "/account/me%2fx.css",
    "/static/..%2faccount/me",
    "/static/../account/me",
    "/static/%2e%2e/account/me",
    "/static/%252e%252e%252faccount/me",
    "/static/..%5caccount/me",
    "/static/..\\account\\me",
    "/static\\..\\account\\me",
    "/static/x/..;/account/me",
    "/static//account/me",
    "/account/me%2f..%2f..%2fstatic/x.css",
    "/account/me/..%2f..%2fstatic/x.css",
    "/account\\me\\x.css",
    "/account/me%5cx.css",
    "/%61ccount/me/x.css",
];

#[tokio::test]
async fn o_07_an_account_is_never_an_asset() {
    let (cache, _) = crate::behind::cache();
    let app = cached(&cache, table(), &tolerant());
    for path in PATHS {
        for with_query in ["", "?x.css", "?v=1"] {
            let uri = format!("{path}{with_query}");
            let by_id = by(Identity::new().with_user("A"), get(&uri, &[]));
            let asked = [get(&uri, &[("cookie", "A")]), get(&uri, &[("authorization", "A")]), by_id];
            for of_a in asked {
                assert_eq!(ask(&app, of_a).await.1, "account of A", "{uri}");
                for of_b in [get(&uri, &[("cookie", "B")]), get(&uri, &[("authorization", "B")])] {
                    assert_eq!(ask(&app, of_b).await.1, "account of B", "{uri}");
                }
                assert_eq!(ask(&app, get(&uri, &[])).await.1, "please log in", "{uri}");
            }
        }
    }
}

#[tokio::test]
async fn o_07_ambiguous_paths_have_no_policy() {
    let (cache, _) = crate::behind::cache();
    let by_path = PolicyTable::new().route("/static/{*path}", Policy::fresh_for(MINUTE).shared().ignore_cookies());
    let app = cached(&cache, by_path, &tolerant());
    for path in PATHS.iter().filter(|path| path.starts_with("/static")) {
        let a: Request<Body> = get(path, &[("cookie", "A")]);
        assert_bypass!(ask(&app, a).await.0);
        assert_eq!(ask(&app, get(path, &[])).await.1, "please log in", "{path}");
    }
    assert_eq!(cache.stats().stored, 0);
}

/// A default lifetime by pattern is for those without credentials, even for real assets, unless the policy says more.
#[tokio::test]
async fn o_07_patterns_do_not_apply_to_credentials() {
    let (cache, _) = crate::behind::cache();
    let app = cached(&cache, table(), &tolerant());
    for (uri, expected) in [("/static/a.css", "hit"), ("/other/a.css", "hit"), ("/other", "miss")] {
        for _ in 0..2 {
            assert_bypass!(ask(&app, get(uri, &[("cookie", "A")])).await.0);
            let response = ask(&app, get(uri, &[("authorization", "A")])).await.0;
            assert_eq!(test_util::outcome(response.headers()), "miss", "{uri}");
        }
        ask(&app, get(uri, &[])).await;
        let response = ask(&app, get(uri, &[])).await.0;
        assert_eq!(test_util::outcome(response.headers()), expected, "{uri}");
        // What the anonymous have filled is not for credentials either, unless it says so.
        let response = ask(&app, get(uri, &[("authorization", "A")])).await.0;
        assert_eq!(test_util::outcome(response.headers()), "miss", "{uri}");
    }
}
