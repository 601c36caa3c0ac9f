//! What the tests need to attach the layer to real servers: a server for any service, clients, and bodies that a test
//! feeds frame by frame.
#![allow(clippy::unwrap_used, reason = "where a helper fails, the test fails")]

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{AGE, HOST},
};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    error::Error,
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tower_service::Service;

/// The body of a request as a layer that makes requests needs it: hyper's `Incoming` cannot be made.
pub type RequestBody = BoxBody<Bytes, hyper::Error>;

/// Serves a service on a port of its own: HTTP/1.1 with upgrades, and HTTP/2 for clients that begin with it.
pub async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(Boxing(service.clone()));
            let connection = async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                // An error is one of a client that went away.
                drop(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
            };
            tokio::spawn(connection);
        }
    });
    address
}

/// A listener on a port of its own.
pub async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Waits for what must come. The time is that after which the test has failed.
pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("what was awaited does not come")
}

/// Waits until something is so. For what no channel can tell, such as a counter.
pub async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Boxes the bodies of requests.
#[derive(Clone)]
struct Boxing<S>(S);

impl<S: Service<Request<RequestBody>>> Service<Request<Incoming>> for Boxing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> S::Future {
        self.0.call(request.map(BodyExt::boxed))
    }
}

/// How often a handler was called.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// Counts one, and tells which it is, from 1.
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A client with one connection, which stays open.
pub struct Client {
    address: SocketAddr,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connects, and speaks HTTP/1.1.
    pub async fn http1(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self { address, sender: Sender::Http1(sender) }
    }

    /// Connects, and speaks HTTP/2 from the first byte.
    pub async fn http2(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { address, sender: Sender::Http2(sender) }
    }

    /// Sends a request for a path, and returns the head of the answer as soon as it is there.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let body = Full::from(body.to_owned());
        within(async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    let request = request.uri(path).header(HOST, self.address.to_string()).body(body).unwrap();
                    sender.ready().await.unwrap();
                    sender.send_request(request).await.unwrap()
                }
                Sender::Http2(sender) => {
                    let request = request.uri(format!("http://{}{path}", self.address)).body(body).unwrap();
                    sender.ready().await.unwrap();
                    sender.send_request(request).await.unwrap()
                }
            }
        })
        .await
    }

    /// GET, read to its end.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// GET with further fields, read to its end.
    pub async fn get_with(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        Answer::of(self.send(Method::GET, path, fields, "").await).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The content.
    pub body: Bytes,
    /// The fields after the content.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap();
        let trailers = body.trailers().cloned();
        Self { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
    }

    /// The content as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// A field of one line.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.get_all(name).iter();
        let first = lines.next();
        assert!(lines.next().is_none(), "several lines of {name}: {:?}", self.headers);
        first.map(|line| line.to_str().unwrap())
    }

    /// The members of `Cache-Status`, over all lines.
    pub fn cache_status(&self) -> Vec<&str> {
        let lines = self.headers.get_all("cache-status").iter();
        lines.flat_map(|line| line.to_str().unwrap().split(',').map(str::trim)).collect()
    }

    /// It comes from the cache, and says so.
    #[track_caller]
    pub fn assert_hit(&self) {
        assert_eq!(self.cache_status(), ["larder; hit"], "{self:?}");
        assert!(self.field(AGE.as_str()).is_some_and(|age| age.parse::<u64>().is_ok()), "{self:?}");
    }

    /// It comes from the handler, and is stored.
    #[track_caller]
    pub fn assert_stored(&self) {
        assert_eq!(self.cache_status(), ["larder; fwd=miss; stored"], "{self:?}");
        assert_eq!(self.field(AGE.as_str()), None, "{self:?}");
    }

    /// The cache took no part.
    #[track_caller]
    pub fn assert_bypass(&self) {
        assert_eq!(self.cache_status(), ["larder; fwd=bypass"], "{self:?}");
    }
}

/// A connection on which a test writes bytes of its own choice.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads up to and with a mark.
    pub async fn read_until(&mut self, mark: &str) -> String {
        let mark = mark.as_bytes();
        loop {
            if let Some(place) = self.read.windows(mark.len()).position(|window| window == mark) {
                let rest = self.read.split_off(place + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert_ne!(within(self.stream.read_buf(&mut self.read)).await.unwrap(), 0, "closed: {:?}", self.read);
        }
    }

    /// Reads so many bytes.
    pub async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert_ne!(within(self.stream.read_buf(&mut self.read)).await.unwrap(), 0, "closed: {:?}", self.read);
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    /// Reads until the other side closes.
    pub async fn read_to_end(mut self) -> String {
        // A connection that is reset has ended too.
        drop(within(self.stream.read_to_end(&mut self.read)).await);
        String::from_utf8(self.read).unwrap()
    }
}

/// A body whose frames a test sends one by one. Its length is not known beforehand.
#[derive(Debug)]
pub struct Fed(mpsc::UnboundedReceiver<Frame<Bytes>>);

/// Feeds a [`Fed`] body. Dropped, it ends the body.
#[derive(Clone, Debug)]
pub struct Feeder(mpsc::UnboundedSender<Frame<Bytes>>);

/// A body, and what feeds it.
pub fn fed() -> (Feeder, Fed) {
    let (feeder, fed) = mpsc::unbounded_channel();
    (Feeder(feeder), Fed(fed))
}

impl Feeder {
    /// Sends a piece.
    pub fn data(&self, data: impl Into<Bytes>) -> &Self {
        self.0.send(Frame::data(data.into())).unwrap();
        self
    }

    /// Sends trailers.
    pub fn trailers(&self, trailers: HeaderMap) {
        self.0.send(Frame::trailers(trailers)).unwrap();
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)).map(Ok))
    }
}

/// The next piece of a body.
pub async fn next_piece(body: &mut Incoming) -> Bytes {
    within(body.frame()).await.expect("the body has ended").unwrap().into_data().expect("trailers")
}

/// A body of a handler.
pub type HandlerBody = BoxBody<Bytes, Infallible>;

/// A body of known length.
pub fn full(text: impl Into<Bytes>) -> HandlerBody {
    Full::new(text.into()).boxed()
}

/// No content.
pub fn empty() -> HandlerBody {
    Empty::new().boxed()
}
