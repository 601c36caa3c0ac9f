//! Caches, policies and routes from a file.
#![cfg(feature = "toml")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use larder::{CacheLayer, Config, Identity, assert_bypass, assert_hit, assert_miss};
use std::{convert::Infallible, fs, path::PathBuf};
use tower::{Layer, ServiceExt, service_fn};

const FILE: &str = r#"
[caches.api]
namespace = "shop"
version = 1
memory = "16 MiB"
memory_entries = 1_000
max_object = "1 MiB"
cache_status = "debug"
policy = "standard"

[caches.query]
policy = "standard"

[caches.bare]

[policies.standard]
fresh_for = "30m"

[policies.dashboard]
fresh_for = "10m"
stale_while_revalidate = "2m"
per = ["tenant"]

[policies.unused]
rfc9111 = true

[[routes]]
cache = "api"
path = "/dashboard/{*rest}"
policy = "dashboard"

[[routes]]
cache = "api"
path = "/products/{id}"
policy = "standard"
"#;

async fn ask(layer: &CacheLayer, request: Request<Body>) -> Response<()> {
    let inner = service_fn(|_| std::future::ready(Ok::<_, Infallible>(Response::new(Body::from("ok")))));
    let (head, body) = layer.layer(inner).oneshot(request).await.unwrap().into_parts();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "ok");
    Response::from_parts(head, ())
}

fn get(uri: &str, tenant: Option<u32>) -> Request<Body> {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    if let Some(tenant) = tenant {
        request.extensions_mut().insert(Identity::new().with_tenant(tenant));
    }
    request
}

/// A file of its own for one test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn error(text: &str) -> String {
    Config::from_toml(text).map(|_| ()).expect_err(text).to_string()
}

#[tokio::test]
async fn a_layer_has_the_routes_of_its_cache() {
    let config = Config::from_file(file("routes.toml", FILE)).unwrap();
    let api = config.layer("api").unwrap();
    assert_miss!(ask(&api, get("/dashboard/x", Some(1))).await);
    assert_hit!(ask(&api, get("/dashboard/x", Some(1))).await);
    assert_miss!(ask(&api, get("/dashboard/x", Some(2))).await);
    assert_bypass!(ask(&api, get("/dashboard/x", None)).await);
    assert_miss!(ask(&api, get("/products/1", None)).await);
    assert_bypass!(ask(&api, get("/other", None)).await);
    let hit = ask(&api, get("/products/1", None)).await;
    assert_hit!(hit);
    let status = hit.headers()["cache-status"].to_str().unwrap();
    // The clock may have ticked between the two.
    let ttl = status.contains("ttl=1800") || status.contains("ttl=1799");
    assert!(ttl && status.contains("shop-api:v1"), "{status}");
    assert_eq!(config.caches()["api"].stats().hits, 2);
    assert_eq!(config.caches()["query"].stats().hits, 0);
}

#[tokio::test]
async fn a_layer_without_routes_has_the_policy_of_its_cache() {
    let config = Config::from_toml(FILE).unwrap();
    let query = config.layer("query").unwrap();
    assert_miss!(ask(&query, get("/any", None)).await);
    assert_hit!(ask(&query, get("/any", None)).await);
    let bare = config.layer("bare").unwrap();
    ask(&bare, get("/any", None)).await;
    assert_miss!(ask(&bare, get("/any", None)).await);
}

#[tokio::test]
async fn all_other_requests_can_have_a_policy() {
    let rest = "[[routes]]\ncache = 'api'\notherwise = true\npolicy = 'standard'\n";
    let api = Config::from_toml(&format!("{FILE}{rest}")).unwrap().layer("api").unwrap();
    assert_miss!(ask(&api, get("/other", None)).await);
    assert_hit!(ask(&api, get("/other", None)).await);
    assert_bypass!(ask(&api, get("/dashboard/x", None)).await);
}

