//! The layer in bare hyper, over HTTP/1.1 and HTTP/2: what a server and a socket add to what a service shows.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use larder::{Cache, CacheLayer, CacheService, Policy};
use larder_attach::{
    Answer, Calls, Client, Fed, HandlerBody, RequestBody, Wire, empty, fed, full, next_piece, serve, until, within,
};
use std::{
    convert::Infallible,
    error::Error,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer, service_fn};

#[tokio::test]
async fn http1() {
    let calls = Calls::default();
    let mut client = Client::http1(serve(cached(&cache(), counted(&calls))).await).await;

    client.get("/x").await.assert_stored();
    let second = client.get("/x").await;
    second.assert_hit();
    assert_eq!(second.text(), "/x: call 1");
    assert_eq!(second.field("content-length"), Some("10"));
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let calls = Calls::default();
    let address = serve(cached(&cache(), counted(&calls))).await;

    let mut client = Client::http2(address).await;
    client.get("/x").await.assert_stored();
    // Another connection, the same cache.
    let second = Client::http2(address).await.get("/x").await;
    second.assert_hit();
    assert!(second.text().ends_with("/x: call 1"), "{second:?}");
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn trailers_over_http2() {
    let calls = Calls::default();
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<RequestBody>| {
            calls.next();
            let (feeder, body) = fed();
            feeder.data("first, ").data("second");
            feeder.trailers(HeaderMap::from_iter([("checksum".parse().unwrap(), HeaderValue::from_static("42"))]));
            async { Ok::<_, Infallible>(Response::new(body)) }
        })
    };
    let mut client = Client::http2(serve(cached(&cache(), service)).await).await;

    client.get("/x").await.assert_stored();
    let second = client.get("/x").await;
    second.assert_hit();
    assert_eq!(second.text(), "first, second");
    assert_eq!(second.trailers.unwrap()["checksum"], "42");
    assert_eq!(calls.count(), 1);
}

