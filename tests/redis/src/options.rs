//! How a server is started.

use crate::{Certificates, Server};

/// What a server is started with. Without any: no password, no TLS, no persistence.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Options {
    pub(crate) directives: Vec<String>,
    pub(crate) password: Option<String>,
    pub(crate) tls: Option<Tls>,
}

/// The TLS of a server.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) certificates: Certificates,
    /// Whether clients need a certificate.
    pub(crate) mutual: bool,
}

impl Options {
    /// Starts a server.
    pub async fn start(self) -> Server {
        Server::launch(self, false).await
    }

    /// Any directive of the configuration file, such as `set("timeout", "1")`.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.directives.push(format!("{name} {value}"));
        self
    }

    /// The password of the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.set("requirepass", password)
    }

    /// A user and its rules, such as `user("app", "on >secret ~larder:* +get +set")`. Rules for `default` take rights
    /// from those who come without a name.
    pub fn user(self, name: &str, rules: &str) -> Self {
        self.set("user", &format!("{name} {rules}"))
    }

    /// How much memory there is, such as `"4mb"`, and what goes when it is full, such as `"allkeys-lru"`.
    pub fn maxmemory(self, size: &str, policy: &str) -> Self {
        self.set("maxmemory", size).set("maxmemory-policy", policy)
    }

    /// How many databases there are.
    pub fn databases(self, number: usize) -> Self {
        self.set("databases", &number.to_string())
    }

    /// A replica of that server, whose TLS it shares.
    pub fn replica_of(self, master: &Server) -> Self {
        self.tls_of(master).set("replicaof", &format!("127.0.0.1 {}", master.port()))
    }

    /// TLS, and nothing else, on the server's port. Clients need no certificate.
    pub fn tls(mut self, certificates: &Certificates) -> Self {
        self.tls = Some(Tls { certificates: certificates.clone(), mutual: false });
        self
    }

    /// TLS, and nothing else, on the server's port. Clients need a certificate of the same authority.
    pub fn mutual_tls(mut self, certificates: &Certificates) -> Self {
        self.tls = Some(Tls { certificates: certificates.clone(), mutual: true });
        self
    }

    /// The TLS of another server, or none.
    pub(crate) fn tls_of(mut self, server: &Server) -> Self {
        self.tls = server.tls().cloned();
        self
    }
}