#[tokio::test]
async fn an_expanded_value_is_used() {
    // Cargo sets this one for its tests.
    let text = FILE.replace("namespace = \"shop\"", "namespace = \"a-${CARGO_PKG_NAME}\"");
    let api = Config::from_toml(&text).unwrap().layer("api").unwrap();
    ask(&api, get("/products/1", None)).await;
    let hit = ask(&api, get("/products/1", None)).await;
    assert!(hit.headers()["cache-status"].to_str().unwrap().contains("a-larder-api"));
}

#[test]
fn policies_have_their_names() {
    let config = Config::from_toml(FILE).unwrap();
    assert_eq!(config.policies().map(|(name, _)| name).collect::<Vec<_>>(), ["dashboard", "standard", "unused"]);
    assert!(config.policies().all(|(name, policy)| policy.name() == Some(name)));
    assert!(config.policy("other").is_none());
    assert_eq!(config.caches()["api"].policy().name(), Some("standard"));
    assert_eq!(config.caches()["bare"].policy().name(), None);
    // What a file cannot say is added in code.
    let gone = |_: &_, response: &http::response::Parts| response.status == StatusCode::GONE;
    let refined = config.policy("dashboard").unwrap().refuse_storage_if(gone);
    assert!(CacheLayer::try_new(&config.caches()["api"], refined).is_ok());
    let error = config.layer("other").unwrap_err().to_string();
    assert_eq!(error, "no cache is named `other`: there are `api`, `bare`, `query`");
}

#[test]
fn a_file_is_named_in_its_errors() {
    let error = Config::from_file("/no/such/file.toml").unwrap_err().to_string();
    assert!(error.starts_with("/no/such/file.toml: "), "{error}");
    let path = file("unknown.toml", "[caches.api]\n\n[caches.api.x]\n");
    let error = Config::from_file(&path).unwrap_err().to_string();
    let says = format!("{}:3: caches.api.x: no such key: there are `namespace`", path.display());
    assert!(error.starts_with(&says), "{error}");
    let error = Config::from_file(file("layer.toml", FILE)).unwrap().layer("quary").unwrap_err().to_string();
    assert!(error.ends_with("layer.toml: no cache is named `quary`: did you mean `query`?"), "{error}");
}

/// Each text, and how its error begins.
fn each(cases: &[(&str, &str)], text: impl Fn(&str) -> String) {
    for (fields, says) in cases {
        let text = text(fields);
        let error = error(&text);
        assert!(error.starts_with(says), "\n  is: {error}\nsays: {says}\n{text}");
    }
}

#[test]
fn tables_that_there_are_not() {
    let cases = [
        ("a = ", "line 1: `a =` is no TOML: "),
        ("[caches.api]\nmemory = 1\nmemory = 2", "line 3: `memory = 2` is no TOML: duplicate key"),
        ("", "line 1: no cache is described: add [caches.NAME]"),
        ("[caches]", "line 1: no cache is described"),
        ("caches = 3", "line 1: caches = 3: a table is expected here: [caches]"),
        ("caches.api = 3", "line 1: caches.api = 3: a table is expected here: [caches.api]"),
        ("[caches.'a b']", "line 1: caches.\"a b\": cache(`a b`)"),
        ("[cashes.api]", "line 1: cashes: no such key: did you mean `caches`?"),
        ("[cache.api]", "line 1: cache: no such key: write [caches.NAME]"),
        ("[caches.api]\n[stores]\nmain = 'x'", "line 2: stores: no such key: a cache says what is behind its memory"),
        (
            "[caches.api]\n[stores.main]\nurl = 'x'",
            "line 2: stores: no such key: a cache says what is behind its memory",
        ),
        ("redis = 'redis://:pw@x'", "line 1: redis: no such key: a cache says what is behind its memory"),
    ];
    each(&cases, str::to_owned);
}