/// Over HTTP/1.1 only a chunked body has trailers, and only who says so gets them.
#[tokio::test]
async fn trailers_over_http1() {
    let calls = Calls::default();
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<RequestBody>| {
            calls.next();
            let (feeder, body) = fed();
            feeder.data("content");
            feeder.trailers(HeaderMap::from_iter([("checksum".parse().unwrap(), HeaderValue::from_static("42"))]));
            async { Ok::<_, Infallible>(Response::builder().header("trailer", "checksum").body(body).unwrap()) }
        })
    };
    let mut wire = Wire::connect(serve(cached(&cache(), service)).await).await;

    for outcome in ["fwd=miss; stored", "hit"] {
        wire.write("GET /x HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
        let head = wire.read_until("\r\n\r\n").await;
        assert!(head.contains(&format!("cache-status: larder; {outcome}\r\n")), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let rest = wire.read_until("\r\n\r\n").await;
        assert_eq!(rest, "7\r\ncontent\r\n0\r\nchecksum: 42\r\n\r\n");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn head_from_a_stored_get() {
    let calls = Calls::default();
    // Of unknown length when it was made; known once it is stored.
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<RequestBody>| {
            calls.next();
            let (feeder, body) = fed();
            feeder.data("12345").data("67890");
            async { Ok::<_, Infallible>(Response::new(body)) }
        })
    };
    let address = serve(cached(&cache(), service)).await;
    let mut wire = Wire::connect(address).await;

    wire.write("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(wire.read_until("\r\n\r\n").await.contains("transfer-encoding: chunked"));
    wire.read_until("\r\n0\r\n\r\n").await;
    wire.write("HEAD /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let head = wire.read_until("\r\n\r\n").await;
    assert!(head.contains("content-length: 10\r\n") && head.contains("cache-status: larder; hit\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    // No content came with it: what follows is the next head.
    wire.write("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let get = wire.read_until("\r\n\r\n").await;
    assert!(get.starts_with("HTTP/1.1 200") && get.contains("content-length: 10\r\n"), "{get}");
    assert_eq!(wire.read_exactly(10).await, b"1234567890");
    assert_eq!(calls.count(), 1);
}

/// hyper drops a body as soon as it has sent the declared length, and never asks whether it has ended.
#[tokio::test]
async fn a_body_that_is_dropped_at_its_declared_length_is_stored() {
    let frames = 16;
    let frame = Bytes::from(vec![b'x'; (1 << 20) / frames]);
    let length = frame.len() * frames;
    let (calls, cache) = (Calls::default(), cache());
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<RequestBody>| {
            calls.next();
            let (feeder, body) = fed();
            for _ in 0..frames {
                feeder.data(frame.clone());
            }
            // The body does not end: its feeder lives on.
            std::mem::forget(feeder);
            let response = Response::builder().header(CONTENT_LENGTH, length).body(body).unwrap();
            async { Ok::<_, Infallible>(response) }
        })
    };
    let address = serve(cached(&cache, service)).await;

    let first = Client::http1(address).await.get("/x").await;
    first.assert_stored();
    assert_eq!(first.body.len(), length);
    until(|| cache.stats().stored == 1).await;
    let second = Client::http1(address).await.get("/x").await;
    second.assert_hit();
    assert!(second.body == first.body);
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_hit_waits_for_no_permit() {
    let calls = Calls::default();
    let (started, mut has_started) = mpsc::unbounded_channel();
    let (feeder, body) = fed();
    let body = Arc::new(Mutex::new(Some(body)));
    let hanging = {
        let calls = calls.clone();
        service_fn(move |request: Request<RequestBody>| {
            calls.next();
            let hangs = (request.uri().path() == "/hang").then(|| body.lock().unwrap().take().unwrap());
            if hangs.is_some() {
                started.send(()).unwrap();
            }
            async {
                if let Some(body) = hangs {
                    // Until the test ends it.
                    body.collect().await.unwrap();
                }
                Ok::<_, Infallible>(Response::new(full("answer")))
            }
        })
    };
    let service = ServiceBuilder::new()
        .layer(CacheLayer::new(&cache(), Policy::fresh_for(HOUR)))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(hanging);
    let address = serve(service).await;

    let mut client = Client::http1(address).await;
    client.get("/x").await.assert_stored();
    let hanging = tokio::spawn(async move { Client::http1(address).await.get("/hang").await });
    within(has_started.recv()).await.unwrap();
    // The only permit is taken.
    for _ in 0..3 {
        client.get("/x").await.assert_hit();
    }
    let waiting = tokio::spawn(async move { Client::http1(address).await.get("/y").await });
    client.get("/x").await.assert_hit();
    assert_eq!(calls.count(), 2, "a miss waits for the permit");
    drop(feeder);
    within(hanging).await.unwrap().assert_stored();
    within(waiting).await.unwrap().assert_stored();
}

/// Case O-13: the content of a GET is never taken for a request.
#[tokio::test]
async fn o_13_get_with_a_body_on_a_connection_that_stays_open() {
    let smuggled = "GET /admin HTTP/1.1\r\nhost: h\r\n\r\n";
    let with_length = format!("content-length: {}\r\n\r\n{smuggled}", smuggled.len());
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for rest in [with_length, chunked] {
        let (calls, cache) = (Calls::default(), cache());
        let address = serve(cached(&cache, counted(&calls))).await;
        Client::http1(address).await.get("/hit").await.assert_stored();

        let mut wire = Wire::connect(address).await;
        wire.write(format!("GET /hit HTTP/1.1\r\nhost: h\r\n{rest}")).await;
        wire.write("GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
        let answers = wire.read_to_end().await;
        let contents: Vec<_> = answers.lines().filter(|line| line.contains(": call ")).collect();
        // The server may also close the connection rather than read what the handler did not.
        assert!(
            matches!(contents[..], [first] | [first, "/next: call 3"] if first.contains("/hit: call 2")),
            "{answers}"
        );
        assert!(answers.contains("larder; fwd=bypass"), "{answers}");
        assert_eq!(cache.stats().bypasses["content"], 1);
    }
}

/// Case O-13: content that shapes an answer neither reads nor fills what requests without content get.
#[tokio::test]
async fn o_13_get_with_a_body_that_the_handler_reads() {
    let service = service_fn(|request: Request<RequestBody>| async {
        let read = request.into_body().collect().await.unwrap().to_bytes();
        let read = String::from_utf8(read.to_vec()).unwrap();
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(response.body(full(format!("read {read:?}"))).unwrap())
    });
    let address = serve(cached(&cache(), service)).await;
    for mut client in [Client::http1(address).await, Client::http2(address).await] {
        let with_content = Answer::of(client.send(Method::GET, "/s", &[], "id=evil").await).await;
        with_content.assert_bypass();
        assert_eq!(with_content.text(), "read \"id=evil\"");
        let without = client.get("/s").await;
        without.assert_stored();
        assert_eq!(without.text(), "read \"\"");
        assert_eq!(Answer::of(client.send(Method::GET, "/s", &[], "id=evil").await).await.text(), "read \"id=evil\"");
        client.get("/s").await.assert_hit();
    }
}

/// Case O-14: an upgraded connection belongs to its two ends.
#[tokio::test]
async fn o_14_upgrade() {
    let (calls, cache) = (Calls::default(), cache());
    let service = {
        let calls = calls.clone();
        service_fn(move |mut request: Request<RequestBody>| {
            calls.next();
            tokio::spawn(async move {
                let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                stream.write_all(b"\x81\x05ready").await.unwrap();
                let mut buffer = vec![0; 4096];
                // Sends everything back, each byte turned round.
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let turned: Vec<_> = buffer[..count].iter().map(|byte| !byte).collect();
                    stream.write_all(&turned).await.unwrap();
                }
            });
            let response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("cache-control", "max-age=60");
            async move { Ok::<_, Infallible>(response.body(empty()).unwrap()) }
        })
    };
    let address = serve(cached(&cache, service)).await;

    for call in 1..=2 {
        let mut wire = Wire::connect(address).await;
        wire.write("GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
        let head = wire.read_until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket\r\n"), "{head}");
        assert!(!head.contains("age:") && !head.contains("hit"), "{head}");
        assert_eq!(wire.read_exactly(7).await, b"\x81\x05ready");
        let all_bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for piece in all_bytes.chunks(10_000) {
            wire.write(piece).await;
            let turned: Vec<_> = piece.iter().map(|byte| !byte).collect();
            assert!(wire.read_exactly(piece.len()).await == turned);
        }
        assert_eq!(calls.count(), call);
    }
    let stats = cache.stats();
    assert_eq!((stats.bypasses["upgrade"], stats.stored, stats.resources), (2, 0, 0));
}

/// Case O-14: only exact methods are cached, and what a response says to one connection is not said to the next.
#[tokio::test]
async fn o_14_odd_methods_and_connection_fields() {
    let calls = Calls::default();
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<RequestBody>| {
            let response = Response::builder()
                .header("connection", "x-secret")
                .header("x-secret", "for this connection")
                .header("keep-alive", "timeout=5")
                .header("proxy-authenticate", "Basic")
                .header("x-kept", "1");
            let text = full(format!("call {}", calls.next()));
            async move { Ok::<_, Infallible>(response.body(text).unwrap()) }
        })
    };
    let mut client = Client::http1(serve(cached(&cache(), service)).await).await;

    for method in ["OPTIONS", "TRACE", "get", "Get", "QUERY"] {
        for _ in 0..2 {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            Answer::of(client.send(method, "/x", &[], "").await).await.assert_bypass();
        }
    }
    let first = client.get("/x").await;
    first.assert_stored();
    assert_eq!((first.text(), first.field("x-secret")), ("call 11", Some("for this connection")));
    let second = client.get("/x").await;
    second.assert_hit();
    assert_eq!(second.field("x-kept"), Some("1"));
    for gone in ["x-secret", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(second.field(gone), None, "{gone}");
    }
}

/// Case O-14: what `Connection` names counts as received. A credential stays one.
#[tokio::test]
async fn o_14_nominated_credentials() {
    let calls = Calls::default();
    let mut client = Client::http1(serve(cached(&cache(), counted(&calls))).await).await;
    for (name, value) in [("authorization", "Basic YTpi"), ("cookie", "sid=1")] {
        for _ in 0..2 {
            let answer = client.get_with("/me", &[(name, value), ("connection", name)]).await;
            assert!(["larder; fwd=miss", "larder; fwd=bypass"].contains(&answer.cache_status()[0]), "{answer:?}");
        }
    }
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn stale_while_revalidate() {
    let (calls, cache) = (Calls::default(), cache());
    let address = serve(cached(&cache, stating(&calls, "max-age=0, stale-while-revalidate=3600", |_| true))).await;
    for mut client in [Client::http1(address).await, Client::http2(address).await] {
        let before = (calls.count(), cache.stats());
        client.get("/x").await.assert_stored();
        // The stale one at once, the new one in the background.
        let second = client.get("/x").await;
        second.assert_hit();
        assert!(second.text().ends_with(&format!("call {}", before.0 + 1)));
        until(|| cache.stats().refreshes == before.1.refreshes + 1).await;
        assert_eq!((calls.count(), cache.stats().stored), (before.0 + 2, before.1.stored + 2));
        assert!(client.get("/x").await.text().ends_with(&format!("call {}", before.0 + 2)));
        until(|| cache.stats().refreshes == before.1.refreshes + 2).await;
    }
    assert_eq!(cache.stats().failed_refreshes, 0);
}

/// An error of the service would end the connection.
#[tokio::test]
async fn stale_if_error() {
    let calls = Calls::default();
    let address = serve(cached(&cache(), stating(&calls, "max-age=0, stale-if-error=3600", |call| call == 1))).await;
    let mut client = Client::http1(address).await;
    client.get("/x").await.assert_stored();
    for _ in 0..3 {
        let stale = client.get("/x").await;
        assert_eq!((stale.status, stale.text()), (StatusCode::OK, "call 1"));
    }
    // After the first failure it is left alone.
    assert_eq!(calls.count(), 2);
}

/// Its client does not wait for the answer, but the change is made.
#[tokio::test]
async fn a_change_whose_client_goes_away_counts() {
    let (cache, changes) = (cache(), Calls::default());
    let service = {
        let changes = changes.clone();
        service_fn(move |request: Request<RequestBody>| {
            let changing = request.method() == Method::POST;
            let version = if changing { changes.next() } else { changes.count() };
            async move {
                if changing {
                    pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(full(format!("version {version}"))))
            }
        })
    };
    let address = serve(cached(&cache, service)).await;
    let mut client = Client::http1(address).await;
    client.get("/x").await.assert_stored();
    client.get("/x").await.assert_hit();
    let mut leaving = Client::http1(address).await;
    let change = tokio::spawn(async move { leaving.send(Method::POST, "/x", &[], "").await });
    until(|| changes.count() == 1).await;
    change.abort();
    until(|| cache.stats().invalidations == 1).await;
    assert_eq!(client.get("/x").await.text(), "version 1");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_rest_to_the_next() {
    let (cache, (feeder, body)) = (cache(), fed());
    let address = serve(cached(&cache, once(body, "text/plain"))).await;
    let mut leaving = Client::http1(address).await;
    let mut half = leaving.send(Method::GET, "/x", &[], "").await.into_body();
    feeder.data("half");
    assert_eq!(next_piece(&mut half).await, "half");
    drop((half, leaving));
    until(|| cache.stats().background == 1).await;
    feeder.data(" and half");
    drop(feeder);
    until(|| cache.stats().stored == 1).await;
    let second = Client::http1(address).await.get("/x").await;
    second.assert_hit();
    assert_eq!(second.text(), "half and half");
}

#[tokio::test]
async fn an_event_stream_arrives_event_by_event() {
    let (cache, (feeder, body)) = (cache(), fed());
    let address = serve(cached(&cache, once(body, "text/event-stream"))).await;
    let mut body = Client::http1(address).await.send(Method::GET, "/events", &[], "").await.into_body();
    for number in 0..3 {
        let event = format!("data: {number}\n\n");
        feeder.data(event.clone());
        // The next one is sent only when this one has arrived.
        assert_eq!(next_piece(&mut body).await, event);
    }
    let stats = cache.stats();
    assert_eq!((stats.stored, stats.not_stored.values().sum::<u64>()), (0, 1), "{stats:?}");
}

/// What is being stored is not held back either.
#[tokio::test]
async fn a_response_streams_while_it_is_stored() {
    let (cache, (feeder, body)) = (cache(), fed());
    let address = serve(cached(&cache, once(body, "text/plain"))).await;
    let mut client = Client::http1(address).await;
    let mut body = client.send(Method::GET, "/x", &[], "").await.into_body();
    for piece in ["first, ", "second, ", "third"] {
        feeder.data(piece);
        assert_eq!(next_piece(&mut body).await, piece);
        // Not there before its end.
        assert_eq!(cache.stats().stored, 0);
    }
    drop(feeder);
    assert!(within(body.frame()).await.is_none());
    let second = client.get("/x").await;
    second.assert_hit();
    assert_eq!(second.text(), "first, second, third");
}

/// A body that breaks off breaks the connection, and is not stored.
#[tokio::test]
async fn a_body_shorter_than_declared_breaks_the_connection() {
    let (calls, cache) = (Calls::default(), cache());
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<RequestBody>| {
            calls.next();
            let (feeder, body) = fed();
            feeder.data("only this");
            async { Ok::<_, Infallible>(Response::builder().header(CONTENT_LENGTH, 100).body(body).unwrap()) }
        })
    };
    let address = serve(cached(&cache, service)).await;
    for call in 1..=2 {
        let mut wire = Wire::connect(address).await;
        wire.write("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        // hyper may break off before it has sent the little there is.
        let answer = wire.read_to_end().await;
        assert!(answer.is_empty() || answer.ends_with("\r\n\r\n") || answer.ends_with("only this"), "{answer}");
        assert_eq!(calls.count(), call);
    }
    until(|| cache.stats().not_stored.values().sum::<u64>() == 2).await;
    assert_eq!(cache.stats().stored, 0);
}

const HOUR: Duration = Duration::from_secs(3600);

fn cache() -> Cache {
    Cache::in_memory(64 << 20)
}

fn cached<S>(cache: &Cache, service: S) -> CacheService<S> {
    CacheLayer::new(cache, Policy::fresh_for(HOUR)).layer(service)
}

/// Answers with the path and the number of the call, and reads no content.
fn counted(calls: &Calls) -> impl Handler<HandlerBody> {
    let calls = calls.clone();
    service_fn(move |request: Request<RequestBody>| {
        let text = format!("{}: call {}", request.uri().path(), calls.next());
        async { Ok(Response::new(full(text))) }
    })
}

/// Answers with this `Cache-Control` and the number of the call, or fails.
fn stating(
    calls: &Calls,
    cache_control: &'static str,
    succeeds: fn(usize) -> bool,
) -> impl Handler<HandlerBody, Failure> {
    let calls = calls.clone();
    service_fn(move |_: Request<RequestBody>| {
        let call = calls.next();
        let response = Response::builder().header(CACHE_CONTROL, cache_control).body(full(format!("call {call}")));
        let result = if succeeds(call) { Ok(response.unwrap()) } else { Err("the service failed".into()) };
        async { result }
    })
}

/// Answers one request with this body. A second one would have to come from the cache.
fn once(body: Fed, content_type: &'static str) -> impl Handler<Fed> {
    let body = Arc::new(Mutex::new(Some(body)));
    service_fn(move |_: Request<RequestBody>| {
        let body = body.lock().unwrap().take().expect("a second call");
        let response = Response::builder().header(CONTENT_TYPE, content_type).body(body).unwrap();
        async { Ok(response) }
    })
}

type Failure = Box<dyn Error + Send + Sync>;

trait Handler<B, E = Infallible>:
    Service<Request<RequestBody>, Response = Response<B>, Error = E, Future: Send + 'static> + Clone + Send + 'static
{
}

impl<S, B, E> Handler<B, E> for S where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = E, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}
