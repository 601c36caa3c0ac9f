//! A caching reverse proxy for HTTP/1.1: it answers what it may from memory, and asks one origin for the rest.
//!
//! `cargo run --release --example reverse_proxy -- --listen 127.0.0.1:8080 --origin http://127.0.0.1:3000`
#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, VIA},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use larder::{
    Cache, CacheLayer, Policy, ResponseBody,
    semantics::{fields::strip_connection_fields, target::Target},
};
use std::{convert::Infallible, env, error::Error, io, net::SocketAddr, process::ExitCode, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

#[tokio::main]
async fn main() -> ExitCode {
    // Arguments need not be UTF-8.
    let arguments: Vec<_> = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("reverse_proxy: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let listen = options.listen;
    match serve(options).await {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("reverse_proxy: cannot listen on {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> io::Result<Infallible> {
    let mut policy = Policy::rfc9111();
    if options.stale_on_error {
        policy = policy.stale_if_error(WEEK);
    }
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(2))
        .pool_timer(TokioTimer::new())
        .build(connector);
    let origin = options.origin;
    let cached = CacheLayer::new(&Cache::in_memory(256 << 20), policy)
        .layer(service_fn(move |request| ask_origin(client.clone(), origin.clone(), request)));

    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely too many files are open. Some will be closed.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Events are small, and are not to wait for one another. Where it cannot be set, they wait.
        drop(stream.set_nodelay(true));
        let cached = cached.clone();
        let service = hyper::service::service_fn(move |request| answer_client(cached.clone(), request));
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        // An error is one of this client: it went away, or did not speak HTTP.
        tokio::spawn(connection);
    }
}

/// Between the client and the cache. What a request says to this connection alone ends here, before the cache: it then
/// goes by the same fields as the origin. Answers reach the cache as the origin has sent them, and lose such fields on
/// their way out.
async fn answer_client<C>(cached: C, request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible>
where
    C: Service<Request<RequestBody>, Response = Response<ResponseBody<Incoming>>>,
    C::Error: std::fmt::Display,
{
    let (mut parts, body) = request.into_parts();
    if let Err(fault) = check(&parts) {
        return Ok(in_words(StatusCode::BAD_REQUEST, &fault));
    }
    // `Connection: host` would have the origin answer for another host than the cache stores the answer under.
    let host = parts.headers.get(HOST).cloned();
    strip_connection_fields(&mut parts.headers);
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }

    match cached.oneshot(Request::from_parts(parts, body.boxed_unsync())).await {
        Ok(mut response) => {
            strip_connection_fields(response.headers_mut());
            // If the origin breaks off, the body ends with an error, and hyper closes the connection to the client.
            Ok(response.map(Either::Left))
        }
        Err(error) => Ok(in_words(StatusCode::BAD_GATEWAY, &format!("the origin does not answer: {error}"))),
    }
}

/// Between the cache and the origin. An error here is one of the origin, for which the cache may have something stale.
async fn ask_origin(
    client: Client<HttpConnector, RequestBody>,
    origin: Authority,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
    let (mut parts, body) = request.into_parts();
    // Where to connect. The client sends the path alone (origin-form), and leaves `Host` as it is: the origin may serve
    // several hosts, and writes links for the one that the user sees. Only a request without `Host` gets the origin's.
    let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::builder().scheme(Scheme::HTTP).authority(origin).path_and_query(target).build()?;
    parts.version = Version::HTTP_11;
    parts.headers.append(VIA, HeaderValue::from_static("1.1 larder"));
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Without being told hyper takes it that a GET has no body.
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let response = client.request(Request::from_parts(parts, body)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err("it switches protocols unasked".into());
    }
    Ok(response)
}

/// The body of a request. The cache makes requests of its own, so it must be possible to make an empty one.
type RequestBody = UnsyncBoxBody<Bytes, hyper::Error>;
/// The body of an answer: the origin's or the cache's, or words of our own.
type AnswerBody = Either<ResponseBody<Incoming>, Full<Bytes>>;

/// Whether it is clear what is asked for, and of which host (RFC 9112 §3.2).
fn check(request: &Parts) -> Result<(), String> {
    let target = Target::of(&request.uri, &request.headers, None).map_err(|why| why.to_string())?;
    if !target.path.starts_with('/') {
        return Err("the target is no path".to_owned());
    }
    if request.version == Version::HTTP_11 && !request.headers.contains_key(HOST) {
        return Err("there is no Host".to_owned());
    }
    Ok(())
}

fn in_words(status: StatusCode, words: &str) -> Response<AnswerBody> {
    let mut response = Response::new(Either::Right(Full::from(format!("{words}\n"))));
    *response.status_mut() = status;
    response
}

struct Options {
    listen: SocketAddr,
    origin: Authority,
    stale_on_error: bool,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut origin, mut stale_on_error) = (None, None, false);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--listen" => listen = Some(parse_listen(&value()?)?),
                "--origin" => origin = Some(parse_origin(&value()?)?),
                "--stale-on-error" => stale_on_error = true,
                _ => return Err(format!("unknown argument `{argument}`")),
            }
        }
        let listen = listen.ok_or("--listen is missing")?;
        let origin = origin.ok_or("--origin is missing")?;
        Ok(Self { listen, origin, stale_on_error })
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address and port"))
}

fn parse_origin(text: &str) -> Result<Authority, String> {
    let parts = text.parse::<Uri>().map_err(|error| format!("`{text}` is no URL: {error}"))?.into_parts();
    match (parts.scheme, parts.authority, parts.path_and_query) {
        (Some(scheme), Some(authority), Some(path))
            if scheme == Scheme::HTTP
                && path == "/"
                && !authority.host().is_empty()
                && !authority.as_str().contains('@') =>
        {
            Ok(authority)
        }
        _ => Err(format!("`{text}` is no URL of the form http://HOST:PORT")),
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

const USAGE: &str = "\
usage: reverse_proxy --listen ADDR --origin URL [--stale-on-error]

  --listen ADDR      where to listen, such as 127.0.0.1:8080
  --origin URL       whom to ask, such as http://127.0.0.1:3000
  --stale-on-error   if the origin does not answer, or answers 5xx: serve what is stored, up to a week too old";