#[test]
fn what_is_wrong_with_a_cache() {
    let cases = [
        ("disk = ''", "line 2: caches.api.disk = '': Disk::open(\"\"): this is no path of a folder"),
        ("disk = true", "line 2: caches.api.disk = true: the path of a folder in quotes, or a table with `path`, is"),
        ("[caches.api.disk]\nbytes = 1", "line 2: caches.api.disk: nothing says where it is: add path = "),
        (
            "[caches.api.disk]\npath = '/x'\nbytes = 1",
            "line 4: caches.api.disk.bytes = 1: Disk::open(\"/x\"): bytes(1): between 1 MiB and 2^50 are possible",
        ),
        (
            "[caches.api.disk]\npath = '/x'\ncapacity = 1",
            "line 4: caches.api.disk.capacity = 1: no such key: write bytes = \"4 GiB\"",
        ),
        ("redis = 'http://:pw@x'", "line 2: caches.api.redis: "),
        ("redis = 6379", "line 2: caches.api.redis: a URL in quotes, or a table with `url`, `cluster` or `sentinel`"),
        ("redis_url = 'redis://x'", "line 2: caches.api.redis_url: no such key: write redis = \"redis://..\", or ["),
        ("memroy = 1", "line 2: caches.api.memroy = 1: no such key: did you mean `memory`?"),
        (
            "TIMEOUT = 300",
            "line 2: caches.api.TIMEOUT = 300: no such key: a policy says how long: write policy = \"name\"",
        ),
        ("KEY_PREFIX = 'x'", "line 2: caches.api.KEY_PREFIX = 'x': no such key: write namespace = \"name\""),
        ("policy = 'p'", "line 2: caches.api.policy = 'p': [policies] has no such policy: there are none"),
        (
            "policy = 'standart'\n[policies.standard]\nfresh_for = '1m'",
            "line 2: caches.api.policy = 'standart': [policies] has no such policy: did you mean `standard`?",
        ),
        (
            "cache_status = 'loud'",
            "line 2: caches.api.cache_status = 'loud': one of `off`, `brief`, `debug` is expected",
        ),
        ("memory = 'lots'", "line 2: caches.api.memory = 'lots': a size is a number of bytes"),
        ("memory = 1", "line 2: caches.api.memory = 1: memory(1): between 64 KiB and 2^50 bytes are possible"),
        (
            "memory = '1 MiB'\nmax_object = '1 MiB'",
            "line 2: caches.api.memory = '1 MiB': max_object(1048576): between 1 and half of the memory tier, 524288 \
             bytes, are possible (together with caches.api.max_object)",
        ),
        ("memory_entries = 0", "line 2: caches.api.memory_entries = 0: memory_entries(0) would hold nothing"),
        ("namespace = '''a\nb'''", "line 2: caches.api.namespace = '''a b''': namespace(`a\\nb-api`): "),
        (
            "namespace = '${LARDER_NO_SUCH_NAME}'",
            "line 2: caches.api.namespace = '${LARDER_NO_SUCH_NAME}': the environment has no `LARDER_NO_SUCH_NAME`",
        ),
        (
            "memory = '1 MiB'\npolicy = 'p'\n[policies.p]\nfresh_for = '1m'\nmax_body = '2 MiB'",
            "line 6: policies.p.max_body = '2 MiB': max_body(2097152): the memory tier holds bodies of at most ",
        ),
    ];
    each(&cases, |fields| format!("[caches.api]\n{fields}"));
}

