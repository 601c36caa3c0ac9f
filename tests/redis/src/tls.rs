//! Certificates, made when they are needed.

use crate::scratch::Scratch;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// An authority with a certificate for the server and one for the client, as PEM files. They go away with the last clone.
///
/// The server's is for `127.0.0.1` and `localhost`. Two values trust each other not at all.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Scratch>);

impl Certificates {
    /// Makes them with `openssl`.
    pub fn new() -> Self {
        let certificates = Self(Arc::new(Scratch::new()));
        certificates.issue("ca", "critical,CA:TRUE", None);
        certificates.issue("server", "critical,CA:FALSE", Some("subjectAltName=IP:127.0.0.1,DNS:localhost"));
        certificates.issue("client", "critical,CA:FALSE", Some("extendedKeyUsage=clientAuth"));
        certificates
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.0.file("ca.crt")
    }

    /// The server's certificate.
    pub fn server(&self) -> PathBuf {
        self.0.file("server.crt")
    }

    /// The key of the server's certificate.
    pub fn server_key(&self) -> PathBuf {
        self.0.file("server.key")
    }

    /// The client's certificate.
    pub fn client(&self) -> PathBuf {
        self.0.file("client.crt")
    }

    /// The key of the client's certificate.
    pub fn client_key(&self) -> PathBuf {
        self.0.file("client.key")
    }

    fn issue(&self, name: &str, constraints: &str, extension: Option<&str>) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-sha256", "-subj", &format!("/O=larder tests/CN={name}")]);
        // Not the system's configuration: it adds extensions of its own.
        let config = self.0.file("openssl.cnf");
        fs::write(&config, "[req]\ndistinguished_name = name\n[name]\n").unwrap();
        command.arg("-config").arg(config).args(["-addext", &format!("basicConstraints={constraints}")]);
        if let Some(extension) = extension {
            command.args(["-addext", extension]);
            command.arg("-CA").arg(self.ca()).arg("-CAkey").arg(self.0.file("ca.key"));
        }
        run(command.arg("-keyout").arg(self.key(name)).arg("-out").arg(self.0.file(&format!("{name}.crt"))));
    }

    fn key(&self, name: &str) -> PathBuf {
        self.0.file(&format!("{name}.key"))
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn run(command: &mut Command) {
    let output = command.current_dir(Path::new("/")).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
}
