//! The servers, each with what its documentation recommends for this.

use crate::{
    client::{Answer, Client},
    process::{Running, SERVER},
};
use std::{
    env,
    error::Error,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A route of axum that answers with a prebuilt body.
    Bare,
    /// The same behind Larder.
    Larder,
    /// The example: Larder as a reverse proxy.
    Proxy,
    /// As Debian configures it.
    Nginx,
    /// With what makes it fastest for small bodies: files stay open, and are read instead of sent.
    NginxTuned,
    Varnish,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Bare, Self::Larder, Self::Proxy, Self::Nginx, Self::NginxTuned, Self::Varnish];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "axum, prebuilt body",
            Self::Larder => "axum with Larder",
            Self::Proxy => "Larder as reverse proxy",
            Self::Nginx => "nginx `proxy_cache`",
            Self::NginxTuned => "nginx, tuned for small bodies",
            Self::Varnish => "Varnish",
        }
    }

    /// What the response of a hit must say.
    fn is_hit(self, answer: &Answer) -> bool {
        match self {
            Self::Bare => true,
            Self::Larder | Self::Proxy => answer.field("cache-status").is_some_and(|said| said == "larder; hit"),
            Self::Nginx | Self::NginxTuned => answer.field("x-cache") == Some("HIT"),
            // Its own transaction, and the one that had fetched it.
            Self::Varnish => answer.field("x-varnish").is_some_and(|ids| ids.contains(' ')),
        }
    }

    /// Starts one on the processor of the servers, behind what goes before its command line.
    pub(crate) fn start(self, before: &[&str], origin: SocketAddr, folder: &Path) -> Result<Server, Box<dyn Error>> {
        let address = free_address()?;
        let (listen, ask) = (address.to_string(), format!("http://{origin}"));
        let folder = folder.join(format!("{self:?}-{}", address.port()));
        fs::create_dir(&folder)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let own = |name: &str| Ok::<_, Box<dyn Error>>(env::current_exe()?.with_file_name(name).display().to_string());
        let command = match self {
            Self::Bare => vec![own("larder-served-axum")?, "bare".to_owned(), listen],
            Self::Larder => vec![own("larder-served-axum")?, "larder".to_owned(), listen],
            Self::Proxy => {
                [&own("larder-served-proxy")?, "--listen", &listen, "--origin", &ask].map(str::to_owned).to_vec()
            }
            Self::Nginx | Self::NginxTuned => {
                let files =
                    if self == Self::Nginx { "sendfile on; tcp_nopush on;" } else { "open_file_cache max=1000;" };
                fs::write(at("nginx.conf"), nginx_conf(files, address, origin))?;
                ["nginx", "-p", &at(""), "-c", &at("nginx.conf"), "-e", "error.log"].map(str::to_owned).to_vec()
            }
            Self::Varnish => {
                fs::write(at("default.vcl"), varnish_vcl(origin))?;
                let options = ["varnishd", "-F", "-n", &at("work"), "-a", &listen, "-f", &at("default.vcl")];
                // Without the jail, which makes no difference to a hit, valgrind can follow it.
                [&options[..], &["-s", "malloc,256m", "-j", "none"]].concat().into_iter().map(str::to_owned).collect()
            }
        };
        let command: Vec<_> = before.iter().copied().chain(command.iter().map(String::as_str)).collect();
        let process = Running::start(SERVER, &command, &folder.join("log"))?;
        let mut server = Server { kind: self, address, process };
        server.wait().map_err(|error| {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            format!("{}: {error}\n{log}", self.name())
        })?;
        Ok(server)
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) process: Running,
}

impl Server {
    /// Until it answers, and from its cache.
    fn wait(&mut self) -> Result<(), Box<dyn Error>> {
        let started = Instant::now();
        loop {
            let hit = self.hit();
            if hit.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.process.has_ended()? {
                return Err(format!("it has ended: {status}").into());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("it does not answer: {hit:?}").into());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// A hit, or what was wrong with the answer.
    pub(crate) fn hit(&self) -> Result<Answer, Box<dyn Error>> {
        let answer = Client::to(self.address)?.get(PATH)?;
        if !self.kind.is_hit(&answer) {
            return Err(format!("{} does not answer from its cache: {:?}", self.kind.name(), answer.fields).into());
        }
        if answer.body != [b'x'; 1024] {
            return Err(format!("{} answers with another body", self.kind.name()).into());
        }
        Ok(answer)
    }
}

/// An address of this machine that nobody uses.
pub(crate) fn free_address() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// One worker, no log of accesses, and connections that are kept.
fn nginx_conf(files: &str, address: SocketAddr, origin: SocketAddr) -> String {
    // Root's processes would work as `nobody`, who cannot use the folder. For others the line has no effect.
    format!(
        "user root;
worker_processes 1;
daemon off;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {files}
    keepalive_requests 1000000000;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_cache_path cache levels=1:2 keys_zone=hits:10m;
    server {{
        listen {address};
        location / {{
            proxy_pass http://{origin};
            proxy_cache hits;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"
    )
}

/// Only where the origin is: everything else is built in.
fn varnish_vcl(origin: SocketAddr) -> String {
    format!("vcl 4.1;\nbackend default {{ .host = \"{}\"; .port = \"{}\"; }}\n", origin.ip(), origin.port())
}

/// What is asked for.
pub(crate) const PATH: &str = "/products/7";
/// Also for a server under valgrind.
const PATIENCE: Duration = Duration::from_secs(60);