#[test]
fn what_is_wrong_with_a_redis() {
    let places = [
        ("", 2, ": nothing says where it is: add url = \"redis://..\", cluster = [\"redis://..\"], or sentinel = "),
        ("budget = '20ms'", 2, ": nothing says where it is"),
        ("url = 'x'", 3, ".url: Redis URL `x…`: redis://host:6379/0, rediss://host:6379/0 and redis+unix:///path are"),
        ("url = 6379", 3, ".url: a text in quotes is expected"),
        ("url = '${LARDER_NO_SUCH_NAME}'", 3, ".url: the environment has no `LARDER_NO_SUCH_NAME`"),
        (
            "url = 'redis://a'\ncluster = ['redis://a']",
            4,
            ".cluster: url says already where it is: drop one of the two",
        ),
        (
            "group = 'm'\nurl = 'redis://a'",
            3,
            ".group = 'm': a group is what sentinels watch: it goes with sentinel = [..]",
        ),
        ("cluster = 'redis://a'", 3, ".cluster: a list of URLs is expected, such as ["),
        ("cluster = []", 3, ".cluster: Redis::cluster: at least one URL is needed"),
        ("cluster = ['redis://a', 7]", 3, ".cluster[1]: a text in quotes is expected"),
        (
            "cluster = ['redis://a', 'rediss://b']",
            3,
            ".cluster: Redis::cluster: a:6379 and b:6379: TLS for all or for none",
        ),
        ("cluster = ['redis://a/1']", 3, ".cluster: Redis::cluster: database 1: a cluster has only database 0"),
        ("sentinel = ['redis://a']", 3, ".sentinel: `group` is missing: the name that sentinels know it by"),
        ("sentinel = ['redis://a']\ngroup = ''", 4, ".group = '': the name that sentinels know it by is expected"),
        ("sentinel = []\ngroup = 'm'", 3, ".sentinel: Redis::sentinel: at least one URL is needed"),
        (
            "sentinel = ['redis+unix:///s']\ngroup = 'm'",
            3,
            ".sentinel: Redis::sentinel: /s: hosts are needed, not a path",
        ),
    ];
    let options = [
        ("budgte = '20ms'", ".budgte: no such key: did you mean `budget`?"),
        ("banana = 1", ".banana: no such key: there are `url`, `cluster`, `sentinel`, `group`, `username`, "),
        ("servers = ['x']", ".servers: no such key: write url = \"redis://host:6379\", or cluster = [..]"),
        ("HOST = 'x'", ".HOST: no such key: write url = \"redis://host:6379\""),
        ("max-connections = 50", ".max-connections: no such key: write connections = 4: each carries many"),
        ("tls_ca = 'x'", ".tls_ca: no such key: certificates are given in code: Redis::tls_ca"),
        ("budget = 50", ".budget = 50: a duration is whole numbers with units in quotes"),
        ("budget = '0s'", ".budget = '0s': budget(0ns): 1 ms to 60 s are possible"),
        ("connections = 0", ".connections = 0: connections(0): 1 to 256 are possible"),
        ("connections = 'four'", ".connections = 'four': a whole number, without quotes, is expected"),
        ("database = -1", ".database = -1: a whole number, without quotes, is expected"),
        ("database = 4_294_967_296", ".database = 4_294_967_296: at most 4294967295 is possible"),
        ("queue = 1024", ".queue = 1024: writes and bytes are expected, such as [1024, \"64 MiB\"]"),
        ("queue = [1024]", ".queue = [1024]: writes and bytes are expected"),
        ("queue = [1024, '64 MB']", ".queue[1] = '64 MB': a size is a number of bytes"),
        ("queue = [0, '64 MiB']", ".queue = [0, '64 MiB']: queue(0, 67108864) would keep nothing"),
        ("breaker = 5", ".breaker = 5: failures and the time between probes are expected, such as [5, \"1s\"]"),
        ("breaker = ['5x', '1s']", ".breaker[0] = '5x': a whole number"),
        ("breaker = [4_294_967_296, '1s']", ".breaker[0] = 4_294_967_296: at most 4294967295 is possible"),
        ("breaker = [0, '1s']", ".breaker = [0, '1s']: breaker(0, 1s): at least 1 failure"),
        ("sample_every = '1ms'", ".sample_every = '1ms': sample_every(1ms): at least 10 ms are needed"),
    ];
    for (fields, line, says) in places {
        let says = format!("line {line}: caches.api.redis{says}");
        each(&[(fields, &says)], |fields| format!("[caches.api]\n[caches.api.redis]\n{fields}"));
    }
    for (fields, says) in options {
        let says = format!("line 4: caches.api.redis{says}");
        each(&[(fields, &says)], |fields| format!("[caches.api]\n[caches.api.redis]\nurl = 'redis://a'\n{fields}"));
    }
    each(
        &[("database = 1", "line 4: caches.api.redis.database = 1: database(1): a cluster has only database 0")],
        |fields| format!("[caches.api]\n[caches.api.redis]\ncluster = ['redis://a']\n{fields}"),
    );
}

