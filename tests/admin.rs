//! The admin API: who gets in, what each path answers, what actions do, and that nothing else can be had of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "admin/access.rs"]
mod access;
#[path = "admin/actions.rs"]
mod actions;
#[path = "admin/entries.rs"]
mod entries;
#[path = "admin/explaining.rs"]
mod explaining;
#[path = "admin/failing.rs"]
mod failing;
#[path = "admin/figures.rs"]
mod figures;
#[path = "admin/findings.rs"]
mod findings;
#[path = "admin/mounted.rs"]
mod mounted;
#[path = "admin/names.rs"]
mod names;
#[path = "admin/purging.rs"]
mod purging;
mod shelf;
#[path = "admin/tenants.rs"]
mod tenants;
#[path = "admin/warming.rs"]
mod warming;

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use larder::{
    Cache, CacheLayer, Dependencies, Identity, IdentityLayer, Policy, PolicyTable,
    admin::{self, Access, Admin, Token},
    test_util::{self, ManualClock},
};
use serde_json::Value;
use std::{convert::Infallible, time::Duration};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

const MINUTE: Duration = Duration::from_secs(60);
const FULL: &str = "the-full-token";
const READ: &str = "the-read-token";
const TENANT: &str = "the-token-of-tenant-1";

type App = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// An application with its administration.
struct Shop {
    cache: Cache,
    clock: ManualClock,
    app: App,
    admin: Admin,
}

/// What came of a request.
#[derive(Debug)]
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Told {
    /// The answer as JSON, which has to be well.
    fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The text of an error of this status.
    fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        let told = self.json();
        members(&told, &["error"]);
        told["error"].as_str().unwrap().to_owned()
    }
}

fn tokens() -> [Token; 3] {
    [
        Token::new(FULL),
        Token::new(READ).grants(Access::read_only().named("monitoring")),
        Token::new(TENANT).grants(Access::full().tenant(1).named("of one")),
    ]
}

impl Shop {
    fn open() -> Self {
        let dependencies = Dependencies::new().tags("Rule", ["rule:{id}", "rules"]).names("Rule", ["People"]);
        Self::with(Cache::builder().namespace("shop").version("7").dependencies(dependencies))
    }

    fn with(builder: larder::CacheBuilder) -> Self {
        let (cache, clock) = test_util::cache_with(builder).unwrap();
        let fresh = || Policy::fresh_for(MINUTE);
        let table = PolicyTable::new()
            .route("/products/{id}", fresh().shared().tags(["products"]).stale_while_revalidate(MINUTE))
            .route(
                "/dashboard",
                Policy::named("dashboard")
                    .fresh_for(MINUTE)
                    .per_tenant()
                    .tags(["dashboard"])
                    .depends_on(["People"])
                    .objective(0.8, Duration::from_millis(500)),
            )
            .route("/secret", fresh().shared().key_headers(["x-api-key", "x-client"]).credential_headers(["x-client"]))
            .route("/cart", Policy::named("cart").fresh_for(MINUTE))
            .otherwise(fresh());
        let app = CacheLayer::new(&cache, table).layer(service_fn(handler));
        let app = IdentityLayer::from_fn(|request| {
            let tenant = request.headers.get("x-tenant")?.to_str().ok()?;
            Some(Identity::new().with_tenant(percent(tenant)))
        })
        .layer(app);
        let admin = admin::router([&cache], tokens());
        Self { app: boxed(app), admin, cache, clock }
    }

    /// A request to the application, its answer read to the end.
    async fn get(&self, uri: &str, fields: &[(&str, &str)]) -> Response<()> {
        let mut request = Request::builder().uri(uri).header("host", "shop.example");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        body.collect().await.unwrap();
        Response::from_parts(head, ())
    }

    /// A look into the API.
    async fn look(&self, path: &str) -> Told {
        self.look_as(FULL, path).await
    }

    async fn look_as(&self, token: &str, path: &str) -> Told {
        send(&self.admin, request(&Method::GET, path, token, &[], "")).await
    }

    /// An action, as it should be sent.
    async fn act(&self, path: &str, body: &Value) -> Told {
        self.act_as(FULL, path, body).await
    }

    async fn act_as(&self, token: &str, path: &str, body: &Value) -> Told {
        send(&self.admin, action(path, token, &body.to_string())).await
    }

    /// What keeps of each path: hits tell.
    async fn is_hit(&self, uri: &str, fields: &[(&str, &str)]) -> bool {
        test_util::outcome(self.get(uri, fields).await.headers()) == "hit"
    }
}

async fn handler(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut response = Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .header("etag", "\"1\"")
        .header("x-session-token", "s3cret")
        .header("x-client", "s3cret")
        .header("content-location", "/elsewhere?token=s3cret");
    if path == "/secret" {
        response = response.header("cache-control", "public");
    }
    if path == "/cart" {
        response = response.header("set-cookie", "sid=s3cret");
    }
    Ok(response.body(Body::from(format!("<p>{path}</p>"))).unwrap())
}

fn boxed<S, B>(service: S) -> App
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(service.map_response(|response: Response<B>| response.map(Body::new)))
}

/// A request with this token, if it is not empty.
fn request(method: &Method, path: &str, token: &str, fields: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("/{path}")).header("host", "shop.example");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

const MEANT: [(&str, &str); 2] = [("content-type", "application/json"), ("larder-intent", "manage")];

fn action(path: &str, token: &str, body: &str) -> Request<Body> {
    request(&Method::POST, path, token, &MEANT, body)
}

async fn send(admin: &Admin, request: Request<Body>) -> Told {
    told(admin.clone().oneshot(request).await.unwrap()).await
}

async fn told<B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> Told {
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Told { status: head.status, headers: head.headers, text }
}

/// An object with exactly these members.
fn members(value: &Value, names: &[&str]) {
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let mut found: Vec<_> = object.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// A text as a query has it.
fn query(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Fields cannot hold every sign.
fn percent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let coded = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match coded.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]).1,
            None => (bytes.push(*first), rest = after).1,
        }
    }
    String::from_utf8(bytes).unwrap()
}
