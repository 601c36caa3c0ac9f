//! O-43: names of all signs, on two nodes. And the admin API over stores and a shared log.

use crate::support::{HOUR, Node, Setup, header, reply_with};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use larder::{
    Identity, Policy, Selector, Tags,
    admin::{self, Admin, Token},
};
use larder_redis_tests::{Server, until};
use tower::ServiceExt;

const NAMES: [&str; 12] =
    ["*", "a*", "a?", "a[bc]", "a\\*", "abc", "ab", "a:b", "a\nb", "a}b", "a\"b", "{a}'; redis.call('FLUSHALL') --"];

fn setup(server: &Server) -> Setup {
    Setup::new(server.url(), Policy::fresh_for(HOUR).per_tenant()).replies(|request, call| {
        let mut reply = reply_with(call, &[]);
        let name = NAMES[header(request, "x-name").parse::<usize>().unwrap()];
        reply.extensions_mut().insert(Tags::new([name]));
        reply
    })
}

fn of(number: usize) -> http::request::Builder {
    let identity = Identity::new().with_tenant(NAMES[number]);
    Request::get("/x").header("x-name", number.to_string()).extension(identity)
}

/// Which are answered by the node as they were.
async fn kept(node: &Node) -> Vec<bool> {
    let mut kept = Vec::new();
    for number in 0..NAMES.len() {
        let calls = node.calls();
        node.send(of(number).header("cache-control", "only-if-cached")).await;
        kept.push(node.calls() == calls);
    }
    kept
}

#[tokio::test]
async fn o_43_only_literal_names_go() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    for by_tag in [false, true] {
        for (chosen, name) in NAMES.into_iter().enumerate() {
            for number in 0..NAMES.len() {
                a.send(of(number)).await;
            }
            a.written().await;
            let selector = match by_tag {
                true => Selector::tag(name),
                false => Selector::everything().within(name),
            };
            let preview = a.cache.preview(&selector).await.unwrap();
            assert_eq!((preview.entries, preview.complete), (1, true), "{name:?}");
            a.cache.invalidate(selector).await.unwrap();
            until("the other has read it", async || b.log().read >= a.log().sent).await;
            let expected: Vec<_> = (0..NAMES.len()).map(|number| number != chosen).collect();
            assert_eq!(kept(&a).await, expected, "{name:?}");
            b.cache.clear();
        }
    }
    // What others have in this Redis is there, and names are nowhere but in what is sealed, and in the log.
    let keys = server.cli(&["--raw", "KEYS", "*"]).await;
    assert!(!keys.is_empty() && !keys.contains("FLUSHALL") && !keys.contains("[bc]"), "{keys}");
}

async fn ask(admin: &Admin, request: http::request::Builder, body: &'static str) -> (StatusCode, String) {
    let request = request.header("host", "shop").header("authorization", "Bearer s3cret");
    let request = request.header("content-type", "application/json").header("larder-intent", "manage");
    let response = admin.clone().oneshot(request.body(Full::<bytes::Bytes>::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn the_admin_api_tells_when_redis_is_away() {
    let mut server = Server::standalone().await;
    let node = setup(&server).start().await;
    let admin = admin::router([("shop", &node.cache)], Token::new("s3cret"));
    node.send(of(5)).await;
    node.written().await;
    let everything = r#"{"selector":{"everything":true}}"#;
    let (status, text) = ask(&admin, Request::get("/api/status"), "").await;
    assert_eq!(status, 200);
    for said in [r#""kind":"shared""#, r#""name":"redis""#, r#""up":true"#, r#""health":"healthy""#, r#""problems":[]"#]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    let preview = r#"{"selector":{"tag":"abc"},"preview":true}"#;
    let (_, text) = ask(&admin, Request::post("/api/manage/invalidate"), preview).await;
    assert!(text.contains(r#""entries":1"#) && text.contains(r#""stored_entries":1"#), "{text}");
    let (status, text) = ask(&admin, Request::post("/api/manage/invalidate"), everything).await;
    assert!(status == 200 && text.contains(r#""confirmed":true"#), "{text}");

    server.stop();
    let (status, text) = ask(&admin, Request::post("/api/manage/invalidate"), everything).await;
    assert!(status == 202 && text.contains(r#""confirmed":false"#), "{text}");
    assert!(text.contains("not yet in the log that other processes read"), "{text}");
    until("that is seen", async || ask(&admin, Request::get("/health?strict"), "").await.0 == 503).await;
    let (status, text) = ask(&admin, Request::get("/health"), "").await;
    assert!(status == 200 && text.contains("degraded") && !text.contains("redis"), "{text}");
    let (_, text) = ask(&admin, Request::get("/api/audit"), "").await;
    assert!(text.contains(r#""outcome":"unconfirmed""#), "{text}");

    server.start().await;
    until("it is back", async || ask(&admin, Request::get("/health?strict"), "").await.0 == 200).await;
}