#[test]
fn a_redis_is_described_in_each_way() {
    for redis in [
        "redis = 'redis://app:${CARGO_PKG_NAME}@a:6379/1'",
        "redis = { url = 'redis://a', budget = '20ms' }",
        "[caches.api.redis]\nurl = 'redis+unix:///run/redis.sock'",
        "[caches.api.redis]\ncluster = ['redis://a', 'redis://b:7000']\ndatabase = 0",
        "[caches.api.redis]\nsentinel = ['redis://a:26379', 'redis://b:26379']\ngroup = '${CARGO_PKG_NAME}'",
        "[caches.api.redis]\nurl = 'rediss://a'\nusername = 'app'\npassword = '${CARGO_PKG_NAME}'\ndatabase = 2\n\
         budget = '20ms'\nconnections = 2\nqueue = [100, '1 MiB']\nbreaker = [3, '500ms']\nsample_every = '10s'\n\
         client_tracking = true",
    ] {
        let config = Config::from_toml(&format!("[caches.api]\n{redis}")).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.caches()["api"].stats().log.is_some(), "{redis}");
    }
}

#[test]
fn passwords_are_in_no_error() {
    for fields in [
        "redis = 'redis://me:hunter2@host:x'",
        "redis = ['redis://:hunter2@host']",
        "redis = 'redis://:hunter2@host'\nmemory = 1",
        "redis = 'redis://:hunter2@host${LARDER_NO_SUCH_NAME}'",
        "redis = 'redis://:hunter2@host",
        "redis = { url = 'redis://a', password = 'hunter2 }",
        "redis_url = redis://:hunter2@host",
        "redis_url = 'redis://:hunter2@host'",
        "redis_password = 'hunter2'",
        "cluster = ['redis://:hunter2@host']",
        "[caches.api.redis]\nurl = 'redis://me:hunter2@host:x'",
        "[caches.api.redis]\nurl = ['redis://me:hunter2@host']",
        "[caches.api.redis]\nurl = 'redis://:hunter2@host'\nbudget = '0s'",
        "[caches.api.redis]\nurl = 'redis://a'\npassword = ['hunter2']",
        "[caches.api.redis]\nurl = 'redis://a'\npasword = 'hunter2'",
        "[caches.api.redis]\nurl = 'redis://a'\npassword = 'hunter2${LARDER_NO_SUCH_NAME}'",
        "[caches.api.redis]\nurl = 'redis://a'\nuser = 'hunter2'",
        "[caches.api.redis]\nurl = 'redis://a'\nusername = ['hunter2']",
        "[caches.api.redis]\nurl = 'redis://a'\npassword = 'hunter2",
        "[caches.api.redis]\nPASSWORD = hunter2\nurl = 'redis://a'",
        "[caches.api.redis]\ncluster = ['redis://:hunter2@a', 'redis://:hunter2@b:x']",
        "[caches.api.redis]\ncluster = [\n'redis://:a=hunter2@a'\n'redis://:hunter2@b']",
        "[caches.api.redis]\nsentinel = ['redis://:hunter2@a']",
        "[caches.api.redis]\nsentinel = ['redis://:hunter2@a', 7]\ngroup = 'm'",
    ] {
        let error = error(&format!("[caches.api]\n{fields}"));
        assert!(!error.contains("hunter2"), "{error}\n{fields}");
    }
}

