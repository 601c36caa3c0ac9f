//! HTTP/1.1 to one server, over one connection for as long as that lasts.

use crate::{fault::Fault, tls, units, url::Place};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// A server, and the connection to it.
pub(crate) struct Wire {
    place: Place,
    ca: Option<PathBuf>,
    /// Made at the first connection that needs it: reading the system's certificates takes a while.
    tls: Option<TlsConnector>,
    within: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) head: HeaderMap,
    pub(crate) body: Bytes,
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Wire {
    pub(crate) fn new(place: Place, ca: Option<&Path>, within: Duration) -> Self {
        Self { place, ca: ca.map(Path::to_owned), tls: None, within, connection: None }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Sends a request, of which only the path is to be given beside its own fields.
    pub(crate) async fn send(&mut self, request: http::request::Builder, body: Bytes) -> Result<Answer, Fault> {
        let request = request
            .header(header::HOST, &self.place.authority)
            .header(header::USER_AGENT, concat!("larder/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Fault::usage(format!("this cannot be asked for: {error}")))?;
        let within = self.within;
        match timeout(within, self.exchange(request)).await {
            Ok(done) => done,
            Err(_) => {
                self.connection = None;
                let (place, within) = (self.place.text(), units::span(within.as_secs_f64()));
                Err(Fault::unreachable(format!("{place} did not answer within {within}: --timeout would wait longer")))
            }
        }
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let mut request = request;
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            match connection.try_send_request(request).await {
                Ok(response) => return self.read(connection, response).await,
                // The server has ended an idle connection: nothing of it was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(error.error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await.map_err(|error| self.broken(&error))?;
        self.read(connection, response).await
    }

    async fn read(
        &mut self,
        connection: SendRequest<Full<Bytes>>,
        response: Response<hyper::body::Incoming>,
    ) -> Result<Answer, Fault> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(|error| {
            let why = match error.downcast_ref::<LengthLimitError>() {
                Some(_) => format!("is longer than {}", units::bytes(LARGEST as u64)),
                None => format!("broke off: {error}"),
            };
            Fault::unreachable(format!("the answer of {} {why}", self.place.text()))
        })?;
        self.connection = Some(connection);
        Ok(Answer { status: head.status, head: head.headers, body: body.to_bytes() })
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let place = &self.place;
        let stream =
            TcpStream::connect((place.host.as_str(), place.port)).await.map_err(|error| away(place, &error))?;
        let _ = stream.set_nodelay(true);
        let stream: Pin<Box<dyn Stream>> = match place.tls {
            false => Box::pin(stream),
            true => {
                let connector = match self.tls.take() {
                    Some(connector) => connector,
                    None => tls::connector(tls::authorities(self.ca.as_deref())?.as_deref())?,
                };
                Box::pin(tls::connect(self.tls.insert(connector), place, stream).await?)
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn broken(&self, error: &hyper::Error) -> Fault {
        let place = self.place.text();
        Fault::unreachable(match error {
            error if error.is_parse() && !self.place.tls => {
                format!("{place} does not answer with HTTP: is https:// meant? ({error})")
            }
            error if error.is_incomplete_message() => format!("{place} ended the connection without an answer"),
            error => format!("the connection to {place} broke: {error}"),
        })
    }
}

fn away(place: &Place, error: &io::Error) -> Fault {
    let Place { host, port, .. } = place;
    Fault::unreachable(match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let url = place.text();
            format!(
                "nothing listens at {host}:{port} (connection refused): is the application running, is {url} right?"
            )
        }
        io::ErrorKind::NotConnected | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => {
            format!("{host}:{port} cannot be reached: {error}")
        }
        _ => format!("{host}:{port} cannot be reached: {error}; the URL is {}", place.text()),
    })
}

/// More than this is no answer of ours.
const LARGEST: usize = 64 << 20;
