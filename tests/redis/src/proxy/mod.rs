//! A proxy that breaks what passes through it.

mod damage;
mod fault;
mod frames;
mod pump;

pub use fault::{Close, Damage, Fault, Way};

use crate::ports::Port;
use damage::Awaited;
use fault::Faults;
use pump::Pump;
use socket2::SockRef;
use std::{
    io, mem,
    net::{self, Shutdown, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    select,
    sync::watch,
    task::JoinHandle,
};

/// A TCP proxy on a port of its own, in front of one server. Without faults it changes nothing.
///
/// Faults take effect at once, also on what is on its way, and stay until they are cleared. Of those of one kind the last
/// counts, one for each way; those for replies add up. Where the server cannot be reached, the client's connection is
/// reset. On drop all connections are closed.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: Port,
    /// Nothing while connections are refused.
    acceptor: Mutex<Option<Acceptor>>,
}

#[derive(Debug)]
struct Acceptor {
    listener: Arc<TcpListener>,
    task: JoinHandle<()>,
}

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// Connections that are open.
    pub open: u64,
    /// Connections that were accepted.
    pub ever: u64,
    /// Replies that were damaged.
    pub damaged: u64,
    /// Bytes that were delivered to the client.
    pub to_client: u64,
    /// Bytes that were delivered to the server.
    pub to_server: u64,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    faults: watch::Sender<Faults>,
    /// Tells the connections of now to close. Each holds a receiver until it is closed.
    cut: Mutex<watch::Sender<Option<Close>>>,
    open: AtomicU64,
    ever: AtomicU64,
    damaged: AtomicU64,
    to_client: AtomicU64,
    to_server: AtomicU64,
}

impl Proxy {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn to(server: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            server,
            faults: watch::Sender::default(),
            cut: Mutex::default(),
            open: AtomicU64::new(0),
            ever: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
        });
        for _ in 0..ATTEMPTS {
            let port = Port::reserve();
            if let Ok(acceptor) = Acceptor::new(&port, &shared) {
                return Self { shared, port, acceptor: Mutex::new(Some(acceptor)) };
            }
        }
        panic!("no port for a proxy");
    }

    /// Adds a fault. What comes after this has returned does not pass without it.
    pub fn set(&self, fault: Fault) {
        if matches!(fault, Fault::Refuse) {
            drop(self.acceptor.lock().unwrap().take());
        }
        self.shared.faults.send_modify(|faults| faults.add(fault));
    }

    /// Takes all faults away. What was swallowed does not come back, and what was delayed comes at once.
    pub fn clear(&self) {
        self.shared.faults.send_replace(Faults::default());
        let mut acceptor = self.acceptor.lock().unwrap();
        if acceptor.is_none() {
            *acceptor = Some(Acceptor::new(&self.port, &self.shared).expect("the port is reserved"));
        }
    }

    /// Closes all connections that it has accepted. They are closed when this returns.
    pub async fn cut(&self, how: Close) {
        let cut = mem::take(&mut *self.shared.cut.lock().unwrap());
        cut.send_replace(Some(how));
        cut.closed().await;
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let Shared { open, ever, damaged, to_client, to_server, .. } = &*self.shared;
        let [open, ever, damaged, to_client, to_server] =
            [open, ever, damaged, to_client, to_server].map(|counter| counter.load(Ordering::SeqCst));
        Counts { open, ever, damaged, to_client, to_server }
    }

    /// The URL for a server without password and TLS. For others ask [`Server::url_via`](crate::Server::url_via).
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port()))
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port.number()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nobody waits for the answer: without a sender the connections close as well.
        drop(mem::take(&mut *self.shared.cut.lock().unwrap()));
    }
}

impl Acceptor {
    fn new(port: &Port, shared: &Arc<Shared>) -> io::Result<Self> {
        let listener = net::TcpListener::bind(("127.0.0.1", port.number()))?;
        listener.set_nonblocking(true)?;
        let listener = Arc::new(TcpListener::from_std(listener)?);
        let task = tokio::spawn(accept(Arc::clone(&listener), Arc::clone(shared)));
        Ok(Self { listener, task })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
        // Closing is not enough: a process that another thread is just starting has a copy for a moment, and the system
        // would go on accepting.
        drop(SockRef::from(&*self.listener).shutdown(Shutdown::Both));
    }
}

impl Shared {
    /// What happens to the reply of this command.
    fn take(&self, command: &[u8]) -> Option<Damage> {
        let mut damage = None;
        self.faults.send_if_modified(|faults| {
            damage = faults.take(command);
            // Of no interest to those that wait for a change.
            false
        });
        damage
    }
}

async fn accept(listener: Arc<TcpListener>, shared: Arc<Shared>) {
    // An error is one of a client that went away.
    loop {
        if let Ok((client, _)) = listener.accept().await {
            shared.open.fetch_add(1, Ordering::SeqCst);
            let number = shared.ever.fetch_add(1, Ordering::SeqCst);
            let cut = shared.cut.lock().unwrap().subscribe();
            tokio::spawn(serve(client, number, cut, Arc::clone(&shared)));
        }
    }
}

/// Serves a connection until it is closed.
async fn serve(mut client: TcpStream, number: u64, mut cut: watch::Receiver<Option<Close>>, shared: Arc<Shared>) {
    let mut server = None;
    let carry = carry(&mut client, &mut server, number, &shared);
    let how = select! {
        biased;
        how = cut.wait_for(Option::is_some) => how.ok().and_then(|how| *how).unwrap_or(Close::Fin),
        how = carry => how,
    };
    match how {
        Close::Fin => {
            drop(client.shutdown().await);
            // What has come and was not read would make the system send a reset.
            while client.try_read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
        }
        Close::Rst => client.set_zero_linger().unwrap(),
    }
    drop((client, server));
    shared.open.fetch_sub(1, Ordering::SeqCst);
    // Now the one that cuts may know.
    drop(cut);
}

/// Carries both ways. Returns how the connection is to be closed.
async fn carry(client: &mut TcpStream, server: &mut Option<TcpStream>, number: u64, shared: &Shared) -> Close {
    let Ok(stream) = TcpStream::connect(shared.server).await else { return Close::Rst };
    let server = server.insert(stream);
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return Close::Rst;
    }
    let awaited = Awaited::default();
    let pump = |way| Pump { way, connection: number, shared, awaited: &awaited };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (commands, replies) = (pump(Way::ToServer), pump(Way::ToClient));
    select! {
        how = commands.run(from_client, to_server) => how,
        how = replies.run(from_server, to_client) => how,
    }
}

/// How many ports are tried.
const ATTEMPTS: usize = 10;