#[test]
fn what_is_wrong_with_where_a_policy_begins() {
    let cases = [
        (
            "stale_if_error = '1m'",
            "line 2: policies.p: nothing says where lifetimes come from: add fresh_for = \"10m\"",
        ),
        ("from_response = false", "line 2: policies.p: nothing says where lifetimes come from"),
        ("from_response = 'yes'", "line 3: policies.p.from_response = 'yes': true or false, without quotes"),
        ("fresh_for = 600", "line 3: policies.p.fresh_for = 600: a duration is whole numbers with units in quotes"),
        ("fresh_for = '10 minuts'", "line 3: policies.p.fresh_for = '10 minuts': a duration is whole numbers"),
        ("fresh_for = ['1m']", "line 3: policies.p.fresh_for = ['1m']: a duration is whole numbers"),
        ("fresh_for = '0s'", "line 3: policies.p.fresh_for = '0s': fresh_for(0 s) would store nothing"),
        (
            "from_response = true\noverride_response = true",
            "line 4: policies.p.override_response = true: override_response() without a lifetime",
        ),
        (
            "query_only = ['a']\nfresh_for = '1m'\nignore_query = true",
            "line 3: policies.p.query_only = ['a']: ignore_query on a policy that already",
        ),
    ];
    each(&cases, |fields| format!("[caches.api]\n[policies.p]\n{fields}"));
    each(&[("fresh_for = '1m'", "line 2: policies.\"a b\": named(`a b`): ")], |fields| {
        format!("[caches.api]\n[policies.'a b']\n{fields}")
    });
}

#[test]
fn what_is_wrong_with_a_policy() {
    let cases = [
        ("frehs_for = '2m'", "frehs_for = '2m': no such key: did you mean `fresh_for`?"),
        ("banana = 1", "banana = 1: no such key: there are `fresh_for`, `from_response`, "),
        // What the environment says may be a password, as long as nobody knows what the key means.
        ("url = '${CARGO_PKG_NAME}'", "url = '${CARGO_PKG_NAME}': no such key: "),
        ("uri = 'x'", "uri = 'x': no such key: it takes a closure"),
        ("shared = true", "shared = true: no such key: write scope = \"shared\""),
        ("name = 'x'", "name = 'x': no such key: the name of the table is the name of the policy"),
        ("redis = 'x'", "redis: no such key: a cache says what is behind its memory"),
        ("rfc9111 = true", "rfc9111 = true: fresh_for says already where lifetimes come from"),
        ("lifetime = '2m'", "lifetime = '2m': fresh_for says so already: drop fresh_for or lifetime"),
        ("per = ['a']\nscope = 'shared'", "per = ['a']: scope says so already"),
        ("scope = 'everyone'", "scope = 'everyone': one of `shared`, `per-tenant`, `per-user` is expected"),
        ("per = 'tenant'", "per = 'tenant': a list of texts is expected, such as [\"one\", \"two\"]"),
        ("per = ['a', true]", "per[1] = true: a text in quotes, or a whole number, is expected"),
        ("per = []", "per = []: per([]) names no attribute"),
        ("statuses = [99]", "statuses[0] = 99: a status is a number from 100 to 999"),
        ("statuses = [70000]", "statuses[0] = 70000: a status is a number from 100 to 999"),
        ("statuses = 404", "statuses = 404: a list of statuses is expected"),
        ("statuses = [304]", "statuses = [304]: status 304 is no "),
        ("status_lifetime.nope = '1m'", "status_lifetime.nope = '1m': a status is a number"),
        ("status_lifetime.404 = 1", "status_lifetime.404 = 1: a duration is whole numbers"),
        ("query_values = ['a']", "query_values = ['a']: a table is expected here: [policies.p.query_values]"),
        ("query_values.'a b'.c = 1", "query_values.\"a b\": a list of texts is expected"),
        ("methods = ['get']", "methods[0] = 'get': a method in capital letters is expected"),
        ("key_cookies = []", "key_cookies = []: it names no cookie: leave it out, or say ignore_cookies"),
        ("key_body = [1]", "key_body[0] = 1: a text in quotes is expected"),
        ("key_date = 'Europe/Vienna'", "key_date = 'Europe/Vienna': a time zone is \"UTC\" or an offset"),
        ("key_date = '+15:00'", "key_date = '+15:00': key_date: a time zone is between 12 hours behind"),
        ("max_body = '8 MB'", "max_body = '8 MB': a size is a number of bytes"),
        ("max_key = -1", "max_key = -1: a size is a number of bytes"),
        ("max_key = 0xF", "max_key = 0xF: max_key(15): between 64 bytes"),
        ("max_variants = 1.5", "max_variants = 1.5: a whole number, without quotes, is expected"),
        ("keep = 1979-05-27", "keep = 1979-05-27: a duration is whole numbers"),
        ("allow_headers = ['a']", "allow_headers = ['a']: allow_headers(..) without sealed()"),
        ("key_headers = ['b a d']\nmax_key = 1", "key_headers = ['b a d']: key_headers: `b a d` is no field name"),
        ("ignore_vary = ['Cookie']", "ignore_vary = ['Cookie']: ignore_vary([cookie])"),
        ("jitter = '0.1'", "jitter = '0.1': a number, without quotes, is expected"),
        ("jitter = 0.7", "jitter = 0.7: jitter(0.7): a fraction of the lifetime"),
        ("eager_refresh = 80", "eager_refresh = 80: eager_refresh(80.0): a fraction of the lifetime"),
        ("verify = 0", "verify = 0: verify(0.0): a fraction of the hits, more than 0 and at most 1"),
        ("verify = '1%'", "verify = '1%': a number, without quotes, is expected"),
        ("verify_ignoring = ['x']", "verify_ignoring = ['x']: verify_ignoring(..) without verify(..)"),
        ("xfetch = nan", "xfetch = nan: xfetch(NaN): more than 0 and at most 100"),
        (
            "adaptive_lifetime = '10s'",
            "adaptive_lifetime = '10s': two durations are expected, such as [\"10s\", \"1h\"]",
        ),
        ("adaptive_lifetime = ['10s']", "adaptive_lifetime = ['10s']: two durations are expected"),
        ("adaptive_lifetime = ['10s', 60]", "adaptive_lifetime[1] = 60: a duration is whole numbers"),
        (
            "adaptive_lifetime = ['1h', '10s']",
            "adaptive_lifetime = ['1h', '10s']: adaptive_lifetime(1h..=10s) is empty",
        ),
        ("wait_limit = 5", "wait_limit = 5: a duration is whole numbers"),
        ("min_uses = 0", "min_uses = 0: min_uses(0): "),
        ("min_uses = 4_294_967_296", "min_uses = 4_294_967_296: at most 4294967295 is possible"),
        (
            "soft_timeout = '5s'\nhard_timeout = '5s'",
            "soft_timeout = '5s': hard_timeout(5s) would come before soft_timeout(5s) can do anything: give \
             hard_timeout the longer time, or leave one of them out (together with policies.p.hard_timeout)",
        ),
        (
            "soft_timeout = '5s'\nabandon_on_cancel = true",
            "soft_timeout = '5s': soft_timeout(..) lets a fill go on in the background, where abandon_on_cancel() ends \
             it: leave one of them out (together with policies.p.abandon_on_cancel)",
        ),
    ];
    for (fields, says) in cases {
        let says = format!("line 4: policies.p.{says}");
        each(&[(fields, &says)], |fields| format!("[caches.api]\n[policies.p]\nfresh_for = '1m'\n{fields}"));
    }
}

