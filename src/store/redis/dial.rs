//! Making one connection.

use super::{address::Address, fault::Fault, tls::Tls};
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo,
    aio::{AsyncPushSender, MultiplexedConnection},
};
use std::{convert::Infallible, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// What it takes to be let in.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) login: Login,
    pub(super) tls: Tls,
    /// Where what the server says unasked goes, if it is to say anything.
    pub(super) pushes: Option<Pushes>,
}

/// Takes what a server says unasked.
#[derive(Clone)]
pub(super) struct Pushes(Arc<dyn AsyncPushSender>);

impl Pushes {
    pub(super) fn to(take: impl Fn(PushInfo) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |push| {
            take(push);
            Ok::<_, Infallible>(())
        }))
    }
}

/// Carries commands and answers for as long as it is polled, and ends with the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why no connection was made: what it means, and a text for the log.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    pub(super) text: String,
}

impl Dialer {
    /// A connection that was let in and has its database. Takes [`CONNECT_LIMIT`] at most.
    pub(super) async fn dial(&self, address: &Address) -> Result<(MultiplexedConnection, Driver), Refusal> {
        match timeout(CONNECT_LIMIT, self.dial_unlimited(address)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::new(Fault::Timeout, format!("no connection within {CONNECT_LIMIT:?}"))),
        }
    }

    async fn dial_unlimited(&self, address: &Address) -> Result<(MultiplexedConnection, Driver), Refusal> {
        match address {
            Address::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((&**host, *port)).await?;
                // Else small commands wait for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                if *tls { self.greet(self.tls.connect(host, stream).await?).await } else { self.greet(stream).await }
            }
            #[cfg(unix)]
            Address::Unix(path) => self.greet(tokio::net::UnixStream::connect(&**path).await?).await,
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Refusal::new(Fault::Broken, "this system has no such sockets")),
        }
    }

    async fn greet<S>(&self, stream: S) -> Result<(MultiplexedConnection, Driver), Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = AsyncConnectionConfig::new()
            // Whoever asks has a limit of its own.
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let mut info = self.login.info();
        if let Some(pushes) = &self.pushes {
            config = config.set_push_sender(Arc::clone(&pushes.0));
            info = info.set_protocol(ProtocolVersion::RESP3);
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| Refusal::new(Fault::of(&error), error.to_string()))?;
        Ok((connection, Box::pin(driver)))
    }
}

impl Login {
    fn info(&self) -> RedisConnectionInfo {
        // The name of the library would need a permission more.
        let mut info = RedisConnectionInfo::default().set_db(i64::from(self.database)).set_skip_set_lib_name();
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }
}

impl Refusal {
    pub(super) fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into() }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::new(Fault::Broken, error.to_string())
    }
}

impl fmt::Debug for Pushes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pushes")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .finish()
    }
}

/// With the longest pause between two trials it stays within five seconds.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(4);

/// So many operations may wait for their turn on one connection.
const PIPELINE: usize = 1024;
