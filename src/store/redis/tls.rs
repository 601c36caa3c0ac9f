//! TLS, by rustls. It always verifies: certificate, name and time.

#[cfg(feature = "redis-tls")]
pub(super) use on::Tls;

#[cfg(not(feature = "redis-tls"))]
pub(super) use off::Tls;

#[cfg(feature = "redis-tls")]
mod on {
    use crate::{
        config_error::ConfigError,
        store::redis::{dial::Refusal, fault::Fault},
    };
    use std::{
        fmt,
        sync::{Arc, OnceLock},
    };
    use tokio::net::TcpStream;
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream,
        rustls::{
            ClientConfig, RootCertStore,
            crypto::{CryptoProvider, ring},
            pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        },
    };

    /// Whom to trust, and who we are.
    #[derive(Clone, Default)]
    pub(in crate::store::redis) struct Tls {
        authorities: Vec<CertificateDer<'static>>,
        client: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
        /// Made at the first connection: reading the system's certificates takes a while.
        config: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
    }

    impl Tls {
        /// Trusts these authorities, in place of those of the system.
        pub(in crate::store::redis) fn trust(&mut self, pem: &[u8]) -> Result<(), ConfigError> {
            self.authorities = certificates("tls_ca", pem)?;
            let mut roots = RootCertStore::empty();
            for certificate in &self.authorities {
                roots.add(certificate.clone()).map_err(|error| {
                    ConfigError::new(format!("tls_ca: not the certificate of an authority: {error}"))
                })?;
            }
            self.config = Arc::default();
            Ok(())
        }

        /// Shows this certificate to the server.
        pub(in crate::store::redis) fn identify(&mut self, certificate: &[u8], key: &[u8]) -> Result<(), ConfigError> {
            let chain = certificates("tls_client", certificate)?;
            // The error might quote the key.
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
                ConfigError::new("tls_client: the key is not a private key in PEM: PKCS#8, PKCS#1 or SEC1")
            })?;
            self.client = Some((chain, Arc::new(key)));
            self.config = Arc::default();
            self.make().map(drop).map_err(|text| ConfigError::new(format!("tls_client: {text}")))
        }

        pub(in crate::store::redis) async fn connect(
            &self,
            host: &str,
            stream: TcpStream,
        ) -> Result<TlsStream<TcpStream>, Refusal> {
            let config = match self.config.get_or_init(|| self.make()) {
                Ok(config) => Arc::clone(config),
                Err(text) => return Err(Refusal::new(Fault::Broken, text.clone())),
            };
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| Refusal::new(Fault::Broken, format!("`{host}` is no name that a certificate can have")))?;
            Ok(TlsConnector::from(config).connect(name, stream).await?)
        }

        fn make(&self) -> Result<Arc<ClientConfig>, String> {
            let mut roots = RootCertStore::empty();
            if self.authorities.is_empty() {
                let found = rustls_native_certs::load_native_certs();
                // Some systems have one that nobody can read: the others still count.
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err("the system has no certificates of authorities: give one with tls_ca".to_owned());
                }
            } else {
                roots.add_parsable_certificates(self.authorities.iter().cloned());
            }
            // The application's choice, if it made one. Without one rustls would panic as soon as there are two.
            let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots);
            let config = match &self.client {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => {
                    builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| error.to_string())?
                }
            };
            Ok(Arc::new(config))
        }
    }

    impl fmt::Debug for Tls {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Tls")
                .field("authorities", &self.authorities.len())
                .field("client", &self.client.is_some())
                .finish_non_exhaustive()
        }
    }

    fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| ConfigError::new(format!("{what}: certificates in PEM are expected: {error}")))?;
        if found.is_empty() {
            return Err(ConfigError::new(format!("{what}: no certificate in PEM found in {} bytes", pem.len())));
        }
        Ok(found)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_no_certificate_is_refused() {
            let mut tls = Tls::default();
            assert!(tls.trust(b"").unwrap_err().to_string().contains("tls_ca: no certificate"));
            assert!(tls.trust(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
            assert!(tls.identify(b"x", b"hunter2").unwrap_err().to_string().contains("tls_client"));
        }
    }
}

#[cfg(not(feature = "redis-tls"))]
mod off {
    use crate::store::redis::{dial::Refusal, fault::Fault};
    use tokio::net::TcpStream;

    /// Nothing: URLs with TLS are refused.
    #[derive(Clone, Debug, Default)]
    pub(in crate::store::redis) struct Tls {}

    impl Tls {
        pub(in crate::store::redis) async fn connect(&self, _: &str, _: TcpStream) -> Result<TcpStream, Refusal> {
            Err(Refusal::new(Fault::Broken, "TLS needs the feature `redis-tls` of larder"))
        }
    }
}