#[test]
fn what_is_wrong_with_a_route() {
    let cases = [
        ("path = '/x'\npolicy = 'p'", "line 4: routes[0]: `cache` is missing"),
        ("cache = 'api'\npath = '/x'", "line 4: routes[0]: `policy` is missing"),
        ("cache = 'api'\npolicy = 'p'", "line 4: routes[0]: `path` is missing, or otherwise = true"),
        ("cache = 'api'\npolicy = 'p'\notherwise = false", "line 4: routes[0]: `path` is missing"),
        (
            "cache = 'api'\npolicy = 'p'\npath = '/x'\notherwise = true",
            "line 7: routes[0].path = '/x': otherwise = true is for all other paths",
        ),
        ("cache = 'aip'\npolicy = 'p'\npath = '/x'", "line 5: routes[0].cache = 'aip': [caches] has no such cache"),
        ("cache = 'api'\npolicy = 'q'\npath = '/x'", "line 6: routes[0].policy = 'q': [policies] has no such policy"),
        ("cache = 'api'\npolicy = 'p'\npath = 'x'", "line 7: routes[0].path = 'x': route(`x`): a path starts with `/`"),
        ("cache = 'api'\npolicy = 'p'\npath = '/{a'", "line 7: routes[0].path = '/{a': route(`/{a`)"),
        ("cache = 'api'\npolicy = 'p'\npaht = '/'", "line 7: routes[0].paht = '/': no such key: did you mean `path`?"),
        (
            "cache='api'\npolicy='p'\npath='/{a}'\n[[routes]]\ncache='api'\npolicy='p'\npath='/{b}'",
            "line 11: routes[1].path = '/{b}': route(`/{b}`)",
        ),
        (
            "cache='api'\npolicy='p'\notherwise=true\n[[routes]]\ncache='api'\npolicy='p'\notherwise=true",
            "line 8: routes[1]: cache `api` has an otherwise = true already",
        ),
    ];
    each(&cases, |fields| format!("[caches.api]\n[policies.p]\nfresh_for = '1m'\n[[routes]]\n{fields}"));
    let cases = [
        ("[caches.api]\n[routes]\npath = '/'", "line 2: routes: routes are written [[routes]]"),
        (
            "[caches.api]\nmemory = '1 MiB'\n[policies.p]\nfresh_for = '1m'\nmax_body = '2 MiB'\n[[routes]]\ncache = \
             'api'\npath = '/x'\npolicy = 'p'",
            "line 5: policies.p.max_body = '2 MiB': max_body(2097152): the memory tier holds ",
        ),
    ];
    each(&cases, str::to_owned);
}

#[test]
fn the_cache_that_a_policy_does_not_fit_is_named() {
    let text = FILE.replace("[policies.standard]", "[policies.standard]\nmax_body = '2 MiB'");
    let error = error(&text);
    assert!(error.starts_with("line 17: policies.standard.max_body = '2 MiB': max_body(2097152): "), "{error}");
    assert!(error.ends_with("(in cache `api`)"), "{error}");
}

#[test]
fn long_values_are_shortened() {
    let text = format!("[caches.api]\nnamespace = 'a{}'", " é".repeat(500));
    let error = error(&text);
    assert!(
        error.starts_with("line 2: caches.api.namespace = 'a é é") && error.contains("…: namespace(`a "),
        "{error}"
    );
}

#[test]
fn windows_lines_and_a_byte_order_mark_are_read() {
    let text = format!("\u{feff}{}", FILE.replace('\n', "\r\n"));
    assert!(Config::from_toml(&text).is_ok());
    let error = error(&text.replace("30m", "30x"));
    assert!(error.starts_with("line 17: policies.standard.fresh_for = \"30x\": "), "{error}");
}

#[test]
fn many_routes_are_read() {
    let routes = (0..2000).map(|n| format!("[[routes]]\ncache = 'api'\npath = '/r{n}/{{id}}'\npolicy = 'standard'\n"));
    let text = format!("{FILE}{}", routes.collect::<String>());
    assert!(Config::from_toml(&text).is_ok());
    let error = error(&format!("{text}[[routes]]\ncache = 'api'\npath = '/r7/{{x}}'\npolicy = 'standard'\n"));
    assert!(error.contains(": routes[2002].path = '/r7/{x}': "), "{error}");
}

#[test]
fn no_slip_of_the_keyboard_panics() {
    let text = "[caches.é]\npolicy='p'\n[policies.p]\nfresh_for='1h30m'\nquery_values.a=[1,'2']\nmax_key=\"1 KiB\"\n\
                key_date='+02:00'\nstatus_lifetime={404='3s'}\nscope='shared'\n[[routes]]\ncache='é'\npath='/{a}'\n\
                policy=\"${CARGO_PKG_NAME}$$\"";
    for (at, letter) in text.char_indices() {
        let (before, after) = (&text[..at], &text[at + letter.len_utf8()..]);
        for replaced in ["", "'", "$", "\n", ".", "9", "é", "\u{0}", "[", "="] {
            // What is right is not the point: it has to come to an end.
            drop(Config::from_toml(&format!("{before}{replaced}{after}")));
        }
        drop(Config::from_toml(before));
    }
}
